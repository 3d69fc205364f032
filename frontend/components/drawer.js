/** Everything about point A, beside the plot: header, then Layers, Memory, Diff and Why. */

import { differs, h } from "../dom.js";
import { createDiff } from "./diff.js";
import { createLayerTable } from "./layer_table.js";
import { createMemoryPicture } from "./memory_picture.js";
import { createPointHeader } from "./point_header.js";
import { createWhy } from "./why.js";

const TABS = [["layers", "Layers"], ["memory", "Memory"], ["diff", "Diff A–B"], ["why", "Why"]];

/** @param {any} actions */
export function createDrawer(actions) {
  const header = createPointHeader(actions);
  const parts = { layers: createLayerTable(actions), memory: createMemoryPicture(actions), diff: createDiff(actions), why: createWhy(actions) };
  const tabs = new Map(TABS.map(([name, text]) => [name, h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, onclick: () => actions.onTab(name) }, text)]));
  const panels = new Map(TABS.map(([name]) => [name, h("div", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, class: "panel" }, parts[name].element)]));
  const list = h("div", { role: "tablist", "aria-label": "Point A", class: "tabs" }, [...tabs.values()]);
  const lower = h("div", { class: "drawer-lower" }, list, [...panels.values()]);
  const element = h("section", { class: "card drawer", "aria-label": "Point A" }, header.element, lower);

  list.addEventListener("keydown", (event) => {
    const names = TABS.map(([name]) => name);
    const at = names.findIndex((name) => tabs.get(name) === document.activeElement);
    const to = { ArrowRight: names[(at + 1) % names.length], ArrowLeft: names[(at + names.length - 1) % names.length], Home: names[0], End: names.at(-1) }[event.key];
    if (at < 0 || !to) return;
    event.preventDefault();
    event.stopPropagation();
    actions.onTab(to);
    tabs.get(to).focus();
  });

  const read = { layers: ["full", "layer", "units", "noise", "noiseWanted", "short"], memory: ["full", "layer", "units", "budget", "short"], diff: ["full", "fullB", "layer", "units", "short"], why: ["full", "a", "frontier", "units", "explained", "noise", "noiseWanted", "short"] };
  /** What each panel last showed. */
  const shown = {};

  return {
    element,
    search: () => parts.layers.search(),
    update(view) {
      header.update(view);
      lower.hidden = !view.a;
      element.classList.toggle("waiting", Boolean(view.a) && !view.full);
      for (const [name, tab] of tabs) {
        const active = name === view.tab;
        tab.setAttribute("aria-selected", String(active));
        tab.tabIndex = active ? 0 : -1;
        panels.get(name).hidden = !active;
      }
      if (!view.full || (view.tab === "diff" && view.b && !view.fullB) || !differs(shown[view.tab] ?? null, view, read[view.tab])) return;
      shown[view.tab] = view;
      parts[view.tab].update(view);
    },
  };
}
