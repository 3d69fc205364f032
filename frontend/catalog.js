/** What has been fetched: models, devices, fronts, points, bundles. Points and bundles never change, so they are kept. */

import * as api from "./api.js";
import { unlimited } from "./limits.js";

const KEPT = 200;

/** @param {Map<string, Promise<any>>} kept @param {string} key @param {() => Promise<any>} fetch */
function once(kept, key, fetch) {
  if (!kept.has(key)) {
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    kept.set(key, fetch().catch((error) => {
      kept.delete(key);
      throw error;
    }));
  }
  return kept.get(key);
}

const TELLING_POINTS = 3;

/** @param {any[]} fronts @param {string} axis @returns {any|undefined} the newest front without limits */
const newestOn = (fronts, axis) => fronts.filter((f) => f.memory === axis && unlimited(f.limits)).sort((p, q) => String(q.created_at).localeCompare(String(p.created_at)))[0];

/** The axis a newcomer should see: arena, unless another one has a trade-off to show and arena has none. */
function telling(fronts) {
  const points = (axis) => newestOn(fronts, axis)?.points ?? 0;
  if (points("arena") >= TELLING_POINTS) return "arena";
  return ["arena", "total", "workspace"].reduce((most, axis) => (points(axis) > points(most) ? axis : most));
}

export class Catalog {
  constructor() {
    /** @type {any[]} */
    this.models = [];
    /** @type {any[]} */
    this.devices = [];
    /** @type {Map<string, any>} every front the server told of, for what refers to one */
    this.fronts = new Map();
    /** @type {Map<string, Promise<any>>} */
    this.points = new Map();
    /** @type {Map<string, Promise<any>>} */
    this.bundles = new Map();
    /** @type {Map<string, Promise<any>>} */
    this.explanations = new Map();
    /** @type {Map<string, Promise<any>>} */
    this.noises = new Map();
    /** @type {Map<string, Promise<any[]>>} */
    this.planned = new Map();
  }

  /** Fetches the lists again. */
  async refresh() {
    [this.models, this.devices] = await Promise.all([api.models(), api.devices()]);
  }

  /** @param {string} [model] @param {string} [device] @returns {Promise<any[]>} fronts, newest first */
  async known(model, device) {
    const found = await api.frontiers(model, device);
    for (const front of found) this.fronts.set(front.id, front);
    return found;
  }

  /** @param {string} id @returns {string} the name of a model, its id if it is unknown */
  modelName = (id) => this.models.find((model) => model.id === id)?.name ?? id;

  /** @param {any} params of a job @returns {string} the network it works on, empty if that is not known */
  networkOf = ({ model, example, frontier }) => {
    const id = model ?? this.fronts.get(frontier)?.model;
    return id ? this.modelName(id) : example ?? "";
  };

  /** @param {string} frontier @param {string} id @returns {Promise<any>} the point with layers and buffers */
  point(frontier, id) {
    return once(this.points, `${frontier}/${id}`, () => api.point(frontier, id));
  }

  /** @param {string} frontier @param {string} id @returns {Promise<any>} why the point is no smaller */
  explanation(frontier, id) {
    return once(this.explanations, `${frontier}/${id}`, () => api.explanation(frontier, id));
  }

  /** @param {string} frontier @param {string} id @returns {Promise<any>} how the point stands up to noise */
  robustness(frontier, id) {
    return once(this.noises, `${frontier}/${id}`, () => api.robustness(frontier, id));
  }

  /** @param {string} model id @returns {Promise<any[]>} what other runtimes plan for the network */
  marks(model) {
    return once(this.planned, model, () => api.marks(model));
  }

  /** @param {string} id @returns {Promise<any>} */
  bundle(id) {
    return once(this.bundles, id, () => api.bundle(id));
  }

  /**
   * The model, device and front a state means: those it names, else the first that has a front.
   * @param {import("./state.js").State} state
   * @returns {Promise<{model: any, device: any, axis: string, frontier: any|null, known: any[]}>} model is null if there is none at all
   */
  async resolve(state) {
    await this.refresh();
    if (state.frontier) {
      const frontier = await api.frontier(state.frontier);
      return { model: this.models.find((m) => m.id === frontier.model) ?? null, device: this.#device(frontier.device), axis: frontier.memory, frontier, known: await this.known(frontier.model, frontier.device) };
    }
    const device = this.#device(state.device);
    let model = this.models.find((m) => m.id === state.model || m.name === state.model) ?? null;
    if (state.model && !model) throw new api.Problem({ title: "Unknown model", status: 404, detail: `There is no model ${state.model}.`, hint: "It may have been deleted. Choose another one." });
    let known = [];
    if (model) known = await this.known(model.id, device.name);
    for (const candidate of model ? [] : this.models) {
      known = await this.known(candidate.id, device.name);
      model = candidate;
      if (known.length) break;
    }
    if (!state.model && !known.length) model = this.models[0] ?? null;
    const axis = state.memory === "auto" ? telling(known) : state.memory;
    const newest = newestOn(known, axis);
    return { model, device, axis, frontier: newest ? await api.frontier(newest.id) : null, known };
  }

  #device(name) {
    const device = name ? this.devices.find((d) => d.name === name) : this.devices[0];
    if (!device) throw new api.Problem({ title: "Unknown device", status: 404, detail: name ? `There is no device ${name}.` : "The server has no device to measure on.", hint: "See docs/devices.md." });
    return device;
  }
}
