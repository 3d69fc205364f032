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

/** @param {Node} have @param {Node} want @returns {boolean} whether one can become the other without anybody noticing */
function alike(have, want) {
  if (have.nodeType !== 1 || want.nodeType !== 1 || have.nodeName !== want.nodeName || have.dataset?.job !== want.dataset?.job) return false;
  return !["BUTTON", "A"].includes(have.nodeName) || (have.textContent === want.textContent && have.getAttribute("href") === want.getAttribute("href"));
}

/** @param {Element} have becomes like `want`, child by child */
function reconcile(have, want) {
  const [old, next] = [[...have.childNodes], [...want.childNodes]];
  next.forEach((child, i) => {
    const now = old[i];
    if (!now) have.append(child);
    else if (now.nodeType === 3 && child.nodeType === 3) {
      if (now.data !== child.data) now.data = child.data;
    } else if (alike(now, child)) {
      for (const { name } of [...now.attributes]) if (!child.hasAttribute(name)) now.removeAttribute(name);
      for (const { name, value } of child.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
      reconcile(now, child);
    } else now.replaceWith(child);
  });
  for (const extra of old.slice(next.length)) extra.remove();
}

/**
 * Like `replace`, but keeps the elements that are still wanted, so that progress arriving many times a second takes
 * neither the focus nor a click that has just begun. Parts that belong to a job carry `data-job`.
 * @param {Element} element @param {...any} children
 */
export function patch(element, ...children) {
  const next = /** @type {Element} */ (element.cloneNode(false));
  append(next, children);
  reconcile(element, next);
}

/** @param {Record<string, any>|null} before @param {Record<string, any>} now @param {string[]} names @returns {boolean} whether any of them changed */
export const differs = (before, now, names) => !before || names.some((name) => before[name] !== now[name]);

/** @param {string} name of a layer @returns {any[]} that can wrap after its slashes, dots and underscores */
export const breakable = (name) => name.split(/(?<=[/._])/).flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));

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
