/** The budget as a vertical line over the plot: drag it, or focus its handle and use the arrow keys. */

import * as fmt from "../format.js";
import { bytesOn } from "../front.js";
import { h } from "../dom.js";

const TAP_PX = 4;

/**
 * @param {{onBudget: (bytes: number|null, final: boolean) => void, onTap: (x: number, y: number, shift: boolean) => void}} actions
 */
export function createBudgetLine({ onBudget, onTap }) {
  const label = h("span", { class: "budget-label" });
  const handle = h("div", { class: "budget-handle", role: "slider", tabindex: "0", "aria-label": "Budget", "aria-orientation": "horizontal", title: "Drag to set the budget; double-click removes it" }, h("span", { class: "grip", "aria-hidden": "true" }), label);
  const rule = h("div", { class: "budget-rule" });
  const element = h("div", { class: "budget-line" }, rule, handle);
  let place = null;
  let drag = null;
  let frame = 0;

  const toPx = (bytes) => {
    const [low, high] = place.range;
    const share = place.log ? Math.log(bytes / low) / Math.log(high / low) : (bytes - low) / (high - low);
    return place.left + Math.min(1, Math.max(0, share)) * place.width;
  };
  const toBytes = (px) => {
    const [low, high] = place.range;
    const share = Math.min(1, Math.max(0, (px - place.left) / place.width));
    return Math.max(1, Math.round(place.log ? low * (high / low) ** share : low + (high - low) * share));
  };

  function down(event) {
    if (event.button !== 0 || !place) return;
    event.preventDefault();
    handle.focus({ preventScroll: true });
    drag = { x: event.clientX, y: event.clientY, offset: event.clientX - toPx(place.view.budget ?? place.range[1]), moved: false };
    event.currentTarget.setPointerCapture(event.pointerId);
  }

  function move(event) {
    if (!drag) return;
    if (!drag.moved && Math.abs(event.clientX - drag.x) < TAP_PX) return;
    drag.moved = true;
    const bytes = toBytes(event.clientX - drag.offset);
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => onBudget(bytes, false));
  }

  function up(event) {
    if (!drag) return;
    const { moved, offset } = drag;
    drag = null;
    cancelAnimationFrame(frame);
    if (moved) onBudget(toBytes(event.clientX - offset), true);
    else onTap(event.clientX, event.clientY, event.shiftKey);
  }

  for (const part of [handle, rule]) {
    part.addEventListener("pointerdown", down);
    part.addEventListener("pointermove", move);
    part.addEventListener("pointerup", up);
    part.addEventListener("pointercancel", () => (drag = null));
    part.addEventListener("dblclick", () => onBudget(null, true));
  }

  handle.addEventListener("keydown", (event) => {
    const steps = place.view.points.map((p) => bytesOn(p, place.view.axis));
    const now = place.view.budget ?? Infinity;
    const to = {
      ArrowLeft: () => steps.findLast((x) => x < now), ArrowDown: () => steps.findLast((x) => x < now),
      ArrowRight: () => steps.find((x) => x > now), ArrowUp: () => steps.find((x) => x > now),
      Home: () => steps[0], End: () => steps.at(-1), Delete: () => null, Backspace: () => null,
    }[event.key];
    if (!to) return;
    event.preventDefault();
    event.stopPropagation();
    const bytes = to();
    if (bytes !== undefined) onBudget(bytes, true);
  });

  return {
    element,
    /** @param {{view: any, range: [number, number], log: boolean, left: number, width: number, top: number, height: number}} next pixels of the plot area, bytes of its range */
    update(next) {
      place = next;
      const { budget, units, points, axis } = next.view;
      const x = toPx(budget ?? next.range[1]);
      element.classList.toggle("unset", budget === null);
      element.style.transform = `translateX(${x}px)`;
      element.style.setProperty("--top", `${next.top}px`);
      element.style.setProperty("--height", `${next.height}px`);
      element.classList.toggle("flip", x > next.left + next.width - 90);
      label.textContent = budget === null ? "budget" : fmt.bytes(budget, units);
      handle.setAttribute("aria-valuemin", String(bytesOn(points[0], axis)));
      handle.setAttribute("aria-valuemax", String(bytesOn(points.at(-1), axis)));
      handle.setAttribute("aria-valuenow", String(budget ?? bytesOn(points.at(-1), axis)));
      handle.setAttribute("aria-valuetext", budget === null ? "no budget" : fmt.exactBytes(budget));
    },
    close: () => cancelAnimationFrame(frame),
  };
}
