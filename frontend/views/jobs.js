/** All jobs, newest first. */

import { h, patch } from "../dom.js";
import { active, jobRow } from "../components/job_tray.js";

/** @param {any} app */
export function createJobs(app) {
  const list = h("ul", { class: "jobs" });
  const element = h("div", { class: "page" }, h("h1", {}, "Jobs"), h("p", { class: "faint" }, "Work goes on when this page is closed; what is done is kept when a job is cancelled."), h("section", { class: "card" }, list));
  const context = { onCancel: app.cancelJob, onRetry: app.retryJob, networkOf: app.catalog.networkOf };

  function refresh() {
    const order = [...app.jobs].sort((p, q) => Number(active(q)) - Number(active(p)));
    patch(list, order.length ? order.map((job) => jobRow(job, context)) : h("li", { class: "empty" }, "No job yet. Measuring, tracing and bundles are jobs."));
  }

  refresh();
  Promise.all([app.catalog.refresh(), app.catalog.known()]).then(refresh, app.toasts.fail);
  return { element, title: () => "Jobs", update() {}, onJob: refresh, refresh, key: () => false, close() {} };
}
