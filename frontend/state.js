/**
 * The address of the page is its state: what is shown can be copied, opened elsewhere and undone with Back.
 *
 * @typedef {"auto"|"arena"|"total"|"workspace"|"weights"} Axis auto: arena, or the axis with most points if that front has no trade-off
 * @typedef {object} State
 * @property {"workbench"|"models"|"jobs"} view
 * @property {string|null} model       id of the model
 * @property {string|null} device      name of the device
 * @property {Axis} memory             memory axis of the front
 * @property {string|null} frontier    id of a given front; null means the newest of (model, device, memory)
 * @property {string|null} a           id of point A
 * @property {string|null} b           id of point B; "what-if": the answer to the question
 * @property {string|null} ask         limits of the question as JSON; null when none is asked
 * @property {number|null} budget      bytes on the memory axis
 * @property {string|null} marks       reference marks as text (marks.js)
 * @property {"b"|"kib"} units
 * @property {"auto"|"linear"|"x"|"y"|"xy"} scale   logarithmic axes; auto: those on which the front spans a factor of three
 * @property {"auto"|"light"|"dark"} theme
 * @property {"layers"|"memory"|"diff"|"why"} tab
 * @property {string|null} layer       node highlighted in the table and the memory picture
 */

const PATHS = { workbench: "/w", models: "/models", jobs: "/jobs" };
const CHOICES = {
  memory: ["auto", "arena", "total", "workspace", "weights"],
  units: ["kib", "b"],
  scale: ["auto", "linear", "x", "y", "xy"],
  theme: ["auto", "light", "dark"],
  tab: ["layers", "memory", "diff", "why"],
};
const TEXTS = ["model", "device", "frontier", "a", "b", "ask", "layer", "marks"];

/** @param {string} href absolute address @returns {State} unknown values become defaults */
export function parse(href) {
  const url = new URL(href);
  const query = url.searchParams;
  const view = Object.keys(PATHS).find((name) => PATHS[name] === url.pathname) ?? "workbench";
  const budget = Number(query.get("budget"));
  const state = { view, budget: Number.isSafeInteger(budget) && budget > 0 ? budget : null };
  for (const name of TEXTS) state[name] = query.get(name) || null;
  for (const [name, values] of Object.entries(CHOICES)) state[name] = values.includes(query.get(name)) ? query.get(name) : values[0];
  return /** @type {State} */ (state);
}

/** @param {State} state @returns {string} path and query, defaults left out */
export function serialise(state) {
  const query = new URLSearchParams();
  for (const name of ["model", "device", "memory", "frontier", "a", "b", "ask", "budget", "marks", "units", "scale", "theme", "tab", "layer"]) {
    const value = state[name];
    if (value !== null && value !== "" && value !== CHOICES[name]?.[0]) query.set(name, String(value));
  }
  const text = query.toString();
  return PATHS[state.view] + (text && `?${text}`);
}

/** The state of this page and who wants to know when it changes. */
export class Store {
  /** @param {Window} win */
  constructor(win) {
    this.win = win;
    /** @type {State} */
    this.state = parse(win.location.href);
    /** Whether the address is behind the state. */
    this.behind = false;
    /** @type {Set<(state: State, before: State) => void>} */
    this.listeners = new Set();
    win.addEventListener("popstate", () => this.#become(parse(win.location.href)));
  }

  /**
   * @param {Partial<State>} changes
   * @param {{replace?: boolean, passing?: boolean}} [how] replace: no new entry in the history (defaults); passing: the
   *   address stays behind until the next change that is not passing (dragging: browsers refuse hundreds of addresses)
   */
  set(changes, { replace = false, passing = false } = {}) {
    const next = { ...this.state, ...changes };
    const address = serialise(next);
    const same = address === serialise(this.state);
    if (same && (passing || !this.behind)) return;
    if (!passing) this.win.history[replace ? "replaceState" : "pushState"](null, "", address);
    const ended = this.behind && !passing;
    this.behind = passing;
    if (!same || ended) this.#become(next);
  }

  /** @param {(state: State, before: State) => void} listener @returns {() => void} stops it */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  #become(next) {
    const before = this.state;
    this.state = next;
    for (const listener of [...this.listeners]) listener(next, before);
  }
}
