/** The networks: import one, take an example, open, delete. */

import * as api from "../api.js";
import * as fmt from "../format.js";
import { h, replace } from "../dom.js";
import { unlimited } from "../limits.js";
import { serialise } from "../state.js";
import { createDropZone, refusal } from "../components/drop_zone.js";

/** @param {{dims: (number|string)[], name: string}[]} ports */
const dims = (ports) => ports.map((port) => port.dims.join("×")).join(", ");

/** @param {any} app */
export function createModels(app) {
  const { store, catalog } = app;
  const drop = createDropZone({ limitBytes: app.meta?.limits?.upload_bytes ?? null, onModel: () => load() });
  const list = h("div", { class: "model-list" });
  const library = h("div", { class: "examples" });
  const element = h("div", { class: "page" }, h("h1", {}, "Models"),
    h("div", { class: "two" }, drop.element,
      h("section", { class: "card", "aria-labelledby": "library" }, h("h2", { id: "library" }, "Example library"), h("p", { class: "faint" }, "Untrained topologies with seeded weights, made on this machine. No download."), library)),
    h("section", { class: "card", "aria-labelledby": "imported" }, h("h2", { id: "imported" }, "Imported"), list));

  async function load() {
    try {
      const [, examples] = await Promise.all([catalog.refresh(), api.examples()]);
      showModels();
      showExamples(examples);
      fronts = await catalog.known();
      // Only their cells: a button may be waiting to be pressed a second time.
      for (const model of catalog.models) {
        const cell = list.querySelector(`tr[data-model="${CSS.escape(model.id)}"] .fronts`);
        if (cell) replace(cell, frontsOf(model));
      }
    } catch (problem) {
      replace(list, refusal(problem));
    }
  }

  /** Fronts without limits, newest first; null until they are there. */
  let fronts = null;

  /** The newest front of every axis and device, each one click away. */
  function frontsOf(model) {
    if (!fronts) return h("span", { class: "faint" }, "…");
    const newest = new Map();
    for (const front of fronts) if (front.model === model.id && unlimited(front.limits) && !newest.has(`${front.device} ${front.memory}`)) newest.set(`${front.device} ${front.memory}`, front);
    return [...newest.values()].map((front) => h("a", {
      class: "front-link", "data-route": "", title: `${front.memory} front on ${front.device}, traced ${fmt.when(front.created_at)}${front.stale ? `; stale: ${front.stale_because}` : ""}`,
      href: serialise({ ...store.state, view: "workbench", model: model.id, device: front.device, memory: front.memory, frontier: null, a: null, b: null, ask: null, budget: null, layer: null }),
    }, `${front.memory}${front.device.includes("@") ? `@${front.device.split("@")[1]}` : ""} `, h("span", { class: "faint" }, `${fmt.count(front.points, "point")}${front.stale ? ", stale" : ""}`)));
  }

  const open = (model) => store.set({ view: "workbench", model: model.id, memory: "auto", frontier: null, a: null, b: null, budget: null, layer: null });

  function showModels() {
    if (!catalog.models.length) return replace(list, h("p", { class: "empty" }, "Nothing here yet. Drop a file above or take an example."));
    const head = ["name", "input", "output", "nodes", "MACs", "weights", "fronts", ""].map((name, i) => h("th", { scope: "col", class: i >= 3 && i <= 5 ? "num" : "" }, name || h("span", { class: "visually-hidden" }, "actions")));
    return replace(list, h("div", { class: "table-scroll free" }, h("table", { class: "grid" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, catalog.models.map(row)))));
  }

  function row(model) {
    return h("tr", { dataset: { model: model.id } },
      h("td", { title: `SHA-256 ${model.sha256}` }, h("a", { href: `/w?model=${encodeURIComponent(model.id)}`, "data-route": "", class: "strong" }, model.name), model.example && h("span", { class: "badge quiet" }, "example")),
      h("td", {}, dims(model.inputs)), h("td", {}, dims(model.outputs)), h("td", { class: "num" }, fmt.integer(model.nodes)),
      h("td", { class: "num", title: fmt.integer(model.macs) }, `${fmt.significant(model.macs / 1e6, 3)} M`),
      h("td", { class: "num", title: fmt.exactBytes(model.weights_bytes) }, fmt.bytes(model.weights_bytes)),
      h("td", { class: "fronts" }, frontsOf(model)),
      h("td", { class: "row-actions" }, h("button", { type: "button", class: "small", onclick: () => open(model) }, "Open"), h("button", { type: "button", class: "small danger", "aria-label": `Delete ${model.name}`, onclick: (event) => remove(model, event.currentTarget) }, "Delete")));
  }

  /** Deleting asks once more, in place. */
  async function remove(model, button) {
    if (button.dataset.sure !== "yes") {
      button.dataset.sure = "yes";
      button.textContent = "Really delete";
      button.addEventListener("blur", () => {
        button.dataset.sure = "";
        button.textContent = "Delete";
      }, { once: true });
      return;
    }
    try {
      await api.deleteModel(model.id);
      if (store.state.model === model.id) store.set({ model: null, a: null, b: null, frontier: null }, { replace: true });
      app.toasts.say(`${model.name} and its fronts are deleted.`);
      await load();
    } catch (problem) {
      app.toasts.fail(problem);
    }
  }

  function showExamples(examples) {
    replace(library, examples.map((example) => h("div", { class: "example" },
      h("div", {}, h("b", {}, example.title), h("div", { class: "faint" }, `${fmt.bytes(example.weights_bytes)} of weights`)),
      example.imported ? h("span", { class: "badge quiet" }, "imported") : h("button", { type: "button", class: "small", "aria-label": `Add ${example.title}`, onclick: (event) => add(example, event.currentTarget) }, "Add"))));
  }

  async function add(example, button) {
    button.disabled = true;
    replace(button, h("span", { class: "busy", "aria-hidden": "true" }), " Adding");
    try {
      open(await api.addExample(example.name));
    } catch (problem) {
      app.toasts.fail(problem);
      button.disabled = false;
      button.textContent = "Add";
    }
  }

  load();
  return { element, title: () => "Models", update() {}, onJob: (job, before) => job.state === "succeeded" && before?.state !== "succeeded" && load(), refresh() {}, key: () => false, close: () => drop.close() };
}
