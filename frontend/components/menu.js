/** A button that opens a list of actions. */

import { h, replace } from "../dom.js";

const EDGE_PX = 6;

/**
 * @param {string} label
 * @param {() => Array<[string, string, () => void]>} items name, explanation, action; asked for on every opening
 * @returns {HTMLElement}
 */
export function createMenu(label, items) {
  const list = h("div", { class: "menu-list", role: "menu", hidden: true });
  const button = h("button", { type: "button", "aria-haspopup": "menu", "aria-expanded": "false" }, label, h("span", { class: "caret", "aria-hidden": "true" }, " ▾"));
  const element = h("div", { class: "menu" }, button, list);
  const show = (open) => {
    list.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    list.style.transform = "";
    if (!open) return;
    // Wherever the button stands, the whole list is on the screen.
    const { left, right } = list.getBoundingClientRect();
    const shift = left < EDGE_PX ? EDGE_PX - left : Math.min(0, document.documentElement.clientWidth - EDGE_PX - right);
    if (shift) list.style.transform = `translateX(${shift}px)`;
  };
  button.addEventListener("click", () => {
    if (!list.hidden) return show(false);
    replace(list, items().map(([name, text, action]) => h("button", { type: "button", role: "menuitem", onclick: () => { show(false); button.focus(); action(); } }, h("span", {}, name), h("small", {}, text))));
    show(true);
    list.firstElementChild?.focus();
  });
  element.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const all = [...list.children];
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: all[(at + 1) % all.length], ArrowUp: all[(at - 1 + all.length) % all.length], Home: all[0], End: all.at(-1) }[event.key];
    if (!to && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    if (to) to.focus();
    else {
      show(false);
      button.focus();
    }
  });
  element.addEventListener("focusout", (event) => element.contains(event.relatedTarget) || show(false));
  return element;
}
