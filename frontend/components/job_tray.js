/** The jobs at the bottom of every page: what runs, how far it is, what went wrong; all of it can be stopped. */

import * as fmt from "../format.js";
import { h, patch, replace } from "../dom.js";

export const ACTIVE = ["queued", "running", "cancelling"];
const NAMES = { seed: "First run", measure: "Measure", frontier: "Trace front", bundle: "Bundle", bench: "Benchmark" };
const STATES = { queued: "queued", running: "running", cancelling: "cancelling", succeeded: "done", failed: "failed", cancelled: "cancelled", lost: "lost" };

/** @param {any} job */
export const active = (job) => ACTIVE.includes(job.state);

/** @param {any} job @returns {number|null} 0..1, null if the total is unknown or nothing is done yet (a compiler runs) */
export const ratio = (job) => (job.progress?.total && job.progress.completed > 0 ? Math.min(1, job.progress.completed / job.progress.total) : null);

/** @param {any} job @param {any} model @returns {boolean} whether the job works on this model */
export const concerns = (job, model) => Boolean(model) && [model.id, model.name].includes(job.params?.model ?? job.params?.example);

/** @param {any} job @param {(params: any) => string} networkOf @returns {string} */
export function jobTitle(job, networkOf) {
  const { memory, prefix, point, device } = job.params ?? {};
  const threads = device?.includes("@") && device;
  return [NAMES[job.kind] ?? job.kind, networkOf(job.params ?? {}), threads, memory, job.kind === "bundle" && prefix !== "net" && prefix, job.kind === "bundle" && point?.slice(0, 11)].filter(Boolean).join(" · ");
}

/** @param {any} job @returns {string|null} where what it made is shown */
function resultLink({ kind, params, result_url: url }) {
  const front = kind === "frontier" && url ? url.split("/").pop() : kind === "bundle" ? params.frontier : null;
  if (!front) return null;
  const query = new URLSearchParams({ frontier: front, ...(params.model && { model: params.model }), ...(params.memory && { memory: params.memory }), ...(kind === "bundle" && { a: params.point }) });
  return `/w?${query}`;
}

/** @param {any} job @returns {string} stage, n/m, ETA */
export function jobStatus(job) {
  if (!active(job)) return STATES[job.state] ?? job.state;
  const { completed, total, unit } = job.progress ?? {};
  const left = fmt.eta(job.eta_s);
  const words = [job.state === "running" ? job.stage : STATES[job.state], total ? `${fmt.integer(completed)}/${fmt.integer(total)} ${unit ?? ""}`.trim() : "", left && `${left} left`];
  return words.filter(Boolean).join(" · ");
}

/** @param {any} job @returns {string} when it ended and how long it took */
function ended(job) {
  const took = (Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000;
  return [fmt.when(job.finished_at ?? job.created_at), took > 0 && `took ${fmt.eta(took)}`].filter(Boolean).join(" · ");
}

/**
 * @param {any} job
 * @param {{onCancel: (job: any) => void, onRetry: (job: any) => void, networkOf: (params: any) => string}} context
 * @returns {HTMLElement}
 */
export function jobRow(job, { onCancel, onRetry, networkOf }) {
  const share = ratio(job);
  const title = jobTitle(job, networkOf);
  return h("li", { class: `job ${job.state}`, dataset: { job: job.id } },
    h("span", { class: `state ${job.state}` }, STATES[job.state] ?? job.state),
    h("span", { class: "job-title" }, title),
    active(job) && h("progress", { max: 1, value: share, "aria-label": `Progress of ${title}` }),
    h("span", { class: "job-status" }, active(job) ? jobStatus(job) : ended(job)),
    h("span", { class: "spring" }),
    job.state === "succeeded" && resultLink(job) && h("a", { class: "link", href: resultLink(job), "data-route": "" }, "Open"),
    active(job) && h("button", { type: "button", class: "small", disabled: job.state === "cancelling", onclick: () => onCancel(job) }, "Cancel"),
    ["failed", "cancelled", "lost"].includes(job.state) && h("button", { type: "button", class: "small", onclick: () => onRetry(job) }, "Try again"),
    job.error && h("div", { class: "job-error" }, h("b", {}, job.error.detail || job.error.title), job.error.hint && h("span", {}, ` ${job.error.hint}`),
      job.error.errors?.length > 0 && h("ul", {}, job.error.errors.map((item) => h("li", {}, h("code", {}, item.pointer), ` ${item.detail}`)))));
}

/** @param {HTMLElement} footer @param {{onCancel: (job: any) => void, onRetry: (job: any) => void, networkOf: (params: any) => string}} context */
export function createJobTray(footer, context) {
  const button = h("button", { type: "button", class: "tray-button", "aria-expanded": "false", "aria-controls": "tray-list" });
  const tools = h("div", { class: "tray-tools" });
  const items = h("ul", { id: "tray-list", class: "jobs", hidden: true });
  replace(footer, h("div", { class: "tray-bar" }, button, tools), items);
  button.addEventListener("click", () => {
    items.hidden = !items.hidden;
    button.setAttribute("aria-expanded", String(!items.hidden));
  });

  return {
    tools,
    /** @param {any[]} jobs newest first @param {boolean} live whether events arrive by themselves */
    update(jobs, live) {
      const running = jobs.filter(active);
      const first = running.find((job) => job.state === "running") ?? running[0];
      const failed = jobs.find((job) => !active(job))?.state === "failed";
      const share = first ? ratio(first) : null;
      patch(button,
        h("span", { class: "caret", "aria-hidden": "true" }, "▴"),
        first ? [h("span", { class: "busy", "aria-hidden": "true" }), h("b", {}, running.length > 1 ? `${running.length} jobs` : jobTitle(first, context.networkOf)),
          h("progress", { max: 1, value: share, "aria-label": "Progress" }), h("span", { class: "faint" }, jobStatus(first))]
          : [h("span", { class: `lamp ${failed ? "bad" : live ? "ok" : "warn"}`, "aria-hidden": "true" }), h("span", {}, failed ? "The last job failed" : "No job is running"), jobs.length > 0 && h("span", { class: "faint" }, `${jobs.length} before`)],
        !live && h("span", { class: "faint" }, "· polling"));
      patch(items, jobs.length ? jobs.slice(0, 30).map((job) => jobRow(job, context)) : h("li", { class: "empty" }, "Jobs appear here: measuring, tracing, bundles."));
    },
  };
}
