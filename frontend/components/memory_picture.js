/** How the arena is packed: every buffer as a rectangle of bytes by steps, the peak, and what is alive at a step. */

import * as fmt from "../format.js";
import { h, replace, s } from "../dom.js";
import { byteTicks } from "../ticks.js";

const W = 640;
const H = 380;
const PAD = { l: 58, r: 10, t: 14, b: 30 };
const KIND_TEXT = { output: "activation", copy: "converted copy", workspace: "workspace", resident: "weights packed at the start" };

/** @param {any} buffer @returns {string} */
const title = (buffer, short = (name) => name) => `${KIND_TEXT[buffer.kind] ?? buffer.kind} of ${short(buffer.node)}${buffer.port === null ? "" : `, input ${buffer.port}`}`;

/**
 * Runs of steps that are executed together in strips.
 * @param {any} point @returns {{chain: string, rows: string, first: number, last: number}[]} `last` is the step after it
 */
export function chainBands(point) {
  const strips = new Map(point.layers.filter((layer) => layer.strips).map((layer) => [layer.node, layer.strips]));
  const bands = [];
  point.steps.forEach((step, t) => {
    const text = strips.get(step);
    if (!text) return;
    if (bands.at(-1)?.text === text && bands.at(-1).last === t) bands.at(-1).last = t + 1;
    else bands.push({ text, chain: text.slice(0, text.lastIndexOf("/")), rows: text.slice(text.lastIndexOf("/") + 1).split(" ")[0], first: t, last: t + 1 });
  });
  return bands;
}

/** @param {any} point @returns {number[]} bytes alive at each step */
export const liveBytes = (point) => point.steps.map((_, t) => point.buffers.reduce((sum, b) => sum + (b.first <= t && t < b.last ? b.size_bytes : 0), 0));

/** @param {{onLayer: (node: string|null) => void}} actions */
export function createMemoryPicture({ onLayer }) {
  const svg = s("svg", { class: "memory", viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const labels = h("div", { class: "memory-labels", "aria-hidden": "true" });
  const tip = h("div", { class: "tip", role: "tooltip", hidden: true });
  const frame = h("div", { class: "memory-frame" }, svg, labels, tip);
  const slider = h("input", { type: "range", min: "0", value: "0", id: "step", class: "step-slider" });
  const stepName = h("output", { for: "step" });
  const legend = h("div", { class: "legend" }, Object.entries(KIND_TEXT).map(([kind, text]) => h("span", { class: `kind-${kind}` }, h("i", { class: `key ${kind}` }), text)), h("span", {}, h("i", { class: "key peak" }), "peak"), h("span", { class: "key-chain", title: "Layers that run together, a few rows at a time; the tensors between them never exist as a whole" }, h("i", { class: "key chain" }), "in strips"));
  const live = h("tbody");
  const sum = h("tfoot");
  const table = h("table", { class: "grid compact" }, h("caption", { class: "visually-hidden" }, "Buffers alive at the step"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "buffer"), h("th", { scope: "col", class: "num" }, "bytes"), h("th", { scope: "col", class: "num" }, "offset"), h("th", { scope: "col", class: "num" }, "steps"))), live, sum);
  const element = h("div", { class: "panel-body memory-panel" }, legend, frame,
    h("div", { class: "step-line" }, h("label", { for: "step" }, "Step"), slider, stepName), h("div", { class: "table-scroll", tabindex: "0" }, table));
  let view = null;
  let step = 0;

  const x = (t) => PAD.l + (t / view.full.steps.length) * (W - PAD.l - PAD.r);
  const y = (bytes) => H - PAD.b - (bytes / (view.full.arena_bytes * 1.06)) * (H - PAD.t - PAD.b);

  slider.addEventListener("input", () => {
    step = Number(slider.value);
    showStep();
  });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const t = Math.floor(((((event.clientX - box.left) / box.width) * W - PAD.l) / (W - PAD.l - PAD.r)) * view.full.steps.length);
    if (t >= 0 && t < view.full.steps.length && t !== step) {
      step = t;
      slider.value = String(t);
      showStep();
    }
    hover(event, box);
  });
  svg.addEventListener("pointerleave", () => (tip.hidden = true));
  svg.addEventListener("click", (event) => {
    const buffer = bufferOf(event.target);
    if (buffer) onLayer(buffer.node === view.layer ? null : buffer.node);
  });

  const bufferOf = (target) => view.full.buffers[Number(target.dataset?.buffer ?? NaN)];

  function hover(event, box) {
    const buffer = bufferOf(event.target);
    tip.hidden = !buffer;
    if (!buffer) return;
    const { steps } = view.full;
    replace(tip, h("b", {}, title(buffer, view.short)),
      h("div", {}, `${fmt.exactBytes(buffer.size_bytes)}`),
      h("div", {}, `at ${fmt.integer(buffer.offset_bytes)} – ${fmt.integer(buffer.offset_bytes + buffer.size_bytes)}`),
      h("div", {}, `steps ${buffer.first + 1} – ${buffer.last} of ${steps.length}: ${view.short(steps[buffer.first])}${buffer.last - buffer.first > 1 ? ` … ${view.short(steps[buffer.last - 1])}` : ""}`));
    const left = event.clientX - box.left;
    tip.style.transform = `translate(${Math.max(0, Math.min(left + 14, box.width - tip.offsetWidth - 4))}px, ${Math.max(0, event.clientY - box.top - tip.offsetHeight - 10)}px)`;
  }

  function render() {
    const point = view.full;
    const lives = liveBytes(point);
    const peakStep = lives.indexOf(Math.max(...lives));
    const bands = chainBands(point);
    legend.querySelector(".key-chain").hidden = !bands.length;
    legend.querySelector(".kind-resident").hidden = !view.full.resident_bytes;
    const ticks = byteTicks(0, point.arena_bytes * 1.04, 6, false);
    const rects = point.buffers.map((b, i) => {
      const [width, height] = [x(b.last) - x(b.first), y(b.offset_bytes) - y(b.offset_bytes + b.size_bytes)];
      return s("rect", { class: `buffer ${b.kind}`, "data-buffer": i, "data-node": b.node, x: x(b.first) + 0.6, y: y(b.offset_bytes + b.size_bytes) + 0.6, width: Math.max(0.8, width - 1.2), height: Math.max(0.8, height - 1.2) });
    });
    replace(svg,
      s("defs", {},
        s("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, s("rect", { width: 6, height: 6, class: "hatch-ground" }), s("rect", { width: 1.6, height: 6, class: "hatch-line" })),
        s("pattern", { id: "dots", width: 6, height: 6, patternUnits: "userSpaceOnUse" }, s("rect", { width: 6, height: 6, class: "dots-ground" }), s("circle", { cx: 3, cy: 3, r: 1.2, class: "dots-dot" }))),
      ticks.map((t) => s("line", { class: "gridline", x1: PAD.l, x2: W - PAD.r, y1: y(t), y2: y(t) })),
      s("rect", { class: "cursor" }), rects,
      bands.map(({ chain, rows, first, last }) => s("rect", { class: "chain-band", x: x(first) + 0.6, y: H - PAD.b + 3, width: Math.max(0.8, x(last) - x(first) - 1.2), height: 5 }, s("title", {}, `${view.short(chain)}: together in strips of ${rows} rows`))),
      s("line", { class: "peak-line", x1: PAD.l, x2: W - PAD.r, y1: y(point.peak_bytes), y2: y(point.peak_bytes) }),
      s("line", { class: "budget-mark", x1: PAD.l, x2: W - PAD.r }));
    showBudget();
    const at = (px, py) => ({ left: `${(100 * px) / W}%`, top: `${(100 * py) / H}%` });
    const packed = point.arena_bytes === point.peak_bytes ? "packed without a gap" : `${fmt.bytes(point.arena_bytes - point.peak_bytes, view.units)} above the peak`;
    replace(labels,
      ticks.map((t) => h("span", { class: "tick-y", style: at(PAD.l - 6, y(t)) }, fmt.bytes(t, view.units))),
      h("span", { class: "peak-label", style: at(W - PAD.r, y(point.peak_bytes)) }, `peak ${fmt.bytes(point.peak_bytes, view.units)} at ${view.short(point.steps[peakStep])} · ${packed}`),
      h("span", { class: "xname", style: at(W - PAD.r, H - 4) }, `${fmt.count(point.steps.length, "step")} →`));
    slider.max = String(point.steps.length - 1);
    step = view.layer ? Math.max(0, point.steps.indexOf(view.layer)) : peakStep;
    slider.value = String(step);
    link();
  }

  function showBudget() {
    const shown = view.budget !== null && view.axis === "arena" && view.budget <= view.full.arena_bytes * 1.06;
    const mark = svg.querySelector(".budget-mark");
    mark.style.display = shown ? "" : "none";
    for (const name of ["y1", "y2"]) mark.setAttribute(name, String(shown ? y(view.budget) : 0));
  }

  function link() {
    for (const rect of svg.querySelectorAll(".buffer")) {
      const own = rect.dataset.node === view.layer;
      rect.classList.toggle("linked", own);
      rect.classList.toggle("dimmed", Boolean(view.layer) && !own);
    }
    showStep();
  }

  function showStep() {
    const { steps, buffers } = view.full;
    stepName.textContent = `${step + 1} of ${steps.length}: ${view.short(steps[step])}`;
    stepName.title = steps[step];
    slider.setAttribute("aria-valuetext", stepName.textContent);
    const cursor = svg.querySelector(".cursor");
    for (const [name, value] of Object.entries({ x: x(step), y: PAD.t, width: x(step + 1) - x(step), height: H - PAD.t - PAD.b })) cursor.setAttribute(name, value);
    const alive = buffers.filter((b) => b.first <= step && step < b.last).sort((p, q) => q.size_bytes - p.size_bytes);
    replace(live, alive.map((b) => h("tr", { class: b.node === view.layer ? "linked" : "" },
      h("td", {}, h("i", { class: `key ${b.kind}` }), h("span", { title: title(b) }, title(b, view.short))),
      h("td", { class: "num", title: fmt.exactBytes(b.size_bytes) }, fmt.bytes(b.size_bytes, view.units)),
      h("td", { class: "num faint" }, fmt.integer(b.offset_bytes)),
      h("td", { class: "num faint" }, `${b.first + 1}–${b.last}`))));
    const total = alive.reduce((all, b) => all + b.size_bytes, 0);
    replace(sum, h("tr", {}, h("td", {}, `alive at this step, ${fmt.percent(total / view.full.peak_bytes, 0)} of the peak`), h("td", { class: "num", title: fmt.exactBytes(total) }, fmt.bytes(total, view.units)), h("td"), h("td")));
  }

  return {
    element,
    update(next) {
      const before = view;
      view = next;
      if (before?.full !== next.full || before.units !== next.units || before.short !== next.short) return render();
      if (before.budget !== next.budget) showBudget();
      if (before.layer !== next.layer) {
        if (next.layer && next.full.steps.includes(next.layer)) step = next.full.steps.indexOf(next.layer);
        slider.value = String(step);
        link();
      }
      return undefined;
    },
  };
}
