/** Bringing a network in: drop a file or choose one; see it sent; see every reason if it is refused. */

import * as fmt from "../format.js";
import { upload } from "../api.js";
import { h, replace } from "../dom.js";

/** @param {any} problem @param {string} [name] of the file @returns {HTMLElement} a refusal with all it found */
export function refusal(problem, name = "") {
  return h("div", { class: "refusal", role: "alert" },
    h("h3", {}, name ? `${name} was not imported` : problem.title),
    h("p", {}, problem.message),
    problem.items?.length > 0 && h("ul", {}, problem.items.map((item) => h("li", {}, h("code", {}, item.pointer), h("span", {}, item.detail)))),
    problem.hint && h("p", { class: "hint-line" }, h("b", {}, "What to do: "), problem.hint),
    problem.requestId && h("p", { class: "faint" }, `Request ${problem.requestId}`));
}

/** @param {{limitBytes: number|null, onModel: (model: any) => void}} options */
export function createDropZone({ limitBytes, onModel }) {
  const file = h("input", { type: "file", accept: ".onnx", id: "file", class: "visually-hidden" });
  const dims = h("input", { type: "text", id: "dims", placeholder: "N=1", autocomplete: "off", spellcheck: "false" });
  const status = h("div", { class: "upload-status", "aria-live": "polite" });
  const zone = h("div", { class: "drop" },
    h("label", { for: "file", class: "button primary" }, "Choose an ONNX file"), file,
    h("p", {}, "or drop it here", limitBytes ? h("span", { class: "faint" }, ` · up to ${fmt.bytes(limitBytes)}`) : ""),
    h("details", {}, h("summary", {}, "Symbolic dimensions"), h("p", {}, h("label", { for: "dims" }, "Values for named dimensions, such as a batch size: "), dims)));
  const element = h("section", { class: "card", "aria-label": "Import a network" }, zone, status);
  let cancel = null;

  file.addEventListener("change", () => {
    if (file.files[0]) send(file.files[0]);
    file.value = "";
  });
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (event) => {
    event.preventDefault();
    zone.classList.add("target");
  });
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("target"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
  });

  async function send(chosen) {
    cancel?.abort();
    const own = (cancel = new AbortController());
    const bar = h("progress", { max: 1, value: 0, "aria-label": `Sending ${chosen.name}` });
    const words = h("span", {}, `Sending ${chosen.name}`);
    replace(status, h("div", { class: "sending" }, words, bar, h("button", { type: "button", class: "small", onclick: () => own.abort() }, "Cancel")));
    const onProgress = (share) => {
      bar.value = share;
      if (share < 1) words.textContent = `Sending ${chosen.name}: ${fmt.percent(share, 0)}`;
      else {
        words.textContent = `Reading ${chosen.name}: shapes, operators, constants`;
        bar.removeAttribute("value");
      }
    };
    try {
      const model = await upload(chosen, { dims: dims.value.trim(), onProgress, signal: own.signal });
      replace(status, h("p", { class: "accepted" }, h("span", { "aria-hidden": "true" }, "✓\u00a0"), `${model.name} is imported: ${fmt.count(model.nodes, "node")}, ${fmt.bytes(model.weights_bytes)} of weights.`));
      onModel(model);
    } catch (problem) {
      if (problem.name !== "Problem") throw problem;
      replace(status, refusal(problem, chosen.name));
    }
  }

  return { element, close: () => cancel?.abort() };
}
