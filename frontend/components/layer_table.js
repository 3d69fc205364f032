/** What a point does with every layer: primitive, layouts, time and its share, workspace, weights, conversions. */

import * as fmt from "../format.js";
import { familyColour } from "../front.js";
import { breakable, h, replace, saveText } from "../dom.js";
import { headerRow, sorted } from "./sorting.js";

/** Rows of a point: its layers, and the conversions that belong to no layer (of the network's outputs). */
export function layerRows(point) {
  const rows = point.layers.map((layer, index) => ({ ...layer, index: index + 1, cost_ns: layer.time_ns + layer.conversion_ns }));
  const nodes = new Set(point.layers.map((layer) => layer.node));
  for (const change of point.conversions ?? []) {
    if (nodes.has(change.consumer)) continue;
    rows.push({
      index: rows.length + 1, node: change.consumer, op: "convert", shape: change.shape, primitive: change.primitive, family: "conversion", variant: "",
      in_layout: "", out_layout: "", in_place: null, time_ns: change.time_ns, p10_ns: change.time_ns, p90_ns: change.time_ns,
      workspace_bytes: 0, weights_bytes: 0, conversions: [], conversion_ns: 0, cost_ns: change.time_ns,
    });
  }
  return rows;
}

/** @param {any} row @returns {{chain: string, rows: number}|null} the layers it runs together with, strip by strip */
export function stripsOf(row) {
  const [, chain, rows] = /^(.+)\/(\d+)(?: branched)?(?: staged)?(?: from pitch \d+)?(?: to pitch \d+)?$/.exec(row?.strips ?? "") ?? [];
  return chain ? { chain, rows: Number(rows) } : null;
}

/** @param {any} row @param {boolean} [brief] @returns {string[]} what two choices of the same primitive can differ in, in words */
export function manner(row, brief = false) {
  const strips = stripsOf(row);
  return [row.in_layout && `${row.in_layout} → ${row.out_layout}`, row.in_place !== null && row.in_place !== undefined && `in place${row.in_place && !brief ? ` of input ${row.in_place}` : ""}`, strips && `strips of ${fmt.count(strips.rows, "row")}`].filter(Boolean);
}

const COLUMNS = [
  { name: "index", label: "#", value: (r) => r.index },
  { name: "node", label: "layer", value: (r) => r.node },
  { name: "primitive", label: "primitive", value: (r) => r.primitive },
  { name: "cost_ns", label: "time", num: true, value: (r) => r.cost_ns },
  { name: "workspace_bytes", label: "workspace", num: true, value: (r) => r.workspace_bytes },
  { name: "weights_bytes", label: "weights", num: true, value: (r) => r.weights_bytes },
  { name: "conversion_ns", label: "convert", num: true, value: (r) => r.conversion_ns },
];
/** Rows there are at first, and rows that come when one scrolls to the end of them. */
const MORE_ROWS = 80;
const KEPT = { name: "kept", label: "kept", num: true, value: (r) => r.kept ?? 1 };
const CSV = ["index", "node", "op", "shape", "primitive", "family", "variant", "in_layout", "out_layout", "time_ns", "p10_ns", "p90_ns", "workspace_bytes", "weights_bytes", "conversions", "conversion_ns", "strips"];

/** @param {{onLayer: (node: string|null) => void, onChoices: (layer: any) => void, onNoise: () => void}} actions */
export function createLayerTable({ onLayer, onChoices, onNoise }) {
  const find = h("input", { type: "search", id: "layer-search", placeholder: "Filter layers  ( / )", "aria-label": "Filter layers", autocomplete: "off", spellcheck: "false" });
  const note = h("span", { class: "faint" });
  const save = (kind) => () => kind === "csv"
    ? saveText(fmt.csv(CSV, layerRows(view.full)), `${view.full.id}-layers.csv`, "text/csv")
    : saveText(JSON.stringify(view.full, null, 1), `${view.full.id}.json`, "application/json");
  const noise = h("button", { type: "button", class: "small toggle", title: "Solve again 100 times under the noise of the measured costs: how often does each layer keep its choice?", onclick: onNoise }, "Robustness");
  const tools = h("div", { class: "tools" }, find, note, h("span", { class: "spring" }), noise,
    h("button", { type: "button", class: "small", onclick: save("csv") }, "CSV"), h("button", { type: "button", class: "small", onclick: save("json") }, "JSON"));
  const head = h("thead");
  const body = h("tbody");
  const table = h("table", { class: "grid layer-table", "aria-label": "Layers of point A" }, head, body);
  const element = h("div", { class: "panel-body" }, tools, h("div", { class: "table-scroll tall", tabindex: "0", role: "region", "aria-label": "Layers" }, table));
  let view = null;
  let order = { by: "index", down: false };
  let most = MORE_ROWS;
  /** Whether there are more rows than shown. */
  let some = false;
  const scroll = element.lastElementChild;
  scroll.addEventListener("scroll", () => {
    if (!some || scroll.scrollTop + 2 * scroll.clientHeight < scroll.scrollHeight) return;
    most += MORE_ROWS;
    render();
  }, { passive: true });

  find.addEventListener("input", render);
  body.addEventListener("click", (event) => event.target.closest("button") || toggle(event.target.closest("tr")));
  body.addEventListener("keydown", (event) => {
    if ((event.key !== "Enter" && event.key !== " ") || event.target.closest("button")) return;
    event.preventDefault();
    toggle(event.target.closest("tr"));
  });

  const toggle = (row) => row && onLayer(row.dataset.node === view.layer ? null : row.dataset.node);

  /** Rows that are there, by layer: a row is built again only when what it says has changed. */
  const lines = new Map();
  const SAID = ["index", "op", "shape", "primitive", "family", "variant", "in_layout", "out_layout", "in_place", "time_ns", "p10_ns", "p90_ns", "workspace_bytes", "weights_bytes", "conversions", "conversion_ns", "strips", "first", "last", "kept"];

  function line(row, total, widest) {
    const key = JSON.stringify([SAID.map((name) => row[name]), view.units, view.short(row.node), view.noiseWanted, view.noise?.draws]);
    let known = lines.get(row.node);
    if (known?.key !== key) {
      const element = built(row);
      known = { key, element, share: element.querySelector(".share-text"), bar: element.querySelector(".share .bar i") };
      lines.set(row.node, known);
    }
    if (known.share) {
      const text = fmt.percent(row.cost_ns / total);
      if (known.share.textContent !== text) known.share.textContent = text;
      known.bar.style.width = `${(100 * row.cost_ns) / widest}%`;
    }
    linkTo(known.element, row.node === view.layer);
    return known.element;
  }

  function linkTo(row, linked) {
    if (row.classList.contains("linked") === linked) return;
    row.classList.toggle("linked", linked);
    if (linked) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }

  function built(row) {
    const spread = row.time_ns ? (row.p90_ns - row.p10_ns) / row.time_ns : 0;
    const nothing = h("span", { class: "faint" }, "–");
    const strips = stripsOf(row);
    const together = strips && `the layers ${view.short(strips.chain)} run together, ${fmt.count(strips.rows, "row")} of the last one at a time; the tensors between them never exist as a whole`;
    return h("tr", { tabindex: "0", dataset: { node: row.node }, class: [strips && "chained", row.first && "first", row.last && "last"].filter(Boolean).join(" ") },
      h("td", { class: "num faint" }, row.index),
      h("td", { title: `${row.node}\n${row.shape}` }, h("div", { class: "node" }, breakable(view.short(row.node))), h("div", { class: strips ? "sub chain" : "sub", title: together }, row.op, strips && ` · strips of ${strips.rows}`)),
      h("td", { title: row.primitive },
        h("div", { class: "primitive" }, h("i", { class: "swatch", style: { background: familyColour(row.family) } }), [row.family, row.variant].filter(Boolean).join(" ")),
        h("div", { class: "sub" }, manner({ ...row, strips: "" }, true).join(" · "))),
      h("td", { class: "num", title: `${fmt.exactTime(row.time_ns)} + conversions ${fmt.exactTime(row.conversion_ns)}\np10 ${fmt.exactTime(row.p10_ns)}, p90 ${fmt.exactTime(row.p90_ns)} (spread ${fmt.percent(spread)})` },
        row.cost_ns ? h("div", {}, fmt.time(row.cost_ns, 3)) : h("span", { class: "faint", title: "nothing runs here: its inputs were written where they are needed" }, "–"),
        row.cost_ns > 0 && h("div", { class: "share" }, h("span", { class: "bar" }, h("i", { style: { background: familyColour(row.family) } })), h("span", { class: "share-text" }))),
      h("td", { class: "num", title: fmt.exactBytes(row.workspace_bytes) }, row.workspace_bytes ? fmt.columnBytes(row.workspace_bytes, view.units) : nothing),
      h("td", { class: "num", title: fmt.exactBytes(row.weights_bytes) }, row.weights_bytes ? fmt.columnBytes(row.weights_bytes, view.units) : nothing.cloneNode(true)),
      h("td", { class: "num", title: row.conversions.join("\n") || "no layout change" }, row.conversions.length ? [h("div", {}, fmt.time(row.conversion_ns, 3)), h("div", { class: "sub" }, fmt.count(row.conversions.length, "change"))] : nothing.cloneNode(true)),
      view.noiseWanted && h("td", { class: `num ${row.kept < 0.9 ? "worse" : ""}`, title: row.kept === undefined ? null : `in ${fmt.percent(row.kept, 0)} of ${view.noise.draws} draws of the costs the optimum runs this here` }, row.kept === undefined ? (view.noise ? "–" : h("span", { class: "busy" })) : fmt.percent(row.kept, 0)),
      h("td", { class: "act" }, row.op !== "convert" && h("button", { type: "button", class: "ghost small", "aria-label": `What ${row.node} could run`, title: "Pin or forbid (p)", onclick: () => onChoices(row) }, "⋯")));
  }

  function render() {
    const all = layerRows(view.full);
    const rows = all.map((row, i) => ({ ...row, kept: view.noise?.kept[row.node], first: row.strips && all[i - 1]?.strips !== row.strips, last: row.strips && all[i + 1]?.strips !== row.strips }));
    const columns = view.noiseWanted ? [...COLUMNS, KEPT] : COLUMNS;
    table.classList.toggle("noisy", Boolean(view.noiseWanted));
    noise.setAttribute("aria-pressed", String(Boolean(view.noiseWanted)));
    const total = view.full.latency_ns;
    const widest = Math.max(...rows.map((row) => row.cost_ns));
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (row) => `${row.node} ${row.op} ${row.primitive} ${row.family}`.toLowerCase();
    const shown = rows.filter((row) => words.every((word) => text(row).includes(word)));
    note.textContent = words.length ? `${shown.length} of ${rows.length}` : fmt.count(rows.length, "layer");
    const focused = document.activeElement?.closest?.("th") && head.contains(document.activeElement) ? document.activeElement.dataset.column : null;
    const header = headerRow(columns, order, (next) => {
      order = next;
      render();
    });
    header.append(h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Pin or forbid")));
    replace(head, header);
    if (focused) head.querySelector(`[data-column="${focused}"]`)?.focus();
    const ranked = sorted(shown, columns, order);
    const linked = ranked.findIndex((row) => row.node === view.layer);
    if (linked >= most) most = linked + MORE_ROWS / 2;
    let now = body.firstElementChild;
    for (const row of ranked.slice(0, most)) {
      const wanted = line(row, total, widest);
      if (wanted === now) now = now.nextElementSibling;
      else body.insertBefore(wanted, now);
    }
    while (now) {
      const next = now.nextElementSibling;
      now.remove();
      now = next;
    }
    some = most < ranked.length;
  }

  return {
    element,
    search: () => find.focus(),
    update(next) {
      const before = view;
      view = next;
      const same = ["full", "units", "noise", "noiseWanted", "short"].every((name) => before?.[name] === next[name]);
      if (same && before.layer !== next.layer) {
        for (const row of body.children) linkTo(row, row.dataset.node === next.layer);
        if (some && next.layer && !body.querySelector(".linked")) render();
      } else if (!same) {
        if (before?.full !== next.full && scroll.scrollTop === 0) most = MORE_ROWS;
        render();
      }
    },
  };
}
