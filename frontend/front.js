/**
 * Questions about a front that need no server: which point fits, where the knee is, what more memory buys.
 * Points are POINT_SUMMARY objects by rising memory and falling latency.
 *
 * @typedef {object} Summary
 * @property {string} id
 * @property {number} latency_ns
 * @property {number} p10_ns
 * @property {number} p90_ns
 * @property {number} arena_bytes
 * @property {number} peak_bytes
 * @property {number} workspace_bytes
 * @property {number} weights_bytes
 * @property {number} total_bytes
 * @property {boolean} proven
 * @property {number} bound_ns
 * @property {number} gap
 * @property {Record<string, number>} families
 * @property {number|null} measured_ns
 * @property {string|null} bundle_id
 */

/** @param {Summary} point @param {string} axis @returns {number} its bytes on the memory axis */
export const bytesOn = (point, axis) => point[`${axis}_bytes`];

/** @param {Summary[]} points @param {string} axis @returns {Summary[]} in the order of the front */
export const ordered = (points, axis) => [...points].sort((p, q) => bytesOn(p, axis) - bytesOn(q, axis) || p.latency_ns - q.latency_ns);

/** @param {Summary[]} points @param {string} axis @param {number} budget bytes @returns {Summary|null} the fastest that fits */
export function best(points, axis, budget) {
  let found = null;
  for (const point of points) if (bytesOn(point, axis) <= budget && (!found || point.latency_ns < found.latency_ns)) found = point;
  return found;
}

/**
 * Where the front bends most: furthest below the chord between its ends, on logarithmic axes, so that the answer
 * depends on ratios alone and one slow outlier does not decide it.
 * @param {Summary[]} points @param {string} axis @returns {Summary|null} null if the front has no bend
 */
export function knee(points, axis) {
  if (points.length < 3) return null;
  const x = points.map((p) => Math.log(Math.max(1, bytesOn(p, axis))));
  const y = points.map((p) => Math.log(p.latency_ns));
  const last = points.length - 1;
  let found = null;
  let most = 1e-9;
  for (let i = 1; i < last; i += 1) {
    const below = 1 - (x[i] - x[0]) / (x[last] - x[0]) - (y[i] - y[last]) / (y[0] - y[last]);
    if (below > most) [most, found] = [below, points[i]];
  }
  return found;
}

/** @param {Summary[]} points @param {number} ratio 0.05: at most 5 % slower than the fastest @returns {Summary|null} the smallest such */
export function withinOfFastest(points, ratio) {
  const limit = Math.min(...points.map((p) => p.latency_ns)) * (1 + ratio);
  return points.find((p) => p.latency_ns <= limit) ?? null;
}

/**
 * What more memory buys from a point.
 * @param {Summary[]} points @param {string} axis @param {Summary} from @param {number} extra bytes
 * @returns {{point: Summary, saved_ns: number, used_bytes: number}|null} null if nothing faster comes into reach
 */
export function buys(points, axis, from, extra) {
  const point = best(points, axis, bytesOn(from, axis) + extra);
  if (!point || point.latency_ns >= from.latency_ns) return null;
  return { point, saved_ns: from.latency_ns - point.latency_ns, used_bytes: bytesOn(point, axis) - bytesOn(from, axis) };
}

/**
 * What a memory cut costs from a point.
 * @returns {{point: Summary, lost_ns: number, freed_bytes: number}|null} null if nothing is that small
 */
export function costs(points, axis, from, fewer) {
  const point = best(points, axis, bytesOn(from, axis) - fewer);
  if (!point) return null;
  return { point, lost_ns: point.latency_ns - from.latency_ns, freed_bytes: bytesOn(from, axis) - bytesOn(point, axis) };
}

/**
 * What lies between a point and its neighbours: there is nothing to buy in between.
 * @param {Summary[]} points @param {string} axis @param {Summary} from
 * @returns {{bytes: number, ns: number}[]} to the next larger (ns saved) and the next smaller point (ns lost); what exists of them
 */
export function neighbours(points, axis, from) {
  const at = points.indexOf(from);
  return (at < 0 ? [] : [points[at + 1], points[at - 1]]).filter(Boolean).map((other) => ({ bytes: bytesOn(other, axis) - bytesOn(from, axis), ns: other.latency_ns - from.latency_ns }));
}

/** @param {Summary[]} points @param {string} axis @returns {boolean} whether memory can be drawn on a logarithmic axis: nothing is no place on it */
export const canLog = (points, axis) => points.every((p) => bytesOn(p, axis) > 0);

/**
 * Which axes are logarithmic.
 * @param {"auto"|"linear"|"x"|"y"|"xy"} scale @param {Summary[]} points @param {string} axis @returns {""|"x"|"y"|"xy"}
 */
export function logAxes(scale, points, axis) {
  if (scale === "linear") return "";
  const bytes = canLog(points, axis);
  if (scale !== "auto") return bytes ? scale : scale.replace("x", "");
  const wide = (values) => Math.max(...values) >= 3 * Math.max(1, Math.min(...values));
  return `${bytes && wide(points.map((p) => bytesOn(p, axis))) ? "x" : ""}${wide(points.map((p) => p.latency_ns)) ? "y" : ""}`;
}

/** Fixed colours per family (after Okabe and Ito); always beside the name, never instead of it. */
const FAMILY_COLOURS = {
  direct: "#808a99", im2col: "#d55e00", im2row: "#e69f00", kn2row: "#56b4e9", kn2col: "#3aa7a0", mec: "#cc79a7",
  winograd: "#1f78c8", fft: "#9467bd", pointwise: "#009e73", depthwise: "#a8a000",
};

/** @param {string} family @returns {string} */
export const familyColour = (family) => FAMILY_COLOURS[family] ?? "#9aa3af";
