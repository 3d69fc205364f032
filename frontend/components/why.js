/** Why this point: what its numbers include, how sure they are, what bounds it, and the price of memory around it. */

import * as fmt from "../format.js";
import { buys, bytesOn, costs } from "../front.js";
import { h, replace } from "../dom.js";

const METHODS = { "highs-lp": "an exact linear program (HiGHS)", mip: "integer programming", "highs-mip": "integer programming (HiGHS)", dp: "dynamic programming", labels: "a search over labels" };

/** @param {string} methods `highs-lp+dp` @returns {string} in words: independent methods that gave the same answer */
const certified = (methods) => {
  const names = methods.split("+").map((name) => METHODS[name] ?? name);
  return names.length < 2 ? names[0] : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}, each by itself`;
};

/** Memory steps worth asking about on a front of this width: four powers of two up to half of it. */
function questions(points, axis) {
  const width = bytesOn(points.at(-1), axis) - bytesOn(points[0], axis);
  const top = 2 ** Math.floor(Math.log2(Math.max(1024, width / 2)));
  return [top / 64, top / 16, top / 4, top].filter((x) => x >= 64);
}

/** @param {{onSelect: (id: string, which: "a"|"b") => void, onNoise: () => void, onStep: (node: string) => void}} actions */
export function createWhy({ onSelect, onNoise, onStep }) {
  const element = h("div", { class: "panel-body why" });

  const block = (title, ...children) => h("section", {}, h("h3", {}, title), ...children);
  const facts = (rows) => h("dl", { class: "facts" }, rows.filter(Boolean).map(([name, value, title]) => [h("dt", {}, name), h("dd", { title }, value)]));
  const go = (point, text) => h("button", { type: "button", class: "link", onclick: () => onSelect(point.id, "a") }, text);

  /** A step by name; where the memory picture has it, one click away from there. */
  const toStep = (step, full, short) => (full.steps.includes(step) ? h("button", { type: "button", class: "link", title: `${step}: show it in the memory picture`, onclick: () => onStep(step) }, short(step)) : h("b", {}, short(step)));

  /** The next smaller point, where it is further away than the questions reach. */
  function smaller({ points, axis, a, units }) {
    const before = points.findLast((p) => bytesOn(p, axis) < bytesOn(a, axis));
    return before ? [h("li", {}, h("span", {}, `Any byte less costs `, h("b", { class: "worse" }, fmt.time(before.latency_ns - a.latency_ns, 3)), ` and frees ${fmt.bytes(bytesOn(a, axis) - bytesOn(before, axis), units)}. `), go(before, "Take it"))] : [];
  }

  function prices(view) {
    const { points, axis, a, units } = view;
    const lines = [];
    const told = new Set();
    /** Whether an answer is news: a larger question may have the answer of a smaller one. */
    const fresh = (answer) => answer && !told.has(answer.point.id) && told.add(answer.point.id);
    for (const extra of questions(points, axis)) {
      const gain = buys(points, axis, a, extra);
      if (fresh(gain)) lines.push(h("li", {}, h("span", {}, `The next ${fmt.bytes(extra, "kib")} buy `, h("b", { class: "better" }, fmt.time(gain.saved_ns, 3)), ` (${fmt.percent(gain.saved_ns / a.latency_ns)}), using ${fmt.bytes(gain.used_bytes, units)} of them. `), go(gain.point, "Take it")));
    }
    const next = points.find((p) => bytesOn(p, axis) > bytesOn(a, axis) && p.latency_ns < a.latency_ns);
    if (!lines.length) lines.push(next ? h("li", {}, h("span", {}, `Nothing below ${fmt.bytes(bytesOn(next, axis) - bytesOn(a, axis), units)} more; they buy `, h("b", { class: "better" }, fmt.time(a.latency_ns - next.latency_ns, 3)), ". "), go(next, "Take it"))
      : h("li", {}, "Nothing: this is the fastest point, more memory buys no time."));
    const losses = [];
    for (const fewer of questions(points, axis)) {
      const loss = costs(points, axis, a, fewer);
      if (fresh(loss)) losses.push(h("li", {}, h("span", {}, `${fmt.bytes(fewer, "kib")} less cost `, h("b", { class: "worse" }, fmt.time(loss.lost_ns, 3)), ` (${fmt.percent(loss.lost_ns / a.latency_ns)}) and free ${fmt.bytes(loss.freed_bytes, units)}. `), go(loss.point, "Take it")));
    }
    if (!losses.length && bytesOn(a, axis) > view.smallestBytes) losses.push(...smaller(view));
    if (!losses.length) losses.push(h("li", {}, view.smallestBytes === null || bytesOn(a, axis) > view.smallestBytes ? "What less memory costs is not known: the front ends here." : view.smallestBytes === 0 ? `Nothing is smaller than no ${axis}.` : `Nothing smaller runs: ${fmt.integer(view.smallestBytes)} B is the least, needed by ${view.short(view.smallestStep)}.`));
    return [h("ul", { class: "prices" }, lines), h("ul", { class: "prices" }, losses)];
  }

  /** The steps that keep the point from being smaller; all of them would have to shrink. */
  function binding({ explained, units, short, full }) {
    if (!explained) return [["Binding steps", "…"]];
    const shown = explained.binding.slice(0, 4);
    const rows = shown.map((step, i) => [i ? "" : explained.binding.length > 1 ? "Binding steps" : "Binding step", [toStep(step.step, full, short), `: ${step.parts.map(([what, size]) => `${short(what)} ${fmt.bytes(size, units)}`).join(" + ")}`], fmt.exactBytes(step.live_bytes)]);
    if (explained.binding.length > shown.length) rows.push(["", `and ${fmt.count(explained.binding.length - shown.length, "more step")} as full as these`]);
    return rows;
  }

  /** What the noise of the costs could change. */
  function robust({ noise, noiseWanted, full, short }) {
    if (!noiseWanted) return h("p", {}, "How much of this choice is noise? ", h("button", { type: "button", class: "link", onclick: onNoise }, "Solve it 100 times under the measured spread"));
    if (!noise) return h("p", { class: "faint" }, h("span", { class: "busy", "aria-hidden": "true" }), " Solving under 100 draws of the costs");
    const unsure = full.layers.filter((layer) => noise.kept[layer.node] < 0.9).sort((p, q) => noise.kept[p.node] - noise.kept[q.node]);
    return facts([
      ["Regret", `${fmt.percent(noise.regret_mean, 2)} slower than the best choice on average, ${fmt.percent(noise.regret_worst, 2)} at worst, over ${noise.draws} draws of the samples`],
      ["Choices", unsure.length ? `${fmt.integer(full.layers.length - unsure.length)} of ${fmt.integer(full.layers.length)} layers keep theirs in 90 % of the draws; least sure: ${unsure.slice(0, 3).map((layer) => `${short(layer.node)} ${fmt.percent(noise.kept[layer.node], 0)}`).join(", ")}` : "every layer keeps its choice in at least 90 % of the draws"],
      noise.single > 0 && ["Not known", `${fmt.count(noise.single, "cost")} with a single sample never vary here`],
    ]);
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
          ...binding(view),
          ["Peak, arena", full.arena_bytes === full.peak_bytes ? `${fmt.integer(full.peak_bytes)} B, packed without a gap` : `${fmt.integer(full.peak_bytes)} B alive, ${fmt.integer(full.arena_bytes)} B with offsets`, fmt.exactBytes(full.arena_bytes)],
          ["Smallest budget", view.smallestBytes === null ? "not known: the front was cut before it was found" : view.smallestBytes ? `${fmt.integer(view.smallestBytes)} B, because of ${view.short(view.smallestStep)}` : `none: it runs with no ${axis} at all`, view.smallestStep],
        ])),
        block("How sure it is", facts([
          ["Optimality", a.proven ? `Proven: no selection within ${fmt.integer(bytesOn(a, axis))} B of ${axis} is faster.` : `Not proven: nothing faster than ${fmt.time(a.bound_ns)} exists; the gap is ${fmt.percent(a.gap, 2)}.`, fmt.exactTime(a.bound_ns)],
          ["Certified by", certified(frontier.certified_by), frontier.uncertified_because || frontier.certified_by],
          ["Spread", `p10 ${fmt.time(a.p10_ns)}, p90 ${fmt.time(a.p90_ns)} over the samples of its primitives`, `${fmt.exactTime(a.p10_ns)} – ${fmt.exactTime(a.p90_ns)}`],
          ["Measured", a.measured_ns ? `${fmt.time(a.measured_ns)} in the verified bundle, ${fmt.signed(fmt.percent(a.measured_ns / a.latency_ns - 1), a.measured_ns - a.latency_ns)} against the prediction` : "Not run yet as a whole: make a bundle to measure it."],
        ])),
        block("What noise could change", robust(view)),
        block("What the numbers include", facts([
          ["Latency", `Sum of measured ${frontier.limits?.objective === "p90" ? "90th percentiles" : "medians"} of ${fmt.count(full.layers.length, "layer")} plus ${fmt.time(Math.max(0, conversions), 3)} of layout changes, on ${frontier.device}.`, fmt.exactTime(conversions)],
          ["Arena", "Activations, workspaces and converted copies at fixed offsets, alignment included: the macro in the header."],
          ["Weights", `${fmt.integer(a.weights_bytes)} B, packed as shipped. Constant data, outside the arena.`],
          ["Not included", `The caller's input and output buffers (${fmt.integer(frontier.io_bytes)} B) and the code.`],
        ])),
        compared.length > 0 && block("Against simpler choices", h("ul", { class: "prices" }, compared)));
    },
  };
}
