/** The workbench: one front, its points A and B, the budget. Assembles one `view` object and hands it to every part. */

import * as api from "../api.js";
import * as fmt from "../format.js";
import { best, bytesOn, canLog, knee, logAxes, ordered } from "../front.js";
import { differs, h, patch, replace } from "../dom.js";
import { createBudgetBar, verdict } from "../components/budget_bar.js";
import { createContextBar } from "../components/context_bar.js";
import { createDrawer } from "../components/drawer.js";
import { createFrontPlot } from "../components/front_plot.js";
import { createFrontTable } from "../components/front_table.js";
import { active, concerns } from "../components/job_tray.js";
import { createMarksPanel } from "../components/marks_panel.js";
import { createLayerChoices } from "../components/layer_choices.js";
import { createQuestionBar } from "../components/question_bar.js";
import { createSeeding } from "../components/seeding.js";
import { createNoModels, noFront } from "../components/empty.js";
import { refusal } from "../components/drop_zone.js";
import * as limit from "../limits.js";
import { shownMarks } from "../marks.js";
import { shortener, shortNames } from "../names.js";
import { createQuestions } from "./questions.js";

const plainName = (text) => text;
/** A drag that rests this long is somewhere. */
const REST_MS = 90;

/** @param {any} app @returns {any} a view: element, update, onJob, key, close */
export function createWorkbench(app) {
  const { store, catalog } = app;
  const actions = {
    onSelect: (id, which) => select(id, which),
    onClear: () => store.set({ a: null, b: null, layer: null }),
    onBudget: (bytes, final) => budget(bytes, final),
    onLayer: (layer) => store.set({ layer }, { replace: true }),
    onTab: (tab) => store.set({ tab }),
    onStep: (layer) => store.set({ layer, tab: "memory" }),
    onScale: (scale) => store.set({ scale }),
    onMarks: (marks) => store.set({ marks }, { replace: true }),
    onUnits: (units) => store.set({ units }),
    onChoose: (changes) => store.set({ ...changes, frontier: null }),
    onModels: () => store.set({ view: "models" }),
    onBundle: () => bundle(),
    onMeasure: (thenTrace) => measure(thenTrace),
    onTrace: () => trace(data.frontier?.limits),
    onRenew: () => renew(),
    onTraceLimits: () => trace(view.asked),
    onFront: (id) => store.set({ frontier: id, memory: data.axis, a: null, b: null, ask: null }),
    onQuestion: () => ask(store.state.ask ? null : limit.compact(data.frontier.limits)),
    onAsk: (limits) => ask(limits),
    onChoices: (layer) => choices.open(layer),
    onNoise: () => questions.toggleNoise(),
    onCancel: app.cancelJob,
    onRetry: app.retryJob,
  };
  const context = createContextBar(actions, () => view, () => data, app);
  const bar = createBudgetBar(actions);
  const plot = createFrontPlot(actions);
  const table = createFrontTable(actions);
  const drawer = createDrawer(actions);
  const seeding = createSeeding(actions);
  const question = createQuestionBar(actions);
  const questions = createQuestions(app, () => view && render());
  const choices = createLayerChoices({
    load: (node) => api.layerOptions(data.frontier.id, node),
    asked: () => limit.parse(store.state.ask) ?? limit.compact(data.frontier.limits),
    onPin: (node, primitive) => ask(limit.pinned(limit.parse(store.state.ask) ?? limit.compact(data.frontier.limits), node, primitive)),
    onBan: (node, primitive, on) => ask(limit.banned(limit.parse(store.state.ask) ?? limit.compact(data.frontier.limits), node, primitive, on)),
    units: () => store.state.units,
    fail: (problem) => app.toasts.fail(problem),
  });
  const marks = createMarksPanel(actions);
  const scaleButton = (axis, text) => h("button", { type: "button", class: "small toggle", dataset: { axis }, title: `${text} (l)`, onclick: () => toggleScale(axis) }, text);
  const scales = [scaleButton("x", "log memory"), scaleButton("y", "log latency")];
  const units = h("button", { type: "button", class: "small toggle", title: "Exact bytes or KiB (u)", onclick: () => toggleUnits() }, "exact bytes");
  const key = h("div", { class: "plot-key", "aria-hidden": "true" });
  /** Only what is on the plot. */
  const drawKey = ({ points, knee: bend, baselines }) => replace(key,
    points.some((p) => p.proven) && h("span", {}, h("i", { class: "dot proven" }), "proven optimal"), points.some((p) => !p.proven) && h("span", {}, h("i", { class: "dot open" }), "with a gap"),
    bend && h("span", {}, h("i", { class: "star" }, "★"), "knee"), baselines.length > 0 && h("span", {}, h("i", { class: "diamond" }, "◇"), "baseline"));
  const plotTools = h("div", { class: "plot-tools" }, key, h("span", { class: "spring" }), marks.element, ...scales, units);
  const bench = h("div", { class: "bench" },
    h("section", { class: "card front-card", "aria-label": "Front" }, bar.element, plotTools, plot.element, table.element),
    drawer.element);
  const body = h("div", { class: "workbench-body" });
  const element = h("div", { class: "workbench" }, h("h1", { class: "visually-hidden" }, "Workbench"), context.element, question.element, body);
  const keys = createKeys();

  /** What the server gave: {model, device, frontier, known, costs}. */
  let data = null;
  /** What is shown; null until there is a front. */
  let view = null;
  let error = null;
  /** Whether the state is still that of the address the page was opened with. */
  let linked = true;
  let loads = 0;
  let fills = 0;
  let resting = 0;
  /** Keys of (model, device, memory) to trace as soon as their costs are there. */
  const traceNext = new Map();
  /** Jobs whose front is shown when it is there. */
  const showNext = new Set();

  async function load() {
    const own = (loads += 1);
    try {
      const found = await catalog.resolve(store.state);
      if (found.model && found.frontier) found.planned = await catalog.marks(found.model.id);
      if (found.model && !found.frontier) found.costs = await api.costs(found.model.id, found.device.name);
      if (own !== loads) return;
      [data, error] = [found, null];
      if (data.frontier) settle();
    } catch (problem) {
      if (problem.name !== "Problem") throw problem;
      if (own !== loads) return;
      [data, error] = [data, problem];
    }
    render();
  }

  /** Makes the address say what is shown: a first point for a new visitor, no point of another front. */
  function settle() {
    const { state } = store;
    const axis = data.frontier.memory;
    const points = ordered(data.frontier.points, axis);
    const known = new Set([...points, ...data.frontier.baselines.map((one) => one.point)].map((p) => p.id));
    const changes = { model: data.model?.id ?? state.model, memory: axis };
    if (linked && state.a && !known.has(state.a)) app.toasts.say("Point A of the link is not on this front; showing the knee instead.");
    if (!known.has(state.a)) changes.a = ((state.budget && best(points, axis, state.budget)) || knee(points, axis) || points[0]).id;
    if (state.b && !known.has(state.b) && !(state.b === "what-if" && state.ask)) changes.b = null;
    linked = false;
    store.set(changes, { replace: true });
  }

  function assemble() {
    const { state } = store;
    const { frontier } = data;
    const axis = frontier.memory;
    const points = view?.frontier === frontier ? view.points : ordered(frontier.points, axis);
    const everyone = [...points, ...frontier.baselines.map((one) => one.point)];
    const named = (id) => everyone.find((p) => p.id === id) ?? null;
    const asked = questions.now(points, frontier.baselines);
    const [a, b] = [named(state.a), state.b === "what-if" ? asked.answered?.point ?? null : named(state.b)];
    return {
      ...asked,
      frontier, axis, points, a, b, baselines: frontier.baselines, knee: view?.frontier === frontier ? view.knee : knee(points, axis),
      smallestBytes: frontier.smallest_bytes, smallestStep: frontier.smallest_step, model: data.model, device: data.device,
      budget: state.budget, units: state.units, scale: logAxes(state.scale, points, axis), tab: state.tab, layer: state.layer, theme: app.theme(),
      marksText: state.marks, planned: data.planned ?? [], marks: view?.frontier === frontier && view.marksText === state.marks ? view.marks : shownMarks(state.marks, data.planned ?? [], axis),
      // The layers of a front are those of its network, whichever point told them.
      short: view?.frontier === frontier ? view.short : plainName, full: a && view?.full?.id === a.id ? view.full : null, fullB: b && state.b === "what-if" ? b : b && view?.fullB?.id === b.id ? view.fullB : null,
      explained: a && view?.explained?.point === a.id && view.frontier === frontier ? view.explained : null,
      bundle: a && view?.bundle?.id === a.bundle_id ? view.bundle : null,
      bundleJob: a && app.jobs.find((job) => active(job) && job.kind === "bundle" && job.params.point === a.id),
    };
  }

  function render() {
    const seed = app.jobs.find((job) => job.kind === "seed");
    context.update(data);
    if (error || !data?.frontier) question.update({ asked: null });
    if (error) return replace(body, h("section", { class: "card narrow" }, refusal(error), h("div", { class: "actions" }, h("button", { type: "button", onclick: () => store.set({ model: null, device: null, frontier: null, a: null, b: null }) }, "Start over"), h("button", { type: "button", onclick: load }, "Try again"))));
    if (!data) return replace(body, h("div", { class: "card loading" }, h("span", { class: "busy" }), " Loading"));
    if (!data.frontier) {
      view = null;
      if (seed && seed.state !== "succeeded" && (active(seed) || !data.model) && (!store.state.model || concerns(seed, data.model))) {
        seeding.update(seed);
        if (body.firstElementChild !== seeding.element) replace(body, seeding.element);
      } else {
        if ([bench, seeding.element].includes(body.firstElementChild)) replace(body);
        patch(body, data.model ? noFront(data, data.axis, app.jobs, actions) : createNoModels(actions));
      }
      return undefined;
    }
    const before = view;
    view = assemble();
    if (body.firstElementChild !== bench) replace(body, bench);
    show(before);
    // What is dragged over is not asked for; where it stops, the last change asks.
    clearTimeout(resting);
    if (store.behind) resting = setTimeout(settled, REST_MS);
    else settled();
    return undefined;
  }

  function show(before) {
    const shown = ["frontier", "a", "b", "budget", "units"];
    if (differs(before, view, ["frontier"])) drawKey(view);
    if (differs(before, view, shown)) for (const part of [bar, table]) part.update(view);
    if (differs(before, view, [...shown, "scale", "theme", "marks"])) plot.update(view);
    marks.update(view);
    drawer.update(view);
    question.update(view);
    for (const button of scales) button.setAttribute("aria-pressed", String(view.scale.includes(button.dataset.axis)));
    scales[0].disabled = !canLog(view.points, view.axis);
    scales[0].title = scales[0].disabled ? "A point needs 0 bytes: it has no place on a logarithmic axis" : "log memory (l)";
    units.setAttribute("aria-pressed", String(view.units === "b"));
  }

  function settled() {
    if (!view) return;
    fill();
    questions.follow(view);
  }

  /** Fetches what the drawer needs and is not there yet. */
  async function fill() {
    const own = (fills += 1);
    const { a, b, frontier } = view;
    const wanted = [
      a && !view.full && ["full", catalog.point(frontier.id, a.id)],
      a && !view.explained && view.points.includes(a) && ["explained", catalog.explanation(frontier.id, a.id)],
      b && !view.fullB && ["fullB", catalog.point(frontier.id, b.id)],
      a?.bundle_id && !view.bundle && ["bundle", catalog.bundle(a.bundle_id)],
    ].filter(Boolean);
    if (!wanted.length) return;
    const answers = await Promise.allSettled(wanted.map(([, promise]) => promise));
    if (own !== fills || !view) return;
    answers.forEach((answer, i) => {
      if (answer.status === "fulfilled") view[wanted[i][0]] = answer.value;
      else app.toasts.fail(answer.reason);
    });
    if (view.full && view.short === plainName) {
      view.short = shortener(shortNames(view.full.layers));
      bar.update(view);
    }
    drawer.update(view);
    question.update(view);
  }

  /** Limits to try, null to stop asking; the answer becomes B. */
  function ask(limits) {
    const b = store.state.b === "what-if" || !store.state.b ? (limits ? "what-if" : null) : store.state.b;
    store.set({ ask: limits && limit.textOf(limits), b }, { replace: Boolean(store.state.ask) });
  }

  function select(id, which) {
    store.set({ [which]: id });
    if (view) app.announce(spoken(view, which));
  }

  function spoken(now, which) {
    const point = now[which];
    if (!point) return "";
    const place = now.points.indexOf(point);
    const where = place < 0 ? "Baseline" : `Point ${place + 1} of ${now.points.length}`;
    const proof = point.proven ? "proven optimal" : `gap ${fmt.percent(point.gap, 2)}`;
    return `${which.toUpperCase()}: ${where}: ${fmt.integer(bytesOn(point, now.axis))} bytes, ${fmt.columnTime(point.latency_ns, fmt.timeUnit(now.points))} ${fmt.timeUnit(now.points)}, ${proof}`;
  }

  function budget(bytes, final) {
    if (!view) return;
    const found = bytes === null ? null : best(view.points, view.axis, bytes);
    const changes = found ? { budget: bytes, a: found.id } : { budget: bytes };
    store.set(changes, { passing: !final });
    if (final) app.announce(bytes === null ? "Budget removed" : `Budget ${fmt.integer(bytes)} bytes. ${verdict(view).text}`);
  }

  function toggleScale(axis) {
    const now = view.scale;
    const next = now.includes(axis) ? now.replace(axis, "") : [..."xy"].filter((one) => one === axis || now.includes(one)).join("");
    store.set({ scale: next || "linear" }, { replace: true });
  }

  function toggleUnits() {
    store.set({ units: store.state.units === "b" ? "kib" : "b" }, { replace: true });
  }

  /** Starts a job and says so. */
  async function start(promise, text) {
    try {
      const job = await promise;
      app.addJob(job);
      app.toasts.say(text);
      return job;
    } catch (problem) {
      app.toasts.fail(problem);
      return null;
    }
  }

  function bundle() {
    if (!view?.a || view.a.bundle_id || view.bundleJob) return;
    start(api.makeBundle(view.frontier.id, view.a.id), "The bundle is generated, compiled, run and compared.");
  }

  /** Brings a stale front up to date: measures first if costs are missing. */
  async function renew() {
    const { model, device, frontier } = data;
    try {
      const { missing } = await api.costs(model.id, device.name);
      return await (missing > 0 ? measure(true, frontier.limits) : trace(frontier.limits));
    } catch (problem) {
      return app.toasts.fail(problem);
    }
  }

  async function measure(thenTrace, limits = {}) {
    const { model, device } = data;
    const job = await start(api.measure(model.id, device.name), `Measuring ${model.name} on ${device.name}.`);
    if (job && thenTrace) traceNext.set(job.id, { model: model.id, device: device.name, memory: data.axis, limits: limit.compact(limits) });
  }

  async function trace(limits) {
    const within = limit.compact(limits);
    const job = await start(api.trace(data.model.id, data.device.name, data.axis, within), `Tracing the front of ${data.model.name} (${data.axis}${limit.unlimited(within) ? "" : ", limited"}).`);
    if (!job || limit.unlimited(within)) return;
    const known = app.jobs.find((one) => one.id === job.id);
    if (known && !active(known)) showTraced(known); // it was quicker than the answer to the request
    else showNext.add(job.id);
  }

  /** Shows the front of a job that has ended. @returns {boolean} whether there is one */
  function showTraced(job) {
    if (job.state !== "succeeded" || !job.result_url) return false;
    store.set({ frontier: job.result_url.split("/").at(-1), memory: job.params.memory, a: null, b: null, ask: null });
    return true;
  }

  function createKeys() {
    const walk = (by) => {
      const at = view.points.findIndex((p) => p.id === view.a?.id);
      const to = view.points[at < 0 ? 0 : Math.min(view.points.length - 1, Math.max(0, at + by))];
      if (to) select(to.id, "a");
    };
    const focused = () => document.activeElement?.closest?.("tr[data-point]")?.dataset.point;
    const mark = (which) => {
      const id = focused() ?? view.a?.id;
      if (id) select(id, which);
    };
    const tab = (name) => store.set({ tab: name });
    const choose = () => {
      const node = document.activeElement?.closest?.("tr[data-node]")?.dataset.node ?? view.layer;
      const layer = view.full?.layers.find((one) => one.node === node);
      if (layer) choices.open(layer);
      else app.toasts.say("Mark a layer in the table first, then press p.");
    };
    return {
      j: () => walk(1), ArrowRight: () => walk(1), k: () => walk(-1), ArrowLeft: () => walk(-1),
      a: () => mark("a"), b: () => mark("b"), Escape: actions.onClear, e: bundle, d: () => tab("diff"), m: () => bar.focus(),
      w: actions.onQuestion, p: () => choose(),
      1: () => tab("layers"), 2: () => tab("memory"), 3: () => tab("diff"), 4: () => tab("why"),
      l: () => store.set({ scale: { "": "x", x: "y", y: "xy", xy: "linear" }[view.scale] }, { replace: true }),
      u: toggleUnits,
      "/": () => {
        tab("layers");
        drawer.search();
      },
    };
  }

  load();
  return {
    element,
    title: () => data?.model?.name ?? "",
    update(state, before) {
      const other = ["model", "device", "memory", "frontier"].some((name) => state[name] !== before[name]);
      const same = data?.frontier && state.memory === data.frontier.memory && state.model === data.model?.id && state.frontier === before.frontier && (!state.device || state.device === data.device.name);
      if (other && !same) load();
      else render();
    },
    /** @param {any} job @param {any} before its last known state */
    onJob(job, before) {
      const ended = !active(job) && (!before || active(before));
      const next = ended && traceNext.get(job.id);
      if (next) {
        traceNext.delete(job.id);
        if (job.state === "succeeded") start(api.trace(next.model, next.device, next.memory, next.limits), "Measured. Tracing the front.");
      }
      if (ended && showNext.delete(job.id) && showTraced(job)) return;
      if (ended && job.state === "succeeded") load();
      else render();
    },
    refresh: render,
    key(name) {
      if (!view || !(name in keys)) return false;
      keys[name]();
      return true;
    },
    close() {
      clearTimeout(resting);
      loads += 1;
      fills += 1;
      plot.close();
    },
  };
}
