/** Which model, device and memory axis; what is known of the front; what can be copied, saved and started. */

import * as fmt from "../format.js";
import * as limit from "../limits.js";
import { bytesOn } from "../front.js";
import { copyText, h, replace, saveText } from "../dom.js";
import { createMenu } from "./menu.js";

const AXES = [["arena", "the RAM block: live activations, workspaces and converted copies"], ["total", "arena plus weights"], ["workspace", "the largest scratch memory of one layer"], ["weights", "packed weights, within a given arena"]];
const CSV = ["id", "arena_bytes", "total_bytes", "workspace_bytes", "weights_bytes", "peak_bytes", "latency_ns", "p10_ns", "p90_ns", "proven", "bound_ns", "gap", "measured_ns", "families"];

/** @param {string} text @returns {string} for a POSIX shell */
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** The calls that give what is shown. */
export function callsFor(view, origin) {
  const { model, device, axis, budget, a, frontier, asked } = view;
  const within = limit.options(limit.compact(frontier.limits), quoted);
  const on = `--device ${quoted(device.name)}${within}`;
  const query = new URLSearchParams({ device: device.name, memory: axis, ...(budget === null ? {} : { budget: String(budget) }) });
  const best = `${origin}/api/v1/models/${model.id}/best?${query}`;
  return {
    cli: budget === null ? `tradespace frontier ${quoted(model.name)} ${on} --memory ${axis} --json` : `tradespace query ${quoted(model.name)} ${on} --memory ${axis} --budget ${budget} --json`,
    export: a && `tradespace export ${quoted(model.name)} ${on} --memory ${axis} --point ${a.id} -o net.zip`,
    ...(asked && a && questionCalls(view, origin)),
    explain: a && view.points.includes(a) && `tradespace explain ${quoted(model.name)} ${on} --memory ${axis} --point ${a.id} --robustness`,
    curl: budget === null || within ? `curl -fsS ${origin}/api/v1/frontiers/${frontier.id}` : `curl -fsS '${best}'`,
    python: `import json, urllib.request\n\nwith urllib.request.urlopen("${budget === null || within ? `${origin}/api/v1/frontiers/${frontier.id}` : best}") as answer:\n    ${budget === null || within ? "frontier" : "best"} = json.load(answer)\n`,
  };
}

/** The question that is open, as it can be asked elsewhere. The command line compares with the front without limits. */
function questionCalls({ model, device, axis, budget, a, asked, frontier }, origin) {
  const bytes = budget ?? bytesOn(a, axis);
  const own = limit.unlimited(limit.compact(frontier.limits));
  const body = JSON.stringify({ limits: asked, budget_bytes: bytes, point: a.id });
  return {
    ask: own && `tradespace what-if ${quoted(model.name)} --device ${quoted(device.name)} --memory ${axis} --budget ${bytes} --point ${a.id}${limit.options(asked, quoted)}`,
    askCurl: `curl -fsS -X POST -H 'Content-Type: application/json' -d ${quoted(body)} ${origin}/api/v1/frontiers/${frontier.id}/what-if`,
  };
}

/** @param {any} actions @param {() => any} viewNow @param {() => any} dataNow @param {any} app */
export function createContextBar(actions, viewNow, dataNow, app) {
  const model = h("select", { id: "model", onchange: () => actions.onChoose({ model: model.value, memory: "auto", a: null, b: null, layer: null, budget: null }) });
  const device = h("select", { id: "device", onchange: () => actions.onChoose({ device: device.value, a: null, b: null }) });
  const axes = AXES.map(([name, why]) => h("button", { type: "button", title: why, dataset: { axis: name }, onclick: () => actions.onChoose({ memory: name, budget: null }) }, name));
  const within = h("select", { id: "limits", "aria-label": "Limits of the front", onchange: () => actions.onFront(within.value) });
  const ask = h("button", { type: "button", title: "Try other limits without tracing a front (w)", onclick: () => actions.onQuestion() }, "What if");
  const about = h("p", { class: "about" });
  const stale = h("p", { class: "banner", hidden: true });
  const copy = async (text, what) => app.toasts.say((await copyText(text)) ? `${what} copied.` : "The browser refused the clipboard.");
  const copies = createMenu("Copy", () => {
    const view = viewNow();
    if (!view) return [["Link", "this view, exactly", () => copy(location.href, "Link")]];
    const calls = callsFor(view, location.origin);
    return [
      ["Link", "this view, exactly", () => copy(location.href, "Link")],
      ["As command line", calls.cli, () => copy(calls.cli, "Command")],
      calls.export && ["Export of A as command line", calls.export, () => copy(calls.export, "Command")],
      calls.ask && ["The question as command line", calls.ask, () => copy(calls.ask, "Command")],
      calls.askCurl && ["The question as curl", calls.askCurl, () => copy(calls.askCurl, "curl command")],
      calls.explain && ["Explanation of A as command line", calls.explain, () => copy(calls.explain, "Command")],
      ["As curl", "the same from any script", () => copy(calls.curl, "curl command")],
      ["As Python", "standard library only", () => copy(calls.python, "Python")],
      view.a && ["Figures of A", "exact integers, as JSON", () => copy(JSON.stringify(view.a, null, 1), "Figures")],
    ].filter(Boolean);
  });
  const saves = createMenu("Save", () => {
    const view = viewNow();
    if (!view) return [];
    const name = `${view.model?.name ?? "front"}-${view.axis}`.replace(/[^\w.-]+/g, "_");
    return [
      ["Front as CSV", `${fmt.count(view.points.length, "point")}, exact integers`, () => saveText(fmt.csv(CSV, view.points), `${name}.csv`, "text/csv")],
      ["Front as JSON", "with baselines and proofs", () => saveText(JSON.stringify(view.frontier, null, 1), `${name}.json`, "application/json")],
    ];
  });
  const measure = h("button", { type: "button", title: "Measure only what is missing on this device", onclick: () => actions.onMeasure(false) }, "Measure");
  const trace = h("button", { type: "button", title: "Solve the front again with the costs of now", onclick: () => actions.onTrace() }, "Trace");
  const element = h("div", { class: "context" },
    h("div", { class: "context-row" },
      h("label", { class: "pick" }, h("span", {}, "Model"), model), h("label", { class: "pick" }, h("span", {}, "Device"), device),
      h("div", { class: "segmented", role: "group", "aria-label": "Memory axis" }, axes), h("label", { class: "pick" }, h("span", {}, "Limits"), within), about, h("span", { class: "spring" }), h("div", { class: "context-actions" }, ask, measure, trace, copies, saves)),
    stale);

  /** What was last drawn: an open list of models must not be drawn again under the pointer. */
  let shown;

  return {
    element,
    update(data) {
      if (data === shown) return;
      shown = data;
      element.hidden = !data?.model;
      if (!data?.model) return;
      replace(model, app.catalog.models.map((m) => h("option", { value: m.id, selected: m.id === data.model.id }, m.name)));
      replace(device, app.catalog.devices.map((d) => h("option", { value: d.name, selected: d.name === data.device.name, title: `${d.compiler} ${d.flags}` }, d.description && d.description !== d.name ? `${d.name} · ${d.description}` : d.name)));
      for (const button of axes) button.setAttribute("aria-pressed", String(button.dataset.axis === data.axis));
      const { frontier } = data;
      const newest = new Map();
      for (const front of (data.known ?? []).filter((f) => f.memory === data.axis).sort((p, q) => String(p.created_at).localeCompare(String(q.created_at)))) newest.set(limit.textOf(front.limits), front);
      if (frontier) newest.set(limit.textOf(frontier.limits), frontier);
      const named = (limits) => limit.chips(limit.compact(limits), (bytes) => fmt.bytes(bytes)).map((chip) => chip.words).join(", ") || "no limits";
      within.parentElement.hidden = newest.size < 2 && (!frontier || limit.unlimited(frontier.limits));
      replace(within, [...newest.values()].map((front) => h("option", { value: front.id, selected: front.id === frontier?.id }, named(front.limits))));
      ask.hidden = !frontier;
      saves.hidden = !frontier;
      trace.hidden = measure.hidden = !frontier;
      const unproven = frontier?.points.filter((p) => !p.proven).length;
      about.textContent = frontier ? `${fmt.count(frontier.points.length, "point")}, ${unproven ? `${unproven} with a gap` : "all proven"} · solved in ${fmt.significant(frontier.solve_s, 2)} s` : "";
      if (frontier && frontier.complete === false) about.textContent += ` · ${frontier.incomplete_because}`;
      about.title = frontier ? `certified by ${frontier.certified_by}; traced ${fmt.when(frontier.created_at)}; ${data.device.compiler} ${data.device.flags}` : "";
      stale.hidden = !frontier?.stale;
      if (frontier?.stale) replace(stale, h("b", {}, "Stale: "), `${frontier.stale_because || "costs changed since this front was traced"}. `, h("button", { type: "button", class: "link", title: "Measures what is missing, then solves the front again", onclick: () => actions.onRenew() }, "Bring it up to date"));
    },
  };
}
