/** Who A is: exact figures, how sure, measured or not, and what can be done with it. */

import * as fmt from "../format.js";
import { bytesOn, familyColour } from "../front.js";
import { bundleDownload } from "../api.js";
import { h, patch } from "../dom.js";

/** @param {any} bundle @param {any} a @returns {HTMLElement} the proof of a verified bundle */
function proof(bundle, a) {
  const v = bundle.verified;
  const exact = v.arena_used_bytes === v.arena_bytes;
  const fact = (name, value, title) => h("div", { title }, h("dt", {}, name), h("dd", {}, value));
  return h("section", { class: "proof", "aria-label": "Verified bundle" },
    h("div", { class: "proof-head" }, h("span", { class: "badge ok" }, h("span", { "aria-hidden": "true" }, "✓\u00a0"), "Verified bundle"), h("span", { class: "faint" }, `${v.compiler} · ${fmt.bytes(bundle.size_bytes)} zip`),
      h("span", { class: "spring" }), h("a", { class: "button primary", href: bundleDownload(bundle.id), download: `${bundle.prefix}.zip` }, "Download")),
    h("dl", { class: "proof-facts" },
      fact("max error", Number(v.max_rel_err).toExponential(1).replace("-", "−"), `largest relative error against onnxruntime: ${v.max_rel_err}`),
      fact("class", v.argmax === true || v.argmax === "ok" ? "same" : String(v.argmax ?? "n/a"), "arg-max against the original model"),
      fact("arena used", exact ? "= arena" : `${fmt.integer(v.arena_used_bytes)} of ${fmt.integer(v.arena_bytes)} B`, `${fmt.integer(v.arena_used_bytes)} B touched, ${fmt.integer(v.arena_bytes)} B declared`),
      fact("median", fmt.time(v.median_ns), `${fmt.exactTime(v.median_ns)}, ${fmt.count(v.runs, "run")}`),
      fact("vs predicted", fmt.signed(fmt.percent(v.median_ns / a.latency_ns - 1), v.median_ns - a.latency_ns), "measured against predicted")));
}

/**
 * @param {{onBundle: () => void, onSelect: (id: string, which: "a"|"b") => void, onClear: () => void, onCancel: (job: any) => void}} actions
 */
export function createPointHeader({ onBundle, onSelect, onClear, onCancel }) {
  const element = h("div", { class: "point-header" });

  function bundlePart({ a, bundle, bundleJob }) {
    if (bundle) return proof(bundle, a);
    if (!bundleJob) return h("div", { class: "actions" },
      h("button", { type: "button", class: "primary", onclick: onBundle, title: "Generate C, compile it, run it, compare it with the model (e)" }, "Make verified bundle"),
      h("span", { class: "faint" }, "C11 without malloc; compiled, run and compared before you get it."));
    const { completed, total } = bundleJob.progress;
    return h("div", { class: "actions", dataset: { job: bundleJob.id } },
      h("span", { class: "busy", "aria-hidden": "true" }), h("span", {}, `Bundle: ${bundleJob.stage || bundleJob.state}`),
      h("progress", { max: total || 1, value: total ? completed : null, "aria-label": "Bundle" }),
      h("button", { type: "button", class: "small", onclick: () => onCancel(bundleJob) }, "Cancel"));
  }

  return {
    element,
    update(view) {
      const { a, b, axis, points, units, baselines } = view;
      if (!a) {
        patch(element, h("div", { class: "hint", dataset: { job: "" } }, h("p", { class: "strong" }, "No point selected"),
          h("p", {}, "Click a point to make it A, Shift+click to make it B; ", h("kbd", {}, "j"), " and ", h("kbd", {}, "k"), " walk along the front.")));
        return;
      }
      const place = points.indexOf(a);
      const named = baselines.find(({ point }) => point.id === a.id)?.name;
      const families = Object.entries(a.families).sort((p, q) => q[1] - p[1]);
      const drift = a.measured_ns ? a.measured_ns / a.latency_ns - 1 : null;
      const also = ["arena", "weights", "workspace", "total"].filter((name) => name !== axis);
      patch(element,
        h("div", { class: "point-line", dataset: { job: `${a.id} ${b?.id}` } },
          h("span", { class: "letter a large", "aria-hidden": "true" }, "A"),
          h("h2", { class: "headline" },
            h("span", { class: "visually-hidden" }, "Point A: "),
            h("span", { title: fmt.exactTime(a.latency_ns) }, fmt.columnTime(a.latency_ns, fmt.timeUnit(points)), h("small", {}, ` ${fmt.timeUnit(points)}`)),
            h("span", { title: fmt.exactBytes(bytesOn(a, axis)) }, fmt.integer(bytesOn(a, axis)), h("small", {}, ` B ${axis}`))),
          h("span", { class: "spring" }),
          b && b.id !== a.id && b !== view.answered?.point && h("button", { type: "button", class: "ghost small", title: "Swap A and B", onclick: () => { onSelect(b.id, "a"); onSelect(a.id, "b"); } }, "A ⇄ B"),
          h("button", { type: "button", class: "ghost icon", "aria-label": "Clear the selection", title: "Clear the selection (Esc)", onclick: onClear }, "×")),
        h("div", { class: "point-facts" },
          h("span", { class: `badge ${a.proven ? "ok" : "warn"}`, title: a.proven ? "no selection within this memory is faster" : `lower bound ${fmt.exactTime(a.bound_ns)}` }, a.proven ? "Proven optimal" : `Gap ${fmt.percent(a.gap, 2)}`),
          h("span", { class: "faint" }, place < 0 ? `baseline ${named}` : `point ${place + 1} of ${points.length}${a === view.knee ? " · knee" : ""}${named ? ` · ${named}` : ""}`),
          h("span", { title: `p10 ${fmt.exactTime(a.p10_ns)}, p90 ${fmt.exactTime(a.p90_ns)}` }, `p10–p90 ${fmt.time(a.p10_ns, 3)} – ${fmt.time(a.p90_ns, 3)}`),
          drift !== null && h("span", { title: `predicted ${fmt.exactTime(a.latency_ns)}, measured ${fmt.exactTime(a.measured_ns)}` }, `measured ${fmt.time(a.measured_ns)} (${fmt.signed(fmt.percent(drift), drift)})`)),
        h("div", { class: "point-facts" }, drift === null && h("span", { class: "faint", title: "the sum of its measured primitives; a bundle measures the whole" }, "predicted, not run yet"), also.map((name) => h("span", { title: fmt.exactBytes(a[`${name}_bytes`]) }, h("span", { class: "faint" }, `${name} `), fmt.bytes(a[`${name}_bytes`], units)))),
        h("div", { class: "families" }, h("span", { class: "strip wide", "aria-hidden": "true" }, families.map(([name, n]) => h("i", { style: { flex: n, background: familyColour(name) } }))),
          h("ul", {}, families.map(([name, n]) => h("li", {}, h("i", { class: "swatch", style: { background: familyColour(name) } }), `${name} ${n}`)))),
        bundlePart(view));
    },
  };
}
