/** Point A against point B: only the layers that differ, what each costs and saves. */

import * as fmt from "../format.js";
import { familyColour } from "../front.js";
import { breakable, h, replace } from "../dom.js";
import { layerRows, manner } from "./layer_table.js";
import { headerRow, sorted } from "./sorting.js";

/**
 * @param {any} a full point @param {any} b full point
 * @returns {any[]} one row per layer: `delta_ns`, `delta_bytes` (workspace), `changed`; B minus A
 */
export function compare(a, b) {
  const of = (point) => new Map(layerRows(point).map((row) => [row.node, row]));
  const [inA, inB] = [of(a), of(b)];
  return [...new Set([...inA.keys(), ...inB.keys()])].map((node) => {
    const [p, q] = [inA.get(node), inB.get(node)];
    return {
      node, a: p, b: q,
      changed: p?.primitive !== q?.primitive || ["conversions", "in_place", "strips", "resident_bytes"].some((name) => String(p?.[name] ?? "") !== String(q?.[name] ?? "")),
      delta_ns: (q?.cost_ns ?? 0) - (p?.cost_ns ?? 0),
      delta_bytes: (q?.workspace_bytes ?? 0) - (p?.workspace_bytes ?? 0),
      delta_weights_bytes: (q?.weights_bytes ?? 0) - (p?.weights_bytes ?? 0),
    };
  });
}

/** @param {any[]} rows @param {number} ratio @returns {number} how many of the largest changes make up this share of the difference in time */
export function changesFor(rows, ratio) {
  const total = rows.reduce((sum, row) => sum + row.delta_ns, 0);
  const towards = rows.map((row) => row.delta_ns * Math.sign(total)).filter((x) => x > 0).sort((p, q) => q - p);
  let sum = 0;
  let n = 0;
  while (n < towards.length && sum < ratio * Math.abs(total)) sum += towards[n++];
  return n;
}

const COLUMNS = [
  { name: "node", label: "layer", value: (r) => r.node },
  { name: "change", label: "A → B", value: (r) => r.b?.primitive ?? "" },
  { name: "delta_ns", label: "Δ time", num: true, value: (r) => Math.abs(r.delta_ns) },
  { name: "delta_bytes", label: "Δ workspace", num: true, value: (r) => Math.abs(r.delta_bytes) },
  { name: "delta_weights_bytes", label: "Δ weights", num: true, value: (r) => Math.abs(r.delta_weights_bytes) },
];

const sameWords = (p, q) => Boolean(q) && p.family === q.family && p.variant === q.variant;

/**
 * What a layer runs, with what tells it apart from what the other point runs there: layouts, in place, strips, conversions.
 * @param {any} row @param {any} other @returns {string}
 */
export function told(row, other) {
  const theirs = other ? manner(other) : [];
  const ours = manner(row);
  const has = (words, start) => words.some((word) => word.startsWith(start));
  const changes = row.conversions.length;
  return [
    [row.family, row.variant].filter(Boolean).join(" "),
    ...ours.filter((word) => !theirs.includes(word) && (sameWords(row, other) || !word.includes("→"))),
    has(theirs, "in place") && !has(ours, "in place") && "not in place",
    has(theirs, "strips") && !has(ours, "strips") && "as a whole",
    (row.resident_bytes ?? 0) !== (other?.resident_bytes ?? 0) && (row.resident_bytes ? "weights packed at the start" : "weights shipped packed"),
    changes !== (other?.conversions.length ?? 0) && (changes ? `after ${fmt.count(changes, "layout change")}` : "no layout change"),
  ].filter(Boolean).join(" · ");
}

const named = (row, other) => (row ? [h("i", { class: "swatch", style: { background: familyColour(row.family) } }), told(row, other)] : "–");

/** @param {{onLayer: (node: string|null) => void}} actions */
export function createDiff({ onLayer }) {
  const summary = h("div", { class: "diff-summary" });
  const head = h("thead");
  const body = h("tbody");
  const scroll = h("div", { class: "table-scroll tall", tabindex: "0", role: "region", "aria-label": "Changed layers" }, h("table", { class: "grid", "aria-label": "Changed layers" }, head, body));
  const element = h("div", { class: "panel-body" }, summary, scroll);
  let view = null;
  let order = { by: "delta_ns", down: true };

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) onLayer(row.dataset.node === view.layer ? null : row.dataset.node);
  });

  function render() {
    const { full, fullB, units } = view;
    scroll.hidden = !fullB || fullB.id === full.id;
    if (scroll.hidden) {
      replace(summary, h("div", { class: "hint" }, h("p", { class: "strong" }, "Choose a second point"),
        h("p", {}, "Shift+click a point of the plot, or press ", h("kbd", {}, "b"), " on a row of the table, to compare it with A.")));
      return;
    }
    const rows = compare(full, fullB).filter((row) => row.changed);
    const time = fullB.latency_ns - full.latency_ns;
    const arena = fullB.arena_bytes - full.arena_bytes;
    const weights = fullB.weights_bytes - full.weights_bytes;
    const few = changesFor(rows, 0.9);
    const figure = (value, text, label, less, more) => h("div", { class: "figure" },
      h("span", { class: `big ${value < 0 ? "better" : value > 0 ? "worse" : ""}`, title: text.exact }, fmt.signed(text.short, value)),
      h("span", { class: "faint" }, value === 0 ? `same ${label}` : value < 0 ? less : more));
    replace(summary,
      h("div", { class: "figures" },
        figure(time, { short: fmt.time(time), exact: fmt.exactTime(time) }, "latency", `B is faster (${fmt.percent(-time / full.latency_ns)})`, `B is slower (${fmt.percent(time / full.latency_ns)})`),
        figure(arena, { short: fmt.bytes(arena, units), exact: fmt.exactBytes(arena) }, "arena", "smaller arena", "larger arena"),
        figure(weights, { short: fmt.bytes(weights, units), exact: fmt.exactBytes(weights) }, "weights", "fewer weights", "more weights")),
      h("p", { class: "lead" }, `${rows.length} of ${full.layers.length} layers change`,
        rows.length > 1 && few > 0 && few < rows.length ? `; ${fmt.count(few, "change")} ${few === 1 ? "makes" : "make"} 90 % of the difference in time.` : "."));
    replace(head, headerRow(COLUMNS, order, (next) => {
      order = next;
      render();
    }));
    const widest = Math.max(1, ...rows.map((row) => Math.abs(row.delta_ns)));
    replace(body, sorted(rows, COLUMNS, order).map((row) => {
      const sign = row.delta_ns < 0 ? "better" : "worse";
      return h("tr", { dataset: { node: row.node }, class: row.node === view.layer ? "linked" : "" },
        h("td", { title: row.node }, h("div", { class: "node" }, breakable(view.short(row.node))), h("div", { class: "sub" }, (row.a ?? row.b).op)),
        h("td", {}, h("div", { class: "primitive" }, named(row.a, row.b)), h("div", { class: "primitive to" }, "→ ", named(row.b, row.a))),
        h("td", { class: "num", title: fmt.exactTime(row.delta_ns) }, h("div", { class: sign }, fmt.signed(fmt.time(row.delta_ns, 3), row.delta_ns)),
          h("div", { class: `bar centred ${sign}` }, h("i", { style: { width: `${(50 * Math.abs(row.delta_ns)) / widest}%` } }))),
        h("td", { class: "num", title: fmt.exactBytes(row.delta_bytes) }, row.delta_bytes ? fmt.signed(fmt.bytes(row.delta_bytes, units), row.delta_bytes) : h("span", { class: "faint" }, "–")),
        h("td", { class: "num", title: fmt.exactBytes(row.delta_weights_bytes) }, row.delta_weights_bytes ? fmt.signed(fmt.bytes(row.delta_weights_bytes, units), row.delta_weights_bytes) : h("span", { class: "faint" }, "–")));
    }));
  }

  return {
    element,
    update(next) {
      view = next;
      render();
    },
  };
}
