/** Start: the frame around the views, routes, theme, keys, and the jobs as they happen. */

import * as api from "./api.js";
import { Catalog } from "./catalog.js";
import { copyText, h, replace, s } from "./dom.js";
import { percent } from "./format.js";
import { serialise, Store } from "./state.js";
import { active, createJobTray, ratio } from "./components/job_tray.js";
import { createKeyHelp } from "./components/key_help.js";
import { createToasts } from "./components/toast.js";
import { createJobs } from "./views/jobs.js";
import { createModels } from "./views/models.js";
import { createWorkbench } from "./views/workbench.js";

const VIEWS = { workbench: ["Workbench", createWorkbench], models: ["Models", createModels], jobs: ["Jobs", createJobs] };
const THEMES = { auto: ["◐", "automatic"], light: ["☀", "light"], dark: ["☾", "dark"] };

const $ = (id) => document.getElementById(id);
const store = new Store(window);
const catalog = new Catalog();
const toasts = createToasts($("toasts"));
const help = createKeyHelp();
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

/** @returns {"light"|"dark"} */
const theme = () => (store.state.theme === "auto" ? (prefersDark.matches ? "dark" : "light") : store.state.theme);

const app = {
  store, catalog, toasts, theme, meta: null,
  /** @type {any[]} newest first */
  jobs: [],
  announce: (text) => ($("announce").textContent = text),
  addJob: (job) => onJob(job),
  cancelJob: (job) => answer(api.cancelJob(job.id)),
  retryJob: (job) => answer(api.retryJob(job.id)),
};

/** Shows the job a request answered with. */
async function answer(promise) {
  try {
    const job = await promise;
    if (job) onJob(job);
  } catch (problem) {
    toasts.fail(problem);
  }
}

const tray = createJobTray($("tray-content"), { onCancel: app.cancelJob, onRetry: app.retryJob, networkOf: catalog.networkOf });
let live = false;
let current = null;

function frame() {
  const mark = s("svg", { viewBox: "0 0 32 32", class: "mark", "aria-hidden": "true" },
    s("rect", { width: 32, height: 32, rx: 7, class: "mark-ground" }), s("path", { d: "M7 7v8h7v6h11", class: "mark-line" }), s("circle", { cx: 14, cy: 15, r: 3.4, class: "mark-dot" }));
  const links = Object.entries(VIEWS).map(([name, [text]]) => h("a", { href: "#", dataset: { view: name } }, text));
  const themeButton = h("button", { type: "button", class: "ghost icon", id: "theme", onclick: nextTheme });
  replace($("top"), h("a", { class: "brand", href: "/w", "data-route": "" }, mark, "Tradespace"), h("nav", { "aria-label": "Pages" }, links), h("span", { class: "spring" }),
    h("a", { class: "quiet-link", href: "/docs" }, "API"), themeButton, h("button", { type: "button", class: "ghost icon", "aria-label": "Keyboard help", title: "Keyboard (?)", onclick: help.open }, "?"));
}

function nextTheme() {
  const names = Object.keys(THEMES);
  store.set({ theme: names[(names.indexOf(store.state.theme) + 1) % names.length] }, { replace: true });
}

function dress() {
  document.documentElement.dataset.theme = theme();
  const [sign, name] = THEMES[store.state.theme];
  $("theme").textContent = sign;
  for (const [key, value] of [["aria-label", `Theme: ${name}`], ["title", `Theme: ${name} (t)`]]) $("theme").setAttribute(key, value);
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.dataset.view === store.state.view;
    link.href = serialise({ ...store.state, view: link.dataset.view });
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function titleOf() {
  const job = app.jobs.find((one) => one.state === "running");
  const share = job && ratio(job);
  document.title = [typeof share === "number" && percent(share, 0).replace(" ", ""), current?.title(), "Tradespace"].filter(Boolean).join(" · ");
}

function open() {
  current?.close();
  current = VIEWS[store.state.view][1](app);
  replace($("main"), current.element);
}

function onJob(job) {
  const at = app.jobs.findIndex((one) => one.id === job.id);
  const before = app.jobs[at];
  if (before && !active(before) && active(job)) return; // an old event, overtaken by the answer to a request
  if (before) app.jobs[at] = job;
  else app.jobs.unshift(job);
  if (job.state === "failed" && (!before || active(before)) && before) toasts.fail({ title: "A job failed", message: job.error?.detail ?? job.error?.title ?? "", items: job.error?.errors, hint: job.error?.hint });
  jobsChanged();
  current?.onJob(job, before);
}

function onAllJobs(all) {
  const known = new Map(app.jobs.map((job) => [job.id, job]));
  app.jobs = all;
  jobsChanged();
  const changed = all.filter((job) => known.get(job.id)?.state !== job.state && (known.has(job.id) || active(job)));
  for (const job of changed) current?.onJob(job, known.get(job.id));
  if (!changed.length) current?.refresh();
}

function jobsChanged() {
  tray.update(app.jobs, live);
  titleOf();
}

function onKey(event) {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (typing && !(typing.type === "range" && !event.key.startsWith("Arrow"))) {
    if (event.key === "Escape") typing.blur();
    return;
  }
  const common = {
    "?": help.open, t: nextTheme,
    c: async () => toasts.say((await copyText(location.href)) ? "Link copied." : "The browser refused the clipboard."),
  };
  if (event.key in common) common[event.key]();
  else if (!current.key(event.key)) return;
  event.preventDefault();
}

function onLink(event) {
  const link = event.target.closest("a[data-route], a[data-view]");
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", link.getAttribute("href"));
  dispatchEvent(new PopStateEvent("popstate"));
}

async function begin() {
  frame();
  dress();
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", onLink);
  prefersDark.addEventListener("change", () => {
    dress();
    current?.update(store.state, store.state);
  });
  store.subscribe((state, before) => {
    dress();
    if (state.view !== before.view) open();
    else current.update(state, before);
    titleOf();
  });
  app.meta = await api.meta().catch(() => null);
  open();
  api.watchJobs(onJob, onAllJobs, (up) => {
    live = up;
    tray.update(app.jobs, live);
  });
  titleOf();
}

begin();
