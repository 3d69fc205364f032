/** The budget in words: typed, explained, and the points most people want one click away. */

import * as fmt from "../format.js";
import { best, bytesOn, withinOfFastest } from "../front.js";
import { h, replace } from "../dom.js";

/** The name of the step that needs most, without the list of what is alive there. @param {string} step */
const nameOf = (step) => /^(.+?) \([^]* B\)$/.exec(step)?.[1] ?? step;

/**
 * What the budget means for this front.
 * @param {any} view @returns {{kind: "none"|"short"|"fits"|"over", text: string}}
 */
export function verdict(view) {
  const cut = view.points[0] && bytesOn(view.points[0], view.axis);
  const unknown = `the front ends at ${fmt.integer(cut)} B because ${view.frontier?.incomplete_because || "it was cut"}`;
  if (view.smallestBytes === null && view.budget === null) return { kind: "none", text: `How little ${view.axis} would do is not known: ${unknown}.` };
  if (view.budget === null && view.points.length === 1) return { kind: "none", text: `One point: it needs the least ${view.axis} and is the fastest, so more memory buys nothing here. The other axes may show a trade-off.` };
  if (view.budget === null && view.smallestBytes === 0) return { kind: "none", text: `It runs with no ${view.axis} at all.` };
  if (view.budget === null) return { kind: "none", text: `Smallest that runs: ${fmt.integer(view.smallestBytes)} B, needed by ${view.short(nameOf(view.smallestStep))}.` };
  const found = best(view.points, view.axis, view.budget);
  if (!found && (view.smallestBytes === null || view.budget >= view.smallestBytes)) return { kind: "short", text: `What fits is not known: ${unknown}. Trace it again to know.` };
  if (!found) {
    const short = view.smallestBytes - view.budget;
    return { kind: "short", text: `Nothing fits: needs ≥ ${fmt.integer(view.smallestBytes)} B (step ${view.short(nameOf(view.smallestStep))}), you are ${fmt.integer(short)} B short.` };
  }
  const spare = view.budget - bytesOn(found, view.axis);
  const over = view.a && bytesOn(view.a, view.axis) > view.budget;
  if (over) return { kind: "over", text: `A is ${fmt.integer(bytesOn(view.a, view.axis) - view.budget)} B over this budget; the best that fits takes ${fmt.time(found.latency_ns)}.` };
  return { kind: "fits", text: `Best that fits: ${fmt.time(found.latency_ns)} in ${fmt.integer(bytesOn(found, view.axis))} B, ${fmt.integer(spare)} B to spare.` };
}

/**
 * @param {{onBudget: (bytes: number|null, final: boolean) => void, onSelect: (id: string, which: "a"|"b") => void}} actions
 */
export function createBudgetBar({ onBudget, onSelect }) {
  const input = h("input", { id: "budget", type: "text", inputmode: "text", autocomplete: "off", spellcheck: "false", placeholder: "e.g. 384k", "aria-describedby": "budget-verdict" });
  const clear = h("button", { type: "button", class: "ghost icon", "aria-label": "Remove the budget", title: "Remove the budget", onclick: () => onBudget(null, true) }, "×");
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Points of interest" });
  const text = h("p", { id: "budget-verdict", class: "verdict" });
  const form = h("form", { class: "budget-form" }, h("label", { for: "budget" }, "Budget"), h("span", { class: "field" }, input, clear), chips);
  const element = h("div", { class: "budget-bar" }, form, text);
  let view = null;

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  input.addEventListener("change", apply);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    show();
    input.blur();
  });

  function apply() {
    const typed = input.value.trim();
    const bytes = typed === "" ? null : fmt.parseBytes(typed);
    if (typed !== "" && !bytes) {
      input.setAttribute("aria-invalid", "true");
      text.className = "verdict short";
      text.textContent = "Not a size. Write 98304, 96k, 96 KiB, 0.1MiB or 96 kB.";
      return;
    }
    if (bytes === view.budget) show();
    else onBudget(bytes, true);
  }

  function show() {
    input.removeAttribute("aria-invalid");
    input.value = view.budget === null ? "" : view.units === "b" || view.budget % 1024 ? fmt.integer(view.budget) : fmt.bytes(view.budget, "kib");
    input.title = view.budget === null ? "" : fmt.exactBytes(view.budget);
    clear.hidden = view.budget === null;
    const { kind, text: words } = verdict(view);
    text.className = `verdict ${kind}`;
    text.textContent = words;
    text.title = kind === "none" || kind === "short" ? `alive at the step that needs most: ${view.smallestStep}` : "";
  }

  return {
    element,
    focus: () => input.focus(),
    update(next) {
      view = next;
      show();
      const { points, axis, knee } = view;
      const close = withinOfFastest(points, 0.05);
      const fitting = view.budget === null ? null : best(points, axis, view.budget);
      const interesting = [
        ["Smallest", points[0], "the least memory any selection runs in"],
        ["Knee", knee, "where the front bends most: beyond it memory buys little"],
        ["Within 5 %", close, "the smallest point at most 5 % slower than the fastest"],
        ["Fastest", points.at(-1), "the least latency, whatever the memory"],
        ["Best in budget", fitting, "the fastest point within the budget"],
      ];
      replace(chips, interesting.filter(([, point]) => point && points.length > 1).map(([name, point, why]) =>
        h("button", {
          type: "button", class: "chip", "aria-pressed": String(view.a?.id === point.id), onclick: () => onSelect(point.id, "a"),
          title: `${why}: ${fmt.integer(bytesOn(point, axis))} B, ${fmt.time(point.latency_ns)}`,
        }, name === "Knee" && h("span", { class: "star", "aria-hidden": "true" }, "★ "), name)));
    },
  };
}
