/** Short messages that go by themselves; errors stay until dismissed. */

import { h } from "../dom.js";

const SHOWN_MS = 3500;

/** @param {HTMLElement} place @returns {{say: (text: string) => void, fail: (problem: any) => void}} */
export function createToasts(place) {
  const add = (kind, ...content) => {
    const toast = h("div", { class: `toast ${kind}` }, h("div", {}, ...content), h("button", { type: "button", class: "ghost icon", "aria-label": "Dismiss", onclick: () => toast.remove() }, "×"));
    place.append(toast);
    while (place.children.length > 4) place.firstElementChild.remove();
    return toast;
  };
  return {
    say(text) {
      const toast = add("note", text);
      setTimeout(() => toast.remove(), SHOWN_MS);
    },
    fail(problem) {
      add("bad", h("b", {}, problem.title ?? "Something went wrong"), h("p", {}, problem.message),
        problem.items?.length > 0 && h("ul", {}, problem.items.slice(0, 6).map((item) => h("li", {}, h("code", {}, item.pointer), ` ${item.detail}`))),
        problem.hint && h("p", { class: "faint" }, problem.hint));
    },
  };
}
