/** What a layer could run instead: every option with its cost and workspace, to pin or to forbid. */

import * as fmt from "../format.js";
import { familyColour } from "../front.js";
import { h, replace } from "../dom.js";

/**
 * @param {{load: (node: string) => Promise<any>, asked: () => any, onPin: (node: string, primitive: string|null) => void, onBan: (node: string, primitive: string, on: boolean) => void, units: () => any, fail: (problem: any) => void}} given
 * @returns {{open: (layer: any) => void}}
 */
export function createLayerChoices({ load, asked, onPin, onBan, units, fail }) {
  const title = h("h2", { id: "choices-title" });
  const note = h("p", { class: "faint" });
  const body = h("tbody");
  const table = h("table", { class: "grid choices", "aria-labelledby": "choices-title" },
    h("thead", {}, h("tr", {}, ["primitive", "time", "against now", "workspace", "weights", "error", ""].map((name, i) => h("th", { scope: "col", class: i && i < 6 ? "num" : "" }, name || h("span", { class: "visually-hidden" }, "pin or forbid"))))), body);
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { class: "choices-dialog", "aria-labelledby": "choices-title" },
    h("header", {}, h("div", {}, title, note), h("form", { method: "dialog" }, h("button", { class: "ghost icon", "aria-label": "Close" }, "×"))),
    h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Options of the layer" }, table)));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);

  /** One row per primitive: in-place forms of the same routine are one choice here. */
  function rows(options) {
    const seen = new Map();
    for (const option of options) if (!seen.has(option.primitive)) seen.set(option.primitive, option);
    return [...seen.values()];
  }

  function line(layer, option) {
    const { node } = layer;
    const now = option.primitive === layer.primitive;
    const limits = asked() ?? {};
    const pin = limits.pins?.[node] === option.primitive;
    const ban = (limits.bans?.[node] ?? []).includes(option.primitive);
    const delta = option.time_ns - layer.time_ns;
    const act = (text, on, label, action) => h("button", { type: "button", class: "small toggle", "aria-pressed": String(on), "aria-label": `${label} ${option.primitive}`, onclick: () => { dialog.close(); action(); } }, text);
    return h("tr", { class: now ? "linked" : "", "aria-current": now ? "true" : null },
      h("td", { title: option.primitive }, h("div", { class: "primitive" }, h("i", { class: "swatch", style: { background: familyColour(option.family) } }), [option.family, option.variant].filter(Boolean).join(" "), now && h("span", { class: "badge quiet" }, "now")),
        h("div", { class: "sub" }, `${option.in_layouts.join(", ")} → ${option.out_layout}`)),
      h("td", { class: "num", title: fmt.exactTime(option.time_ns) }, fmt.time(option.time_ns, 3)),
      h("td", { class: `num ${delta < 0 ? "better" : delta > 0 ? "worse" : "faint"}`, title: fmt.exactTime(delta) }, delta ? fmt.signed(fmt.time(delta, 3), delta) : "–"),
      h("td", { class: "num", title: fmt.exactBytes(option.workspace_bytes) }, option.workspace_bytes ? fmt.columnBytes(option.workspace_bytes, units()) : "–"),
      h("td", { class: "num", title: fmt.exactBytes(option.weights_bytes) }, option.weights_bytes ? fmt.columnBytes(option.weights_bytes, units()) : "–"),
      h("td", { class: "num" }, option.max_rel_err ? option.max_rel_err.toExponential(0).replace("-", "−") : "exact"),
      h("td", { class: "row-actions" }, act(pin ? "Pinned" : "Pin", pin, pin ? "Lift the pin to" : "Pin", () => onPin(node, pin ? null : option.primitive)), act(ban ? "Forbidden" : "Forbid", ban, ban ? "Allow" : "Forbid", () => onBan(node, option.primitive, !ban))));
  }

  return {
    /** @param {any} layer a row of the layer table */
    async open(layer) {
      replace(title, `What ${layer.node} could run`);
      replace(note, h("span", { class: "busy", "aria-hidden": "true" }), " Reading costs");
      replace(body);
      if (!dialog.open) dialog.showModal();
      try {
        const found = await load(layer.node);
        if (!dialog.open) return;
        const all = rows(found.options);
        const refused = Object.keys(found.refused).length;
        replace(note, `${fmt.count(all.length, "primitive")} by time alone; layout changes around it are not included. ${refused ? `${fmt.integer(refused)} more cannot run this shape.` : ""}`);
        replace(body, all.map((option) => line(layer, option)));
        const first = body.querySelector("[aria-current] button") ?? body.querySelector("button");
        first?.focus({ preventScroll: true });
        first?.closest("tr").scrollIntoView({ block: "center" });
      } catch (problem) {
        dialog.close();
        fail(problem);
      }
    },
  };
}
