/** Building elements. Text always arrives as text nodes, so nothing a model is called can become markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {Element} element
 * @param {Record<string, any>} props `class`, `on<event>`, `style` as an object, `dataset`, else attributes
 * @param {any[]} children elements, text, arrays; null, false and undefined are skipped
 */
function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, String(text));
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** @param {Element} element @param {any} child */
function append(element, child) {
  if (Array.isArray(child)) child.forEach((one) => append(element, one));
  else if (child !== null && child !== undefined && child !== false) element.append(child);
}

/** @param {string} tag @param {Record<string, any>} [props] @param {...any} children @returns {HTMLElement} */
export const h = (tag, props, ...children) => /** @type {HTMLElement} */ (fill(document.createElement(tag), props, children));

/** @param {string} tag @param {Record<string, any>} [props] @param {...any} children @returns {SVGElement} */
export const s = (tag, props, ...children) => /** @type {SVGElement} */ (fill(document.createElementNS(SVG, tag), props, children));

/** @param {Element} element @param {...any} children */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** @param {string} name of a layer @returns {any[]} that can wrap after its slashes and dots */
export const breakable = (name) => name.split(/(?<=[/.])/).flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));

/** @param {string} text @param {string} name file @param {string} kind content type */
export function saveText(text, name, kind) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: kind })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** @param {string} text @returns {Promise<boolean>} whether the clipboard took it */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "visually-hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
