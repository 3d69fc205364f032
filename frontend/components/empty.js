/** What stands where a front will be. */

import * as fmt from "../format.js";
import { h } from "../dom.js";
import { active, concerns, jobStatus, ratio } from "./job_tray.js";

/** @param {{onModels: () => void}} actions @returns {HTMLElement} */
export const createNoModels = ({ onModels }) =>
  h("section", { class: "card narrow empty-card" }, h("h1", {}, "No network yet"),
    h("p", { class: "lead" }, "Import an ONNX file or one of the examples; then measure it and see what memory buys."),
    h("div", { class: "actions" }, h("button", { type: "button", class: "primary", onclick: onModels }, "Import a network")));

/**
 * @param {any} data model, device, costs, known fronts
 * @param {string} memory axis
 * @param {any[]} jobs
 * @param {{onMeasure: (thenTrace: boolean) => void, onTrace: () => void, onCancel: (job: any) => void, onChoose: (changes: any) => void}} actions
 * @returns {HTMLElement}
 */
export function noFront({ model, device, costs, known }, memory, jobs, actions) {
  const own = jobs.find((job) => active(job) && ["measure", "frontier", "seed"].includes(job.kind) && concerns(job, model));
  const failed = jobs.find((job) => ["measure", "frontier"].includes(job.kind) && concerns(job, model));
  const share = costs.needed ? costs.measured / costs.needed : 0;
  const others = [...new Set(known.map((f) => f.memory))].filter((axis) => axis !== memory);
  return h("section", { class: "card narrow empty-card" },
    h("p", { class: "eyebrow" }, `${model.name} on ${device.name}`),
    h("h1", {}, own ? (own.kind === "frontier" ? "Tracing the front" : "Measuring") : `No ${memory} front yet`),
    h("p", { class: "lead" }, costs.missing > 0 ? `${fmt.integer(costs.missing)} of ${fmt.integer(costs.needed)} pairs of primitive and shape have not been measured on this device.` : `All ${fmt.integer(costs.needed)} costs are measured; tracing takes seconds.`),
    h("div", { class: "coverage" }, h("progress", { max: 1, value: share, "aria-label": "Costs measured" }), h("span", { class: "faint" }, `${fmt.integer(costs.measured)} measured`)),
    own ? h("div", { class: "actions", dataset: { job: own.id } }, h("span", { class: "busy", "aria-hidden": "true" }), h("progress", { max: 1, value: ratio(own), "aria-label": "Job" }), h("span", {}, jobStatus(own)), h("button", { type: "button", class: "small", onclick: () => actions.onCancel(own) }, "Cancel"))
      : h("div", { class: "actions" },
        costs.missing > 0 ? h("button", { type: "button", class: "primary", onclick: () => actions.onMeasure(true) }, `Measure ${fmt.integer(costs.missing)} and trace`) : h("button", { type: "button", class: "primary", onclick: actions.onTrace }, "Trace the front"),
        others.map((axis) => h("button", { type: "button", onclick: () => actions.onChoose({ memory: axis }) }, `Show the ${axis} front`))),
    !own && failed?.state === "failed" && h("p", { class: "verdict short" }, `The last job failed: ${failed.error?.detail ?? failed.error?.title ?? ""} ${failed.error?.hint ?? ""}`));
}
