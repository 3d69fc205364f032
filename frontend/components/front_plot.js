/** The front as a step line with everything that is said about its points, and the budget as a line to drag. */

import * as fmt from "../format.js";
import { bytesOn, familyColour, neighbours } from "../front.js";
import { h } from "../dom.js";
import { draw, purge, THEMES } from "../plot.js";
import { byteTicks, timeTicks } from "../ticks.js";
import { createBudgetLine } from "./budget_line.js";
import { createPlotOverlay } from "./plot_overlay.js";
import { markLayout, placedBaselines, withRoom } from "./plot_marks.js";

const MARGIN = { l: 54, r: 18, t: 34, b: 40 };
const TAP_PX = 5;
const REACH_PX = 22;
/** Latencies that differ by less than this look alike: a plot that fills the screen with 0.3 % misleads. */
const LEAST_SPAN = 0.02;
const ms = (ns) => ns / 1e6;
/** Lets the browser show what is done so far. */
const turn = () => new Promise((resolve) => setTimeout(resolve));

/** @param {number} low @param {number} high @param {boolean} log @param {[number, number]} pad shares of the span @returns {[number, number]} */
function padded(low, high, log, pad) {
  if (log) {
    const span = Math.log(high / low) || 0.1;
    return [low * Math.exp(-span * pad[0]), high * Math.exp(span * pad[1])];
  }
  const span = high - low || high * 0.1;
  // A point of no bytes at all stands inside the plot too.
  return [low === 0 ? -span * 0.03 : Math.max(0, low - span * pad[0]), high + span * pad[1]];
}

/**
 * The part of the plane that is shown when nothing is zoomed. Baselines far outside do not stretch it; they are drawn
 * at its edge with their figures.
 */
function home(view) {
  // A front of one or two points says little without what it is better than.
  const seen = view.points.length < 3 ? [...view.points, ...view.baselines.map((one) => one.point)] : view.points;
  const x = seen.map((p) => bytesOn(p, view.axis));
  const y = seen.map((p) => ms(p.latency_ns));
  const [xmin, xmax, ymin, top] = [Math.min(...x), Math.max(...x), Math.min(...y), Math.max(...y)];
  const ymax = Math.max(top, ymin * (1 + LEAST_SPAN));
  return { x: padded(xmin, xmax, view.scale.includes("x"), [0.09, 0.07]), y: padded(ymin, ymax, view.scale.includes("y"), [0.13, 0.08]) };
}

const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));

/** @param {object} point @param {object} view @param {string} heading @returns {string} exact figures for the hover card */
function card(point, view, heading) {
  const families = Object.entries(point.families).sort((p, q) => q[1] - p[1]);
  const mix = families.map(([name, n]) => `<span style="color:${familyColour(name)}">■</span> ${n} ${name}`).join("  ");
  const proof = point.proven ? "proven optimal" : `gap ${fmt.percent(point.gap, 2)}, bound ${fmt.exactTime(point.bound_ns)}`;
  const prices = neighbours(view.points, view.axis, point).map(({ bytes, ns }) => (bytes > 0
    ? `<br>the next ${fmt.bytes(bytes, view.units)} buy ${fmt.time(-ns, 3)} (${fmt.time((-ns * 1024) / bytes, 3)} per KiB)`
    : `<br>${fmt.bytes(-bytes, view.units)} less cost ${fmt.time(ns, 3)} (${fmt.time((ns * 1024) / -bytes, 3)} per KiB)`)).join("");
  const measured = point.measured_ns ? `<br>measured ${fmt.exactTime(point.measured_ns)}` : "";
  return (
    `<b>${heading}</b><br>${fmt.integer(bytesOn(point, view.axis))} B ${view.axis}<br>${fmt.exactTime(point.latency_ns)}` +
    ` (p10–p90 ${fmt.time(point.p10_ns)} – ${fmt.time(point.p90_ns)})${measured}<br>${proof}${prices}<br>${mix}`
  );
}

function pointTraces(view, colours) {
  const { axis, points, knee } = view;
  const marks = (chosen, marker, name) => ({
    type: "scatter", mode: "markers", name, x: chosen.map((p) => bytesOn(p, axis)), y: chosen.map((p) => ms(p.latency_ns)),
    customdata: chosen.map((p) => p.id), marker, hovertemplate: "%{text}<extra></extra>",
    text: chosen.map((p) => card(p, view, `Point ${points.indexOf(p) + 1} of ${points.length}${p === knee ? " · knee" : ""}`)),
  });
  const plain = points.filter((p) => p !== knee);
  const traces = [
    marks(plain.filter((p) => p.proven), { size: 8.5, color: colours.front, line: { width: 1.5, color: colours.surface } }, "proven"),
    marks(plain.filter((p) => !p.proven), { size: 8.5, color: colours.surface, line: { width: 2, color: colours.front } }, "gap"),
  ];
  if (knee) traces.push(marks([knee], { size: 15, symbol: "star", color: knee.proven ? colours.knee : colours.surface, line: { width: 1.2, color: knee.proven ? colours.surface : colours.knee } }, "knee"));
  return traces;
}

function stepLine(view, ranges, colours) {
  const x = view.points.map((p) => bytesOn(p, view.axis));
  const y = view.points.map((p) => ms(p.latency_ns));
  // With one more byte nothing gets slower and nothing gets faster until the next point: the latency of the smaller
  // point holds up to it. The last one holds for ever, hence the tail beyond the view.
  const far = Math.max(ranges.x[1], x.at(-1)) * 4;
  return {
    type: "scatter", mode: "lines", name: "front", x: [...x, far], y: [...y, y.at(-1)], hoverinfo: "skip",
    line: { shape: "hv", color: colours.front, width: 2 },
  };
}

function overBudget(view, ranges, colours) {
  if (view.budget === null) return [];
  const right = Math.max(ranges.x[1], view.budget) * 4;
  const [bottom, top] = [Math.min(ranges.y[0], 1e-6) || 1e-6, ranges.y[1] * 10];
  return [{
    type: "scatter", mode: "lines", name: "over budget", hoverinfo: "skip", fill: "toself", line: { width: 0 },
    x: [view.budget, right, right, view.budget, view.budget], y: [bottom, bottom, top, top, bottom],
    fillpattern: { shape: "/", size: 9, solidity: 0.07, fgcolor: colours.over, fgopacity: 0.55, bgcolor: "rgba(0,0,0,0)", fillmode: "overlay" }, fillcolor: "rgba(0,0,0,0)",
  }];
}

function baselineTraces(view, placed, colours) {
  return placed.map(({ name, explanation, point, x, y, label, position }) => ({
    type: "scatter", mode: "markers+text", name, x: [x], y: [y], customdata: [point.id], hovertemplate: "%{hovertext}<extra></extra>",
    hovertext: [card(point, view, `Baseline ${name}`) + `<br><i>${wrapped(explanation)}</i>`],
    text: [label], textposition: position, textfont: { size: 11, color: colours.baseline }, cliponaxis: false,
    marker: { size: 10, symbol: "diamond-open", color: colours.baseline, line: { width: 2 } },
  }));
}

/** A sentence in lines of a hover card's width. */
function wrapped(text) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1).length + word.length > 72) lines.push("");
    lines[lines.length - 1] += `${lines.at(-1) && " "}${word}`;
  }
  return lines.join("<br>");
}

/** The selection as traces, for the picture that is saved; on the page it is the overlay's. */
function selectionTraces(view, ranges, colours) {
  return [["B", view.b, colours.b], ["A", view.a, colours.a]].filter(([, point]) => point).map(([letter, point, colour]) => ({
    type: "scatter", mode: "markers+text", name: letter, hoverinfo: "skip", x: [clamp(bytesOn(point, view.axis), ranges.x)], y: [clamp(ms(point.latency_ns), ranges.y)],
    text: [`<b>${letter}</b>`], textposition: "top right", textfont: { size: 14, color: colour }, cliponaxis: false,
    marker: { size: letter === "A" ? 21 : 25, symbol: "circle-open", color: colour, line: { width: 2.5 } },
  }));
}

/** Sizes at ticks in the unit that reads best, or in KiB where that would round them. */
function tickTexts(sizes, units) {
  const texts = sizes.map((size) => fmt.bytes(size, units));
  const exact = units === "b" || texts.every((text, i) => fmt.parseBytes(text) === sizes[i]);
  return exact ? texts : sizes.map((size) => (size % 1024 ? fmt.bytes(size, "b") : `${fmt.integer(size / 1024)} KiB`));
}

function layoutOf(view, ranges, colours, width, height) {
  const [logX, logY] = [view.scale.includes("x"), view.scale.includes("y")];
  const xs = byteTicks(...ranges.x, Math.max(3, Math.floor(width / 95)), logX);
  const ys = timeTicks(...ranges.y, Math.max(3, Math.floor(height / 52)), logY);
  const range = ([low, high], log) => (log ? [Math.log10(low), Math.log10(high)] : [low, high]);
  const note = (extra) => ({ showarrow: false, font: { size: 11.5, color: colours.muted }, ...extra });
  const limit = view.smallestBytes;
  const shown = limit > ranges.x[0] && limit < ranges.x[1];
  const where = (x) => (logX ? Math.log10(x) : x);
  const unit = fmt.timeUnit(view.points);
  const marks = markLayout(view, ranges, colours);
  return {
    margin: MARGIN, width, height,
    xaxis: { type: logX ? "log" : "linear", range: range(ranges.x, logX), tickvals: xs, ticktext: tickTexts(xs, view.units) },
    yaxis: { type: logY ? "log" : "linear", range: range(ranges.y, logY), tickvals: ys, ticktext: ys.map((y) => fmt.significant(unit === "µs" ? y * 1e3 : y, 4)) },
    shapes: [...marks.shapes, ...(shown ? [{ type: "rect", xref: "x", yref: "paper", x0: ranges.x[0], x1: limit, y0: 0, y1: 1, fillcolor: colours.muted, opacity: 0.1, line: { width: 0 }, layer: "below" }] : [])],
    annotations: [
      note({ text: `latency, ${unit}${logY ? " (log)" : ""}`, xref: "paper", yref: "paper", x: 0, y: 1, xanchor: "left", yanchor: "bottom", yshift: 8, xshift: -44 }),
      note({ text: `${view.axis} memory${logX ? " (log)" : ""}`, xref: "paper", yref: "paper", x: 1, y: 0, xanchor: "right", yanchor: "top", yshift: -21, xshift: 0 }),
      ...(shown ? [note({ text: "nothing fits", textangle: -90, xref: "paper", yref: "paper", x: 0, xshift: 4, y: 0.03, xanchor: "left", yanchor: "bottom", font: { size: 11, color: colours.muted } })] : []),
      ...marks.annotations,
    ],
  };
}

/**
 * @param {{onSelect: (id: string, which: "a"|"b") => void, onBudget: (bytes: number|null, final: boolean) => void}} actions
 * @returns {{element: HTMLElement, update: (view: any) => void, resetZoom: () => void, close: () => void}}
 */
export function createFrontPlot({ onSelect, onBudget }) {
  const canvas = h("div", { class: "plot-canvas" });
  const line = createBudgetLine({ onBudget, onTap: tapped });
  const overlay = createPlotOverlay();
  const box = h("div", { class: "plot-box" }, canvas, overlay.element, line.element);
  const caption = h("figcaption", { id: "front-caption", class: "visually-hidden" }, "Latency against memory; the same points as in the table of the front.");
  const element = h("figure", { class: "plot", "aria-labelledby": "front-caption" }, box, caption);
  let view = null;
  let zoom = null;
  let ranges = null;
  /** Pixels of the plot area; null until it was drawn. */
  let place = null;
  let placed = [];
  let listening = false;
  let drawing = Promise.resolve();
  const observer = new ResizeObserver(() => view && render());
  observer.observe(box);

  function render() {
    const width = Math.round(box.clientWidth);
    const height = Math.round(box.clientHeight);
    if (!width || !height) return;
    const inner = { width: width - MARGIN.l - MARGIN.r, height: height - MARGIN.t - MARGIN.b };
    ranges = zoom ?? withRoom(view, home(view), inner);
    const colours = THEMES[view.theme];
    placed = placedBaselines(view, ranges, inner);
    const traces = [stepLine(view, ranges, colours), ...baselineTraces(view, placed, colours), ...pointTraces(view, colours)];
    const layout = layoutOf(view, ranges, colours, width, height);
    const saved = () => [...overBudget(view, ranges, THEMES[view.theme]), ...selectionTraces(view, ranges, THEMES[view.theme])];
    drawing = drawing.then(turn).then(() => draw(canvas, traces, layout, view.theme, saved)).then(listen, (error) => canvas.replaceChildren(h("p", { class: "empty" }, error.message)));
    place = { left: MARGIN.l, top: MARGIN.t, ...inner };
    point();
  }

  /** The parts that follow the selection and the budget; all that is drawn again when only they change. */
  function point() {
    overlay.update({ view, ranges, ...place });
    line.update({ view, range: ranges.x, log: view.scale.includes("x"), ...place });
  }

  function listen() {
    box.classList.add("drawn");
    if (listening) return;
    listening = true;
    canvas.on("plotly_doubleclick", resetZoom);
    /** Ranges of the plot while it is moved or after. @returns {boolean} whether they changed */
    const moved = (change) => {
      if (!("xaxis.range[0]" in change) && !("yaxis.range[0]" in change)) return false;
      const of = (axis, log, now) => (`${axis}.range[0]` in change ? [change[`${axis}.range[0]`], change[`${axis}.range[1]`]].map((v) => (log ? 10 ** v : v)) : now);
      zoom = { x: of("xaxis", view.scale.includes("x"), ranges.x), y: of("yaxis", view.scale.includes("y"), ranges.y) };
      ranges = zoom;
      return true;
    };
    canvas.on("plotly_relayouting", (change) => moved(change) && point());
    canvas.on("plotly_relayout", (change) => moved(change) && render());
  }

  function resetZoom() {
    zoom = null;
    render();
  }

  /**
   * The nearest point to a tap. Ours and not the plot's own click event, because that one answers with what was under
   * the pointer up to 50 ms ago.
   */
  function tapped(clientX, clientY, shiftKey) {
    if (!view) return;
    const frame = canvas.getBoundingClientRect();
    const [logX, logY] = [view.scale.includes("x"), view.scale.includes("y")];
    const share = (value, [low, high], log) => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
    const far = ({ x, y }) => Math.hypot(
      frame.left + MARGIN.l + share(x, ranges.x, logX) * (frame.width - MARGIN.l - MARGIN.r) - clientX,
      frame.bottom - MARGIN.b - share(y, ranges.y, logY) * (frame.height - MARGIN.t - MARGIN.b) - clientY);
    const marks = [
      ...view.points.map((p) => ({ id: p.id, x: bytesOn(p, view.axis), y: ms(p.latency_ns) })),
      ...placed.map(({ point, x, y }) => ({ id: point.id, x, y })),
    ];
    const nearest = marks.reduce((p, q) => (far(q) < far(p) ? q : p));
    if (far(nearest) <= REACH_PX) onSelect(nearest.id, shiftKey ? "b" : "a");
  }

  let press = null;
  canvas.addEventListener("pointerdown", (event) => (press = event.button === 0 && !event.target.closest(".modebar") ? event : null), true);
  const release = (event) => {
    if (press && Math.hypot(event.clientX - press.clientX, event.clientY - press.clientY) < TAP_PX) tapped(event.clientX, event.clientY, event.shiftKey);
    press = null;
  };
  window.addEventListener("pointerup", release, true);

  return {
    element,
    resetZoom,
    update(next) {
      if (view && (view.frontier.id !== next.frontier.id || view.scale !== next.scale)) zoom = null;
      const same = place && ["frontier", "units", "scale", "theme", "marks"].every((name) => view[name] === next[name]);
      view = next;
      if (same) point();
      else render();
    },
    close() {
      observer.disconnect();
      window.removeEventListener("pointerup", release, true);
      line.close();
      purge(canvas);
    },
  };
}
