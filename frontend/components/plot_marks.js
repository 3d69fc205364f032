/** Where baselines and reference marks are drawn, and their words, so that no two labels lie on each other. */

import * as fmt from "../format.js";
import { bytesOn } from "../front.js";

const LINE_PX = 15;
const LETTER_PX = 6.2;
// Height of the words of marks: below the baselines above the plot, above the low end of a front.
const EDGE = 0.62;
const BELOW = 0.3;
const AIR_PX = 16;
const SAME_PX = 7;
// The front itself keeps at least this much of the width.
const LEAST_SHARE = 0.45;
const ms = (ns) => ns / 1e6;
const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));

/** Inside the range by a small share, so that a marker at the edge is whole. */
function inset([low, high], log) {
  if (log) return [low * (high / low) ** 0.025, high / (high / low) ** 0.03];
  return [low + (high - low) * 0.025, high - (high - low) * 0.03];
}

/** @returns {number} share of the range at which a value lies */
const shareOf = (value, [low, high], log) => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));

/** @returns {number} the value at a share of the range */
const valueAt = (share, [low, high], log) => (log ? low * (high / low) ** share : low + (high - low) * share);

/**
 * Baselines that choose alike stand on one spot: the first of them has the names of all, the others none.
 * @returns {Map<string, string>} words per baseline inside the plot
 */
function namesTogether(view, ranges, inner, [xs, ys]) {
  const [logX, logY] = [view.scale.includes("x"), view.scale.includes("y")];
  const spots = [];
  for (const { name, point } of view.baselines) {
    const [bytes, time] = [bytesOn(point, view.axis), ms(point.latency_ns)];
    if (bytes > xs[1] || time > ys[1]) continue;
    const [x, y] = [shareOf(clamp(bytes, xs), ranges.x, logX) * inner.width, shareOf(clamp(time, ys), ranges.y, logY) * inner.height];
    const spot = spots.find((one) => Math.hypot(one.x - x, one.y - y) < SAME_PX);
    if (spot) spot.names.push(name);
    else spots.push({ x, y, names: [name] });
  }
  return new Map(spots.flatMap(({ names: [first, ...others] }) => [[first, [first, ...others].join(", ")], ...others.map((name) => [name, ""])]));
}

/**
 * Baselines where they are, or at the edge nearest to them; those above the plot one below the other.
 * @param {any} view @param {{x: [number, number], y: [number, number]}} ranges @param {{width: number, height: number}} inner pixels
 * @returns {{name: string, explanation: string, point: any, x: number, y: number, label: string, position: string, edge: object|null}[]} edge: the box of words that stand at the edge
 */
export function placedBaselines(view, ranges, inner) {
  const [logX, logY] = [view.scale.includes("x"), view.scale.includes("y")];
  const [xs, ys] = [inset(ranges.x, logX), inset(ranges.y, logY)];
  const taken = []; // boxes of labels, pixels
  const names = namesTogether(view, ranges, inner, [xs, ys]);
  return view.baselines.map(({ name, explanation, point }) => {
    const [px, py] = [bytesOn(point, view.axis), ms(point.latency_ns)];
    const [above, right] = [py > ys[1], px > xs[1]];
    const label = above ? `↑ ${name} ${fmt.time(point.latency_ns, 3)}` : right ? `→ ${name} ${fmt.bytes(px, view.units)}` : names.get(name);
    const x = clamp(px, xs);
    const shareX = shareOf(x, ranges.x, logX);
    const atLeft = shareX > 0.5;
    const onPoint = view.points.some((p) => p.id === point.id);
    // The line comes to a point of the front from above and the left, so words go below it.
    let position = atLeft ? (above ? "middle left" : onPoint ? "bottom left" : "top left") : onPoint ? "bottom right" : "middle right";
    let shareY = shareOf(clamp(py, ys), ranges.y, logY);
    const left = shareX * inner.width + (atLeft ? -12 - label.length * LETTER_PX : 12);
    const box = () => {
      const middle = (1 - shareY) * inner.height + (position.startsWith("top") ? -LINE_PX : position.startsWith("bottom") ? LINE_PX : 0);
      return { left, right: left + label.length * LETTER_PX + (atLeft ? 20 : 0), top: middle - LINE_PX / 2, bottom: middle + LINE_PX / 2 };
    };
    const collides = (one) => taken.some((other) => one.left < other.right && other.left < one.right && one.top < other.bottom - 1 && other.top < one.bottom - 1);
    if (!above && collides(box())) position = position === "bottom left" ? "top left" : atLeft ? "bottom left" : "bottom right";
    // Above the plot the height says nothing, so it may be given up for a line of its own.
    for (let tries = 0; above && tries < 12 && collides(box()); tries += 1) shareY -= LINE_PX / inner.height;
    if (label) taken.push(box());
    const edge = above || right ? box() : null;
    // Air between the words and the marker.
    const spaced = position.endsWith("left") ? `${label}\u2002` : `\u2002${label}`;
    return { name, explanation, point, x, y: above ? valueAt(shareY, ranges.y, logY) : clamp(py, ys), label: spaced, position, edge };
  });
}

const words = (mark, units, arrow = "") => `${arrow}${mark.name}${mark.name === fmt.bytes(mark.bytes) ? "" : ` ${fmt.bytes(mark.bytes, units)}`}`;

/** Whether the step line of the front, in pixels, runs through a box. */
function crossed(steps, { left, right, top, bottom }) {
  return steps.some(([x, y], i) => {
    const [nx, ny] = steps[i + 1] ?? [x, y];
    const through = x < right && nx > left && y > top && y < bottom;
    return through || (nx > left && nx < right && Math.min(y, ny) < bottom && Math.max(y, ny) > top);
  });
}

/**
 * The range of memory with room at its right for the words that stand at that edge, where they would lie on the front.
 * Above and right of a front there is nothing else, so it needs no more than its last point left of them.
 * @param {any} view @param {{x: [number, number], y: [number, number]}} ranges @param {{width: number, height: number}} inner pixels
 * @returns {{x: [number, number], y: [number, number]}}
 */
export function withRoom(view, ranges, inner) {
  const [logX, logY] = [view.scale.includes("x"), view.scale.includes("y")];
  const beyond = view.marks.filter(({ bytes }) => bytes >= ranges.x[1]);
  const middle = (i) => (1 - EDGE) * inner.height + LINE_PX * i;
  const boxes = [
    ...placedBaselines(view, ranges, inner).map(({ edge }) => edge).filter(Boolean),
    ...beyond.map((mark, i) => ({ left: inner.width - 8 - words(mark, view.units, "→ ").length * LETTER_PX, right: inner.width, top: middle(i) - LINE_PX / 2, bottom: middle(i) + LINE_PX / 2 })),
  ];
  const steps = view.points.map((p) => [shareOf(bytesOn(p, view.axis), ranges.x, logX) * inner.width, (1 - shareOf(ms(p.latency_ns), ranges.y, logY)) * inner.height]);
  if (!boxes.some((box) => crossed(steps, box))) return ranges;
  const share = 1 - (Math.max(...boxes.map(({ left }) => inner.width - left)) + AIR_PX) / inner.width;
  if (share < LEAST_SHARE) return ranges;
  return { ...ranges, x: [ranges.x[0], valueAt(1 / share, [ranges.x[0], bytesOn(view.points.at(-1), view.axis)], logX)] };
}

/**
 * Reference marks: a line across the plot, or a word at its edge for those beyond it.
 * @param {any} view @param {{x: [number, number]}} ranges @param {any} colours
 * @returns {{shapes: object[], annotations: object[]}}
 */
export function markLayout(view, ranges, colours) {
  const logX = view.scale.includes("x");
  const where = (x) => (logX ? Math.log10(x) : x);
  const inside = view.marks.filter(({ bytes }) => bytes > ranges.x[0] && bytes < ranges.x[1]);
  const beside = view.marks.some(({ bytes }) => bytes >= ranges.x[1]);
  const text = (mark, arrow) => words(mark, view.units, arrow);
  const edge = (marks, arrow, x, xanchor) => marks.map((mark, i) => ({
    text: text(mark, arrow), hovertext: mark.title, xref: "paper", yref: "paper", x, y: EDGE, xanchor, yanchor: "middle",
    xshift: xanchor === "right" ? -4 : 4, yshift: -LINE_PX * i, showarrow: false, font: { size: 11, color: colours.mark }, bgcolor: colours.surface, borderpad: 1,
  }));
  return {
    shapes: inside.map(({ bytes }) => ({ type: "line", xref: "x", yref: "paper", x0: bytes, x1: bytes, y0: 0, y1: 1, line: { color: colours.mark, width: 1.2, dash: "dot" }, layer: "below" })),
    annotations: [
      ...inside.map((mark) => ({
        text: text(mark), hovertext: mark.title, textangle: -90, xref: "x", yref: "paper", x: where(mark.bytes), y: beside && (mark.bytes - ranges.x[0]) / (ranges.x[1] - ranges.x[0]) > 0.75 ? BELOW : EDGE, xanchor: "right", yanchor: "middle", showarrow: false,
        font: { size: 11, color: colours.mark },
      })),
      ...edge(view.marks.filter(({ bytes }) => bytes >= ranges.x[1]), "→ ", 1, "right"),
      ...edge(view.marks.filter(({ bytes }) => bytes <= ranges.x[0]), "← ", 0, "left"),
    ],
  };
}
