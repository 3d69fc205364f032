/** The keys, on `?`. */

import { h, replace } from "../dom.js";

const KEYS = [
  ["Front", [["j  →", "next point (more memory)"], ["k  ←", "previous point (less memory)"], ["a  /  b", "the focused row becomes A / B"], ["Click", "point A"], ["Shift+click", "point B"], ["Esc", "clear A and B"], ["l", "linear and logarithmic axes"], ["u", "bytes or KiB"], ["Double-click", "reset the zoom"]]],
  ["Go to", [["m", "type a budget"], ["/", "filter layers"], ["1 – 4", "layers, memory, diff, why"], ["d", "diff of A and B"], ["w", "what if"], ["p", "what the marked layer could run"]]],
  ["Do", [["e", "make the bundle of A"], ["c", "copy the link"], ["t", "light, dark, automatic"], ["?", "this help"]]],
];

/** @returns {{open: () => void}} */
export function createKeyHelp() {
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { class: "help", "aria-labelledby": "help-title" }));
  replace(dialog,
    h("header", {}, h("h2", { id: "help-title" }, "Keyboard"), h("form", { method: "dialog" }, h("button", { class: "ghost icon", "aria-label": "Close" }, "×"))),
    h("div", { class: "help-columns" }, KEYS.map(([title, keys]) => h("section", {}, h("h3", {}, title),
      h("dl", {}, keys.map(([key, text]) => [h("dt", {}, key.split("  ").map((one) => (one === "/" && key.length > 1 ? " / " : h("kbd", {}, one)))), h("dd", {}, text)]))))));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  return { open: () => dialog.open || dialog.showModal() };
}
