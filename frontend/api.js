/** The only module that talks to the server. Errors are `Problem`s with everything the server said (RFC 9457). */

const BASE = "/api/v1";

/** What went wrong, in the server's words: title, detail, hint, every item, numbers. */
export class Problem extends Error {
  /** @param {{type?: string, title?: string, status?: number, detail?: string, hint?: string, errors?: {pointer: string, detail: string}[], facts?: Record<string, any>, request_id?: string}} body */
  constructor(body) {
    super(body.detail || body.title || "The request failed.");
    this.name = "Problem";
    this.type = body.type ?? "";
    this.title = body.title ?? "Request failed";
    this.status = body.status ?? 0;
    this.hint = body.hint ?? "";
    this.items = body.errors ?? [];
    this.facts = body.facts ?? {};
    this.requestId = body.request_id ?? "";
  }
}

/** @param {number} status @param {string} kind content type @param {string} text @returns {Problem} */
function problemOf(status, kind, text) {
  if (kind.includes("json")) {
    try {
      return new Problem({ status, ...JSON.parse(text) });
    } catch {
      return new Problem({ status, title: "Unreadable answer", detail: `The server answered ${status} with broken JSON.` });
    }
  }
  if (status === 0) return new Problem({ title: "No answer", detail: "The server cannot be reached.", hint: "Is `tradespace serve` still running?" });
  return new Problem({ status, title: `Status ${status}`, detail: text.slice(0, 200) || `The server answered ${status}.` });
}

/**
 * @param {string} method
 * @param {string} path below /api/v1, or an absolute path the server gave
 * @param {object} [json] body
 * @returns {Promise<any>} the answer, null if it is empty
 */
async function request(method, path, json) {
  const init = { method, headers: { Accept: "application/json" } };
  if (json !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(json);
  }
  let response;
  try {
    response = await fetch(path.startsWith(BASE) ? path : BASE + path, init);
  } catch {
    throw problemOf(0, "", "");
  }
  const text = await response.text();
  if (!response.ok) throw problemOf(response.status, response.headers.get("Content-Type") ?? "", text);
  return text ? JSON.parse(text) : null;
}

/** @param {string} path @param {Record<string, string|number|null|undefined>} [query] @returns {string} */
function withQuery(path, query = {}) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== "") words.set(name, String(value));
  const text = words.toString();
  return path + (text && `?${text}`);
}

/** All items of a list, following its cursors. */
async function list(path, query) {
  const items = [];
  let cursor = null;
  do {
    const page = await request("GET", withQuery(path, { ...query, cursor }));
    items.push(...page.items);
    cursor = page.next_cursor ?? null;
  } while (cursor);
  return items;
}

const at = encodeURIComponent;

export const meta = () => request("GET", "/meta");
export const models = () => list("/models");
export const examples = () => list("/models/examples");
export const addExample = (name) => request("POST", `/models/examples/${at(name)}`);
export const deleteModel = (id) => request("DELETE", `/models/${at(id)}`);
export const marks = (model) => list(`/models/${at(model)}/marks`);
export const devices = () => list("/devices");
export const costs = (model, device) => request("GET", withQuery("/costs", { model, device, limit: 1 }));
export const frontiers = (model, device) => list("/frontiers", { model, device });
export const frontier = (id) => request("GET", `/frontiers/${at(id)}`);
export const point = (frontierId, id) => request("GET", `/frontiers/${at(frontierId)}/points/${at(id)}`);
export const bundle = (id) => request("GET", `/bundles/${at(id)}`);
export const bundleDownload = (id) => `${BASE}/bundles/${at(id)}/download`;
export const jobs = () => list("/jobs");
export const cancelJob = (id) => request("DELETE", `/jobs/${at(id)}`);
export const retryJob = (id) => request("POST", `/jobs/${at(id)}/retry`);
export const measure = (model, device) => request("POST", "/measurements", { model, device, families: null, only_missing: true });
export const trace = (model, device, memory, limits = {}) => request("POST", "/frontiers", { model, device, memory, limits });
export const whatIf = (frontierId, question) => request("POST", `/frontiers/${at(frontierId)}/what-if`, question);
export const pinPrices = (frontierId, question) => request("POST", `/frontiers/${at(frontierId)}/pin-prices`, question);
export const layerOptions = (frontierId, node) => request("GET", withQuery(`/frontiers/${at(frontierId)}/options`, { node }));
export const explanation = (frontierId, id) => request("GET", `/frontiers/${at(frontierId)}/points/${at(id)}/explanation`);
export const robustness = (frontierId, id) => request("GET", `/frontiers/${at(frontierId)}/points/${at(id)}/robustness`);
export const makeBundle = (frontierId, pointId, prefix = "net") => request("POST", "/bundles", { frontier: frontierId, point: pointId, prefix });

/**
 * Uploads a network. XMLHttpRequest, because fetch cannot tell how much has been sent.
 * @param {File} file
 * @param {{dims?: string, onProgress?: (ratio: number) => void, signal?: AbortSignal}} [options]
 * @returns {Promise<any>} the model
 */
export function upload(file, { dims = "", onProgress = () => {}, signal } = {}) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("file", file);
    form.append("name", file.name.replace(/\.onnx$/i, ""));
    if (dims) form.append("dims", dims);
    const xhr = new XMLHttpRequest();
    xhr.open("POST", `${BASE}/models`);
    xhr.setRequestHeader("Accept", "application/json");
    xhr.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    xhr.onload = () => {
      if (xhr.status >= 200 && xhr.status < 300) resolve(JSON.parse(xhr.responseText));
      else reject(problemOf(xhr.status, xhr.getResponseHeader("Content-Type") ?? "", xhr.responseText));
    };
    xhr.onerror = () => reject(problemOf(0, "", ""));
    xhr.onabort = () => reject(new Problem({ title: "Upload cancelled", detail: `${file.name} was not imported.` }));
    signal?.addEventListener("abort", () => xhr.abort());
    xhr.send(form);
  });
}

const POLL_MS = 2000;

/**
 * Every change of every job: by server-sent events, and by polling for as long as the stream is down.
 * @param {(job: any) => void} onJob
 * @param {(all: any[]) => void} onAll the complete list: at first and after each gap in the stream
 * @param {(live: boolean) => void} onLive whether the stream is up
 * @returns {() => void} stops it
 */
export function watchJobs(onJob, onAll, onLive) {
  let timer = 0;
  let stopped = false;
  const poll = async () => {
    clearTimeout(timer);
    try {
      onAll(await jobs());
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
    if (!stopped && source.readyState !== EventSource.OPEN) timer = setTimeout(poll, POLL_MS);
  };
  const source = new EventSource(`${BASE}/events`);
  source.addEventListener("job", (event) => onJob(JSON.parse(event.data)));
  source.onopen = () => {
    onLive(true);
    poll();
  };
  source.onerror = () => {
    onLive(false);
    clearTimeout(timer);
    timer = setTimeout(poll, POLL_MS);
  };
  poll();
  return () => {
    stopped = true;
    clearTimeout(timer);
    source.close();
  };
}
