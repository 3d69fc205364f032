/**
 * What moves over the front while one looks around: the rings of A and B, and the hatching of what is over the budget.
 * Drawn here and not by the plot, so that choosing a point does not draw a front of hundreds of points again.
 */

import { bytesOn } from "../front.js";
import { h, replace, s } from "../dom.js";

const RADIUS = { a: 11, b: 13 };
const WORDS_PX = 84;
const ms = (ns) => ns / 1e6;
const share = (value, [low, high], log) => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
const inside = (value) => Math.min(1, Math.max(0, value));

/**
 * @returns {{element: HTMLElement, update: (place: {view: any, ranges: {x: [number, number], y: [number, number]}, left: number, top: number, width: number, height: number}) => void}}
 *   pixels of the plot area within the element; bytes and milliseconds of its ranges
 */
export function createPlotOverlay() {
  const over = s("rect", { class: "over-budget", fill: "url(#over)" });
  const rings = s("g");
  const svg = s("svg", { class: "overlay-drawing" },
    s("defs", {}, s("pattern", { id: "over", width: 9, height: 9, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, s("rect", { class: "over-line", width: 1, height: 9 }))), over, rings);
  const words = h("span", { class: "over-words" }, "over budget");
  const element = h("div", { class: "plot-overlay", "aria-hidden": "true" }, svg, words);

  return {
    element,
    update({ view, ranges, left, top, width, height }) {
      const [logX, logY] = [view.scale.includes("x"), view.scale.includes("y")];
      const toX = (bytes) => left + inside(share(bytes, ranges.x, logX)) * width;
      const toY = (ns) => top + (1 - inside(share(ms(ns), ranges.y, logY))) * height;
      const from = view.budget === null ? left + width : toX(view.budget);
      const room = left + width - from;
      for (const [name, value] of Object.entries({ x: from, y: top, width: room, height })) over.setAttribute(name, String(value));
      over.style.display = room > 0 ? "" : "none";
      words.hidden = room < WORDS_PX;
      words.style.transform = `translate(${from + 6}px, ${top + 4}px)`;
      replace(rings, [["b", view.b], ["a", view.a]].filter(([, point]) => point).map(([letter, point]) => {
        const [x, y] = [toX(bytesOn(point, view.axis)), toY(point.latency_ns)];
        return s("g", { class: `ring ${letter}`, "data-bytes": bytesOn(point, view.axis) }, s("circle", { cx: x, cy: y, r: RADIUS[letter] }), s("text", { x: x + RADIUS[letter] + 3, y: y - RADIUS[letter] }, letter.toUpperCase()));
      }));
    },
  };
}
