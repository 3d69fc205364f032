/** What the page shows while the first network is prepared: where it is, what that means, how long it takes. */

import * as fmt from "../format.js";
import { h, patch } from "../dom.js";
import { active, ratio } from "./job_tray.js";

const STEPS = [
  ["Import", /import|materiali|fetch|model/i, "An example network is read, its shapes are inferred, constants folded, activations fused."],
  ["Measure", /measur|cost|bench|build|harness/i, "Every C routine that can run each of its layers is timed on this machine, several times, with cold caches."],
  ["Trace", /trac|solv|front|optim|sweep/i, "An exact solver finds every best trade of latency against memory, and proves it."],
];

/** @param {{onModels: () => void, onCancel: (job: any) => void, onRetry: (job: any) => void}} actions */
export function createSeeding({ onModels, onCancel, onRetry }) {
  const element = h("section", { class: "seeding card", "aria-label": "First run" });
  return {
    element,
    /** @param {any} job */
    update(job) {
      const share = ratio(job);
      const now = Math.max(0, STEPS.findIndex(([, words]) => words.test(job.stage ?? "")));
      const { completed, total, unit } = job.progress ?? {};
      const left = fmt.eta(job.eta_s);
      const stopped = !active(job);
      patch(element,
        h("p", { class: "eyebrow" }, "First run"),
        h("h1", {}, stopped ? "The first front is not there yet" : "Preparing your first front"),
        h("p", { class: "lead" }, "An example network is measured on this machine, so that the first trade-off you see is real. It happens once."),
        h("ol", { class: "stages" }, STEPS.map(([name, , text], i) => h("li", { class: i < now ? "done" : i === now ? "now" : "", "aria-current": i === now ? "step" : null },
          h("span", { class: "stage-mark", "aria-hidden": "true" }, i < now ? "✓" : i + 1), h("div", {}, h("b", {}, name), h("p", {}, text))))),
        stopped ? h("p", { class: "verdict short" }, `The job ${job.state === "failed" ? "failed" : `was ${job.state}`}. ${job.error?.detail ?? ""} ${job.error?.hint ?? ""}`)
          : h("div", { class: "stage-progress" },
            h("progress", { max: 1, value: share, "aria-label": "First run" }),
            h("div", { class: "stage-words" }, h("span", {}, [job.state === "queued" ? "waiting to start" : job.stage, total ? `${fmt.integer(completed)} of ${fmt.integer(total)} ${unit ?? ""}` : ""].filter(Boolean).join(" · ")),
              h("span", { class: "spring" }), h("b", {}, share === null ? "" : fmt.percent(share, 0)), h("span", { class: "faint" }, left && `about ${left} left`))),
        h("div", { class: "actions", dataset: { job: job.id } },
          h("button", { type: "button", onclick: onModels }, "Bring your own network meanwhile"),
          stopped ? h("button", { type: "button", class: "primary", onclick: () => onRetry(job) }, "Try again") : h("button", { type: "button", class: "ghost", onclick: () => onCancel(job) }, "Skip the example")));
    },
  };
}
