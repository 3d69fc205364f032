/** Which reference marks the plot shows: plans of other runtimes, sizes of one's own. */

import * as fmt from "../format.js";
import { h, replace } from "../dom.js";
import { marksText, ownText, parseMarks } from "../marks.js";

/** @param {{onMarks: (text: string|null) => void}} actions */
export function createMarksPanel({ onMarks }) {
  const box = h("input", { type: "checkbox", onchange: apply });
  const known = h("ul", { class: "marks-known" });
  const source = h("p", { class: "faint" });
  const input = h("input", { id: "own-marks", type: "text", autocomplete: "off", spellcheck: "false", placeholder: "384k, 512k STM32F7", onchange: apply, "aria-describedby": "own-marks-note" });
  const note = h("p", { class: "faint", id: "own-marks-note" });
  const peers = h("label", { class: "check" }, box, h("span", {}, "Arenas other runtimes plan for this network"));
  const panel = h("div", { class: "marks-panel", hidden: true }, peers, known, source, h("label", { for: "own-marks" }, "Sizes of your own"), input, note);
  const button = h("button", { type: "button", class: "small toggle", "aria-expanded": "false", title: "Lines to compare with: other runtimes, sizes of devices", onclick: () => open(panel.hidden) }, "marks");
  const element = h("div", { class: "marks" }, button, panel);
  let view = null;
  let drawn = "";

  function open(wanted) {
    panel.hidden = !wanted;
    button.setAttribute("aria-expanded", String(wanted));
    if (wanted) (box.disabled ? input : box).focus();
  }

  function apply() {
    const typed = parseMarks(input.value);
    input.setAttribute("aria-invalid", String(typed.wrong.length > 0));
    note.textContent = typed.wrong.length ? `Not a size: ${typed.wrong.join(", ")}. Write 384k, or 512k and a name.` : hint;
    if (!typed.wrong.length) onMarks(marksText(box.checked, typed.own));
  }
  const hint = "Sizes with commas between them; a name may follow each.";

  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    open(false);
    button.focus();
  });
  element.addEventListener("focusout", (event) => event.relatedTarget && !element.contains(event.relatedTarget) && open(false));
  document.addEventListener("pointerdown", (event) => panel.hidden || element.contains(/** @type {Node} */ (event.target)) || open(false));

  return {
    element,
    update(next) {
      view = next;
      button.setAttribute("aria-pressed", String(view.marks.length > 0));
      const key = JSON.stringify([view.marksText, view.planned, view.axis, view.a?.id, view.units]);
      if (key === drawn) return;
      drawn = key;
      const { peers: on, own } = parseMarks(view.marksText);
      const usable = view.planned.length > 0 && view.axis === "arena";
      box.checked = on && usable;
      box.disabled = !usable;
      const times = (bytes) => (view.a ? ` · ${(bytes / view.a.arena_bytes).toFixed(1)} × A` : "");
      replace(known, usable && view.planned.map((mark) => h("li", { title: `version ${mark.version}; ${mark.counts}` }, h("b", {}, mark.runtime), ` ${fmt.bytes(mark.arena_bytes, view.units)}`, h("span", { class: "faint" }, times(mark.arena_bytes)))));
      source.textContent = usable ? `${view.planned[0].network}, measured on ${view.planned[0].measured_on}.` : view.planned.length ? "They are arenas: choose the arena axis." : "No figures are known for this network.";
      if (document.activeElement !== input) input.value = ownText(own);
      note.textContent = hint;
    },
  };
}
