/** The front as a keyboard grid: the same points and the same selection as the plot. */

import * as fmt from "../format.js";
import { bytesOn, familyColour } from "../front.js";
import { h, replace } from "../dom.js";

/** @param {Record<string, number>} families @returns {HTMLElement} shares of the convolutions by family */
export function familyStrip(families) {
  const all = Object.entries(families).sort((p, q) => q[1] - p[1]);
  const text = all.map(([name, n]) => `${n} ${name}`).join(", ");
  return h("span", { class: "strip", title: text },
    all.map(([name, n]) => h("i", { style: { flex: n, background: familyColour(name) } })),
    h("span", { class: "visually-hidden" }, text));
}

/** @param {{onSelect: (id: string, which: "a"|"b") => void}} actions */
export function createFrontTable({ onSelect }) {
  const head = h("tr", { role: "row" });
  const body = h("tbody");
  const table = h("table", { class: "grid front-table", role: "grid", "aria-label": "Points of the front" }, h("thead", {}, head), body);
  const element = h("div", { class: "table-scroll", tabindex: "-1" }, table);
  let view = null;
  let drawn = "";
  /** @type {Map<string, HTMLElement>} */
  let rows = new Map();
  /** What each row looks like now. @type {Map<string, string>} */
  const states = new Map();

  // Shift+click marks B; the browser would mark text.
  body.addEventListener("mousedown", (event) => event.shiftKey && event.preventDefault());
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row) return;
    row.focus();
    onSelect(row.dataset.point, event.shiftKey ? "b" : "a");
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    const to = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling, Home: body.firstElementChild, End: body.lastElementChild };
    if (event.key in to) {
      event.preventDefault();
      event.stopPropagation();
      const next = to[event.key];
      if (!next) return;
      next.focus();
      onSelect(next.dataset.point, "a");
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      onSelect(row.dataset.point, event.shiftKey ? "b" : "a");
    }
  });

  function build() {
    const { points, axis, units, knee } = view;
    const unit = fmt.timeUnit(points);
    replace(head, ["", "#", `${axis} memory`, `latency, ${unit}`, "Δ memory", `Δ ${unit}`, "proof", "families"].map((name, i) =>
      h("th", { scope: "col", role: "columnheader", class: i >= 1 && i <= 5 ? "num" : "" }, name || h("span", { class: "visually-hidden" }, "selected as"))));
    rows = new Map(points.map((point, i) => {
      const before = points[i - 1];
      const more = before && bytesOn(point, axis) - bytesOn(before, axis);
      const less = before && point.latency_ns - before.latency_ns;
      const cell = (name, title, ...text) => h("td", { role: "gridcell", class: name, title }, ...text);
      const row = h("tr", { role: "row", dataset: { point: point.id } },
        cell("mark", null),
        cell("num faint", null, i + 1, point === knee && h("span", { class: "star", title: "knee" }, " ★")),
        cell("num strong", fmt.exactBytes(bytesOn(point, axis)), fmt.columnBytes(bytesOn(point, axis), units)),
        cell("num strong", fmt.exactTime(point.latency_ns), fmt.columnTime(point.latency_ns, unit)),
        cell("num faint", before ? fmt.exactBytes(more) : null, before ? fmt.signed(fmt.columnBytes(more, units), more) : "–"),
        cell("num faint", before ? fmt.exactTime(less) : null, before ? fmt.columnTime(less, unit) : "–"),
        cell("", point.proven ? "no selection within this memory is faster" : `lower bound ${fmt.exactTime(point.bound_ns)}`,
          h("span", { class: `dot ${point.proven ? "proven" : "open"}`, "aria-hidden": "true" }), point.proven ? "proven" : `gap ${fmt.percent(point.gap, 2)}`),
        cell("", null, familyStrip(point.families)));
      return [point.id, row];
    }));
    states.clear();
    replace(body, [...rows.values()]);
  }

  function select() {
    const { a, b, budget, axis, points } = view;
    const stop = a && rows.has(a.id) ? a.id : points[0].id;
    for (const point of points) {
      const state = `${a?.id === point.id}${b?.id === point.id}${point.id === stop}${budget !== null && bytesOn(point, axis) > budget}`;
      if (states.get(point.id) === state) continue;
      states.set(point.id, state);
      const row = rows.get(point.id);
      const letter = `${a?.id === point.id ? "A" : ""}${b?.id === point.id ? "B" : ""}`;
      row.setAttribute("aria-selected", String(letter !== ""));
      row.tabIndex = point.id === stop ? 0 : -1;
      row.classList.toggle("is-b", letter === "B");
      const over = budget !== null && bytesOn(point, axis) > budget;
      row.classList.toggle("over", over);
      replace(row.firstElementChild, !letter && over && h("span", { class: "over-tag" }, "over"), [...letter].map((one) => h("span", { class: `letter ${one.toLowerCase()}` }, one)));
    }
    const row = a && rows.get(a.id);
    if (!row) return;
    const top = row.offsetTop - element.querySelector("thead").offsetHeight - row.offsetHeight;
    const bottom = row.offsetTop + 2 * row.offsetHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (bottom > element.scrollTop + element.clientHeight) element.scrollTop = bottom - element.clientHeight;
  }

  return {
    element,
    update(next) {
      const before = view;
      view = next;
      // The same front arrives anew after every job; its text is compared only then.
      if (view.frontier !== before?.frontier || view.units !== before.units) {
        const key = JSON.stringify([view.frontier, view.axis, view.units]);
        if (key !== drawn) build();
        drawn = key;
      }
      select();
    },
  };
}
