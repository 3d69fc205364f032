/** Column headers that sort. */

import { h } from "../dom.js";

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {string} label
 * @property {boolean} [num] right-aligned, descending first
 * @property {(row: any) => string|number} value what is compared
 */

/** @param {any[]} rows @param {Column[]} columns @param {{by: string, down: boolean}} order @returns {any[]} a sorted copy; equal rows keep their order */
export function sorted(rows, columns, order) {
  const column = columns.find((c) => c.name === order.by) ?? columns[0];
  const sign = order.down ? -1 : 1;
  const compare = (p, q) => {
    const [x, y] = [column.value(p), column.value(q)];
    return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
  };
  return [...rows].sort(compare);
}

/**
 * @param {Column[]} columns @param {{by: string, down: boolean}} order
 * @param {(order: {by: string, down: boolean}) => void} onSort
 * @returns {HTMLElement} the header row
 */
export function headerRow(columns, order, onSort) {
  return h("tr", {}, columns.map((column) => {
    const active = order.by === column.name;
    const flip = () => onSort({ by: column.name, down: active ? !order.down : Boolean(column.num) });
    return h("th", { scope: "col", class: column.num ? "num" : "", "aria-sort": active ? (order.down ? "descending" : "ascending") : "none" },
      h("button", { type: "button", class: "sort", dataset: { column: column.name }, onclick: flip }, column.label, h("span", { class: "arrow", "aria-hidden": "true" }, active ? (order.down ? "▾" : "▴") : "")));
  }));
}
