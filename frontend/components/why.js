/** Why this point: what its numbers include, how sure they are, what bounds it, and the price of memory around it. */

import * as fmt from "../format.js";
import { buys, bytesOn, costs } from "../front.js";
import { h, replace } from "../dom.js";
import { liveBytes } from "./memory_picture.js";

const CERTIFIED = { "highs-lp+dp": "an exact linear program (HiGHS) and, separately, dynamic programming" };

/** Memory steps worth asking about on a front of this width: four powers of two up to half of it. */
function questions(points, axis) {
  const width = bytesOn(points.at(-1), axis) - bytesOn(points[0], axis);
  const top = 2 ** Math.floor(Math.log2(Math.max(1024, width / 2)));
  return [top / 64, top / 16, top / 4, top].filter((x) => x >= 64);
}

/** @param {{onSelect: (id: string, which: "a"|"b") => void}} actions */
export function createWhy({ onSelect }) {
  const element = h("div", { class: "panel-body why" });

  const block = (title, ...children) => h("section", {}, h("h3", {}, title), ...children);
  const facts = (rows) => h("dl", { class: "facts" }, rows.filter(Boolean).map(([name, value, title]) => [h("dt", {}, name), h("dd", { title }, value)]));
  const go = (point, text) => h("button", { type: "button", class: "link", onclick: () => onSelect(point.id, "a") }, text);

  function prices(view) {
    const { points, axis, a, units } = view;
    const lines = [];
    for (const extra of questions(points, axis)) {
      const gain = buys(points, axis, a, extra);
      if (gain) lines.push(h("li", {}, h("span", {}, `The next ${fmt.bytes(extra, "kib")} buy `, h("b", { class: "better" }, fmt.time(gain.saved_ns, 3)), ` (${fmt.percent(gain.saved_ns / a.latency_ns)}), using ${fmt.bytes(gain.used_bytes, units)} of them. `), go(gain.point, "Take it")));
    }
    if (!lines.length) lines.push(h("li", {}, bytesOn(a, axis) >= bytesOn(points.at(-1), axis) ? "Nothing: this is the fastest point, more memory buys no time." : "The next half of the front's width buys nothing."));
    const losses = [];
    for (const fewer of questions(points, axis)) {
      const loss = costs(points, axis, a, fewer);
      if (loss) losses.push(h("li", {}, h("span", {}, `${fmt.bytes(fewer, "kib")} less cost `, h("b", { class: "worse" }, fmt.time(loss.lost_ns, 3)), ` (${fmt.percent(loss.lost_ns / a.latency_ns)}) and free ${fmt.bytes(loss.freed_bytes, units)}. `), go(loss.point, "Take it")));
    }
    if (!losses.length) losses.push(h("li", {}, `Nothing smaller runs: ${fmt.integer(view.smallestBytes)} B is the least, needed by ${view.smallestStep}.`));
    return [h("ul", { class: "prices" }, lines), h("ul", { class: "prices" }, losses)];
  }

  function binding(full, units) {
    const lives = liveBytes(full);
    const at = lives.indexOf(Math.max(...lives));
    const alive = full.buffers.filter((b) => b.first <= at && at < b.last).sort((p, q) => q.size_bytes - p.size_bytes);
    const parts = alive.map((b) => `${b.kind === "workspace" ? "workspace" : b.kind === "copy" ? "converted input" : `output of ${b.node}`} ${fmt.bytes(b.size_bytes, units)}`);
    return [`${full.steps[at]}: ${parts.join(" + ")}`, fmt.exactBytes(lives[at])];
  }

  return {
    element,
    update(view) {
      const { a, full, axis, units, frontier, baselines } = view;
      const conversions = full.layers.reduce((sum, layer) => sum + layer.conversion_ns, 0) + (full.latency_ns - full.layers.reduce((sum, layer) => sum + layer.time_ns + layer.conversion_ns, 0));
      const compared = baselines.map(({ name, explanation, point }) => {
        if (point.id === a.id) return h("li", {}, h("b", {}, name), ` (${explanation}): this very point.`);
        const slower = point.latency_ns / a.latency_ns;
        const larger = bytesOn(point, axis) - bytesOn(a, axis);
        const words = `${slower >= 1 ? `${fmt.significant(slower, 3)}× slower` : `${fmt.significant(1 / slower, 3)}× faster`}, ${larger === 0 ? "same memory" : larger > 0 ? `${fmt.bytes(larger, units)} more` : `${fmt.bytes(-larger, units)} less`}`;
        return h("li", {}, h("span", {}, h("b", {}, name), ` (${explanation}): ${words}. `), h("button", { type: "button", class: "link", onclick: () => onSelect(point.id, "b") }, "Compare"));
      });
      replace(element,
        block("The price of memory from here", ...prices(view)),
        block("What bounds it", facts([
          ["Fullest step", ...binding(full, units)],
          ["Peak, arena", full.arena_bytes === full.peak_bytes ? `${fmt.integer(full.peak_bytes)} B, packed without a gap` : `${fmt.integer(full.peak_bytes)} B alive, ${fmt.integer(full.arena_bytes)} B with offsets`, fmt.exactBytes(full.arena_bytes)],
          ["Smallest budget", `${fmt.integer(view.smallestBytes)} B, because of ${view.smallestStep}`],
        ])),
        block("How sure it is", facts([
          ["Optimality", a.proven ? `Proven: no selection within ${fmt.integer(bytesOn(a, axis))} B of ${axis} is faster.` : `Not proven: nothing faster than ${fmt.time(a.bound_ns)} exists; the gap is ${fmt.percent(a.gap, 2)}.`, fmt.exactTime(a.bound_ns)],
          ["Certified by", CERTIFIED[frontier.certified_by] ?? frontier.certified_by],
          ["Spread", `p10 ${fmt.time(a.p10_ns)}, p90 ${fmt.time(a.p90_ns)} over the samples of its primitives`, `${fmt.exactTime(a.p10_ns)} – ${fmt.exactTime(a.p90_ns)}`],
          ["Measured", a.measured_ns ? `${fmt.time(a.measured_ns)} in the verified bundle, ${fmt.signed(fmt.percent(a.measured_ns / a.latency_ns - 1), a.measured_ns - a.latency_ns)} against the prediction` : "Not run yet as a whole: make a bundle to measure it."],
        ])),
        block("What the numbers include", facts([
          ["Latency", `Sum of measured medians of ${fmt.count(full.layers.length, "layer")} plus ${fmt.time(Math.max(0, conversions), 3)} of layout changes, on ${frontier.device}.`, fmt.exactTime(conversions)],
          ["Arena", "Activations, workspaces and converted copies at fixed offsets, alignment included: the macro in the header."],
          ["Weights", `${fmt.integer(a.weights_bytes)} B, packed as shipped. Constant data, outside the arena.`],
          ["Not included", `The caller's input and output buffers (${fmt.integer(frontier.io_bytes)} B) and the code.`],
        ])),
        compared.length > 0 && block("Against simpler choices", h("ul", { class: "prices" }, compared)));
    },
  };
}
