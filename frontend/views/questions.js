/** Questions about the front on show: asked when the limits, the budget or A change; answers of older questions are dropped. */

import * as api from "../api.js";
import { bytesOn } from "../front.js";
import { parse } from "../limits.js";

/**
 * @param {any} app store, catalog, toasts
 * @param {() => void} changed something arrived
 */
export function createQuestions({ store, catalog, toasts }, changed) {
  let key = "";
  let answered = null;
  let problem = null;
  let prices = null;
  let asking = false;
  let noiseWanted = false;
  let noise = null;
  let noiseKey = "";

  /** Asks again if what the question depends on is not what it was. */
  async function ask(view) {
    const asked = parse(store.state.ask);
    const budget = view.budget ?? (view.a ? bytesOn(view.a, view.axis) : null);
    const now = asked && view.a ? JSON.stringify([view.frontier.id, asked, budget, view.a.id]) : "";
    if (now === key) return;
    key = now;
    [problem, prices, asking] = [null, null, now !== ""];
    if (!now) {
      answered = null;
      return;
    }
    const question = { limits: asked, budget_bytes: budget, point: view.a.id };
    try {
      const found = await api.whatIf(view.frontier.id, question);
      if (key !== now) return;
      [answered, asking] = [found, false];
      changed();
      const costs = Object.keys(asked.pins ?? {}).length ? await api.pinPrices(view.frontier.id, question) : null;
      if (key !== now || !costs) return;
      prices = costs;
    } catch (error) {
      if (error.name !== "Problem") throw error;
      if (key !== now) return;
      [asking, answered, problem] = [false, null, error];
    }
    changed();
  }

  async function listen(view) {
    const now = noiseWanted && view.a ? `${view.frontier.id}/${view.a.id}` : "";
    if (now === noiseKey) return;
    noiseKey = now;
    noise = null;
    if (!now) return;
    try {
      const found = await catalog.robustness(view.frontier.id, view.a.id);
      if (noiseKey !== now) return;
      noise = found;
    } catch (error) {
      if (error.name !== "Problem") throw error;
      if (noiseKey !== now) return;
      [noiseWanted, noiseKey] = [false, ""];
      toasts.fail(error);
    }
    changed();
  }

  return {
    /** What a view says about the question; `families` are those it may forbid. */
    now(points, baselines) {
      const asked = parse(store.state.ask);
      const names = new Set(asked?.forbid);
      for (const point of [...points, ...baselines.map((one) => one.point)]) for (const family of Object.keys(point.families)) names.add(family);
      return { asked, answered: asked ? answered : null, problem, prices, asking, families: [...names].sort(), noise, noiseWanted };
    },
    /** @param {any} view what is shown now */
    follow(view) {
      ask(view);
      listen(view);
    },
    toggleNoise() {
      noiseWanted = !noiseWanted;
      changed();
    },
  };
}
