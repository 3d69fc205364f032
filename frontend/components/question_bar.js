/** What if: limits to try, the answer of the server, and how it differs from A. */

import * as fmt from "../format.js";
import * as limit from "../limits.js";
import { familyColour } from "../front.js";
import { h, replace } from "../dom.js";
import { compare, told } from "./diff.js";
import { createMenu } from "./menu.js";

const ERRORS = [["", "any"], ["1e-4", "1e-4: Winograd F(6,3) and better"], ["5e-5", "5e-5: Winograd F(4,3) and better"], ["1e-5", "1e-5: direct, GEMM, FFT, F(2,3)"]];

/** @param {number} value @param {string} text @returns {HTMLElement} a difference, green when it is less */
const change = (value, text, title, same = "same") => h("span", { class: value < 0 ? "better" : value > 0 ? "worse" : "faint", title }, value === 0 ? same : fmt.signed(text, value));

/** @param {any} actions onAsk, onTraceLimits, onSelect, onTab, onBudget */
export function createQuestionBar({ onAsk, onTraceLimits, onTab, onBudget }) {
  const families = createMenu("Families", () => (view?.families ?? []).map((family) => {
    const off = (view.asked.forbid ?? []).includes(family);
    return [off ? `Allow ${family}` : `Forbid ${family}`, off ? "convolutions may use it again" : "no convolution uses it", () => onAsk(limit.forbidden(view.asked, family, !off))];
  }));
  families.title = "Forbid a family of convolutions, or allow it again";
  const error = h("select", { id: "ask-error", onchange: () => onAsk(limit.compact({ ...view.asked, max_error: error.value ? Number(error.value) : undefined })) }, ERRORS.map(([value, text]) => h("option", { value }, text)));
  const objective = h("select", { id: "ask-objective", onchange: () => onAsk(limit.compact({ ...view.asked, objective: objective.value })) }, h("option", { value: "p50" }, "median (p50)"), h("option", { value: "p90" }, "slow tail (p90)"));
  const order = h("select", { id: "ask-order", title: "Execution orders of the layers. They are searched when a front is traced; the answer here keeps the order of A.", onchange: () => onAsk(limit.compact({ ...view.asked, order: order.value })) },
    h("option", { value: "profiles" }, "least arena too"), h("option", { value: "given" }, "of the file"), h("option", { value: "joint" }, "all"));
  const residency = h("select", { id: "ask-residency", title: "Winograd weights are shipped as the routines read them, or as plain filters that are packed into the arena when the network starts. Only where weights are bounded or the axis.", onchange: () => onAsk(limit.compact({ ...view.asked, residency: residency.value })) },
    h("option", { value: "shipped" }, "shipped packed"), h("option", { value: "start-up" }, "may be packed at the start"));
  const sized = (name, id) => {
    const input = h("input", { type: "text", id, class: "ask-size", placeholder: "any", autocomplete: "off", spellcheck: "false" });
    const commit = () => {
      const text = input.value.trim();
      const bytes = text ? fmt.parseBytes(text) : undefined;
      input.setAttribute("aria-invalid", String(bytes === null));
      if (bytes !== null) onAsk(limit.compact({ ...view.asked, [name]: bytes }));
    };
    input.addEventListener("change", commit);
    return input;
  };
  const weights = sized("max_weights_bytes", "ask-weights");
  const arena = sized("max_arena_bytes", "ask-arena");
  const pick = (text, field) => h("label", { class: "pick" }, h("span", {}, text), field);
  const arenaPick = pick("Arena at most", arena);
  const residencyPick = pick("Weights are", residency);
  const chips = h("ul", { class: "ask-chips", "aria-label": "Limits of the question" });
  const answer = h("div", { class: "ask-answer", "aria-live": "polite" });
  const element = h("section", { class: "card question", "aria-label": "What if", hidden: true },
    h("div", { class: "ask-row" }, h("h2", {}, "What if"), chips, h("span", { class: "spring" }), families, pick("Error", error), pick("Weights at most", weights), residencyPick, arenaPick, pick("Times", objective), pick("Orders", order),
      h("button", { type: "button", class: "ghost icon close", "aria-label": "Close the question", title: "Close (w)", onclick: () => onAsk(null) }, "×")),
    answer);
  let view = null;

  function drawChips() {
    const prices = new Map((view.prices ?? []).map((price) => [price.layer, price]));
    const all = limit.chips(view.asked, (bytes) => fmt.bytes(bytes, view.units));
    replace(chips, all.map(({ key, words, rest }) => {
      const price = key.startsWith("pin ") && prices.get(key.slice(4));
      return h("li", { class: "ask-chip" }, h("span", { title: words }, view.short(words)),
        price && h("small", { title: `Free, the layer runs ${price.instead} at this budget; arena ${fmt.signed(fmt.exactBytes(price.arena_bytes), price.arena_bytes)}` }, price.latency_ns === 0 ? "costs nothing" : `costs ${fmt.time(price.latency_ns, 3)}`),
        h("button", { type: "button", "aria-label": `Lift: ${words}`, onclick: () => onAsk(rest) }, "×"));
    }), all.length === 0 && h("li", { class: "faint" }, "Pin or forbid primitives in the layer table (⋯ or p), or narrow the whole network here."));
  }

  function drawAnswer() {
    const { answered, asking, problem, a, axis, units } = view;
    if (asking && !answered) return replace(answer, h("p", { class: "faint" }, h("span", { class: "busy", "aria-hidden": "true" }), " Solving"));
    if (problem) return replace(answer, refused(problem));
    if (!answered) return replace(answer, h("p", { class: "faint" }, a ? "" : "Select a point to compare with."));
    const { point, differences: d, against } = answered;
    const figure = (name, value, delta, text, exact) => h("div", { class: "ask-figure" }, h("dt", {}, name), h("dd", {}, h("b", { title: exact }, value), " ", change(delta, text)));
    const size = (name) => figure(name, fmt.bytes(point[`${name}_bytes`], units), d[`${name}_bytes`], fmt.bytes(d[`${name}_bytes`], units), fmt.exactBytes(point[`${name}_bytes`]));
    const budget = answered.budget_bytes === null ? "at any memory" : `within ${fmt.bytes(answered.budget_bytes, units)} of ${axis}`;
    const rows = view.full?.id === against.id ? compare(view.full, point).filter((row) => row.changed).sort((p, q) => Math.abs(q.delta_ns) - Math.abs(p.delta_ns)) : [];
    return replace(answer,
      h("dl", { class: "ask-figures" },
        figure("latency", fmt.time(point.latency_ns), d.latency_ns, `${fmt.time(d.latency_ns, 3)} (${fmt.percent(d.latency_ns / against.latency_ns)})`, fmt.exactTime(point.latency_ns)),
        size("arena"), size("weights"), size("workspace")),
      h("p", { class: "ask-note" },
        h("span", { class: `badge ${point.proven ? "ok" : "warn"}` }, point.proven ? "Proven optimal" : `Gap ${fmt.percent(point.gap, 2)}`),
        h("span", {}, `${budget}; ${d.layers.length ? `${fmt.count(d.layers.length, "layer")} differ${d.layers.length === 1 ? "s" : ""} from A` : "the same choices as A"}.`),
        h("span", { class: "faint", title: answered.certified_by }, `${answered.answered_from === "front" ? "read from the front" : "solved"} in ${fmt.integer(Math.max(1, Math.round(answered.elapsed_ms)))} ms`),
        h("span", { class: "spring" }),
        d.layers.length > 0 && h("button", { type: "button", class: "small", onclick: () => onTab("diff") }, "Layer by layer"),
        h("button", { type: "button", class: "small", title: "The whole front within these limits, as a job; kept beside this one", onclick: onTraceLimits }, "Trace this front")),
      rows.length > 0 && h("ul", { class: "ask-layers" }, rows.slice(0, 4).map(({ node, a: before, b: after, delta_ns }) => h("li", { title: `${node}: ${before?.primitive} → ${after?.primitive}` }, h("b", {}, view.short(node)), ` ${told(before, after)} ⇒ ${told(after, before)} `, change(delta_ns, fmt.time(delta_ns, 3), null, "±0"))),
        rows.length > 4 && h("li", { class: "faint" }, `and ${fmt.count(rows.length - 4, "more layer")}`)));
  }

  function refused(problem) {
    const { smallest_bytes: least, available_bytes: had, smallest_step: step } = problem.facts ?? {};
    // The bound that is too tight: its button says more than a hint for the command line.
    const [bound, what] = step || !least ? [] : had === view.asked.max_weights_bytes ? ["max_weights_bytes", "weights"] : had === view.asked.max_arena_bytes ? ["max_arena_bytes", "arena"] : [];
    return h("div", { class: "ask-refused" }, h("p", { class: "verdict short", title: problem.message }, view.short(problem.message)),
      problem.items?.length > 1 && h("ul", {}, problem.items.slice(0, 6).map((item) => h("li", {}, h("b", {}, view.short(item.pointer)), ` ${item.detail}`))),
      problem.hint && !bound && h("p", { class: "faint" }, problem.hint),
      bound && h("button", { type: "button", class: "small", title: fmt.exactBytes(least), onclick: () => onAsk(limit.compact({ ...view.asked, [bound]: least })) }, `Allow ${fmt.bytes(least, view.units)} of ${what}`),
      problem.type === "/problems/budget-infeasible" && least > 0 && step && h("button", { type: "button", class: "small", onclick: () => onBudget(least, true) }, `Set the budget to ${fmt.bytes(least, view.units)}`));
  }

  return {
    element,
    focus: () => element.querySelector("button")?.focus(),
    /** @param {any} next view with asked (null: closed), answered, asking, problem, prices, families */
    update(next) {
      view = next;
      element.hidden = !next.asked;
      if (!next.asked) return;
      error.value = ERRORS.find(([value]) => Number(value) === next.asked.max_error)?.[0] ?? "";
      objective.value = next.asked.objective ?? "p50";
      order.value = next.asked.order ?? "profiles";
      for (const [input, name] of [[weights, "max_weights_bytes"], [arena, "max_arena_bytes"]]) if (document.activeElement !== input) input.value = next.asked[name] === undefined ? "" : fmt.bytes(next.asked[name], "kib");
      arenaPick.hidden = next.axis !== "weights";
      residency.value = next.asked.residency ?? "shipped";
      residencyPick.hidden = next.axis !== "weights" && next.asked.max_weights_bytes === undefined && !next.asked.residency;
      drawChips();
      drawAnswer();
    },
  };
}
