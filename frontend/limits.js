/**
 * Limits of a front or of a question, as the API has them. Here they are always compact: what limits nothing is left out.
 *
 * @typedef {object} Limits
 * @property {string[]} [forbid] convolution families
 * @property {string[]} [only]
 * @property {Record<string, string>} [pins] layer to primitive
 * @property {Record<string, string[]>} [bans] layer to primitives
 * @property {number} [max_weights_bytes]
 * @property {number} [max_arena_bytes]
 * @property {number} [max_error]
 * @property {"p50"|"p90"} [objective]
 * @property {"given"|"profiles"|"joint"} [order] of the layers
 * @property {"shipped"|"start-up"} [residency] whether weights may be packed when the network starts
 */

const NAMES = ["forbid", "only", "pins", "bans", "max_weights_bytes", "max_arena_bytes", "max_error", "objective", "order", "residency"];

const plain = (value) => value === null || value === undefined || value === "p50" || value === "profiles" || value === "shipped" || (typeof value === "object" && Object.keys(value).length === 0);
const sorted = (value) => (Array.isArray(value) ? [...value].sort() : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).sort(([p], [q]) => (p < q ? -1 : 1)).map(([key, one]) => [key, sorted(one)])) : value);

/** @param {any} limits as the server gave them @returns {Limits} without what limits nothing */
export const compact = (limits) => Object.fromEntries(NAMES.filter((name) => !plain(limits?.[name])).map((name) => [name, sorted(limits[name])]));

/** @param {any} limits @returns {string} equal limits have equal text */
export const textOf = (limits) => JSON.stringify(compact(limits));

/** @param {any} limits @returns {boolean} */
export const unlimited = (limits) => textOf(limits) === "{}";

/** @param {string|null} text of the address @returns {Limits|null} null if it is none */
export function parse(text) {
  if (!text) return null;
  try {
    const found = JSON.parse(text);
    return found && typeof found === "object" && !Array.isArray(found) ? compact(found) : null;
  } catch {
    return null;
  }
}

const without = (object, key) => Object.fromEntries(Object.entries(object ?? {}).filter(([name]) => name !== key));

/** @param {Limits} limits @param {string} layer @param {string|null} primitive null: free @returns {Limits} */
export const pinned = (limits, layer, primitive) => compact({ ...limits, pins: { ...without(limits.pins, layer), ...(primitive && { [layer]: primitive }) } });

/** @param {Limits} limits @param {string} layer @param {string} primitive @param {boolean} on @returns {Limits} */
export function banned(limits, layer, primitive, on) {
  const others = (limits.bans?.[layer] ?? []).filter((name) => name !== primitive);
  const now = on ? [...others, primitive] : others;
  return compact({ ...limits, bans: { ...without(limits.bans, layer), ...(now.length && { [layer]: now }) } });
}

/** @param {Limits} limits @param {string} family @param {boolean} on @returns {Limits} */
export const forbidden = (limits, family, on) => compact({ ...limits, forbid: [...(limits.forbid ?? []).filter((name) => name !== family), ...(on ? [family] : [])] });

/**
 * Each limit in words, with what is left when it is lifted.
 * @param {Limits} limits @param {(bytes: number) => string} bytes
 * @returns {{key: string, words: string, rest: Limits}[]} `key` of a pin is "pin" and the layer
 */
export function chips(limits, bytes) {
  const drop = (name) => compact({ ...limits, [name]: undefined });
  return [
    ...Object.entries(limits.pins ?? {}).map(([layer, primitive]) => ({ key: `pin ${layer}`, words: `${layer} = ${primitive}`, rest: pinned(limits, layer, null) })),
    ...Object.entries(limits.bans ?? {}).flatMap(([layer, all]) => all.map((primitive) => ({ key: `ban ${layer} ${primitive}`, words: `${layer} ≠ ${primitive}`, rest: banned(limits, layer, primitive, false) }))),
    ...(limits.forbid ?? []).map((family) => ({ key: `forbid ${family}`, words: `no ${family}`, rest: forbidden(limits, family, false) })),
    ...(limits.only ? [{ key: "only", words: `only ${limits.only.join(", ")}`, rest: drop("only") }] : []),
    ...(limits.max_weights_bytes === undefined ? [] : [{ key: "weights", words: `weights ≤ ${bytes(limits.max_weights_bytes)}`, rest: drop("max_weights_bytes") }]),
    ...(limits.max_arena_bytes === undefined ? [] : [{ key: "arena", words: `arena ≤ ${bytes(limits.max_arena_bytes)}`, rest: drop("max_arena_bytes") }]),
    ...(limits.max_error === undefined ? [] : [{ key: "error", words: `error ≤ ${limits.max_error.toExponential(0).replace("-", "−")}`, rest: drop("max_error") }]),
    ...(limits.objective === "p90" ? [{ key: "objective", words: "times are p90", rest: drop("objective") }] : []),
    ...(limits.order ? [{ key: "order", words: limits.order === "given" ? "order of the file" : "every order", rest: drop("order") }] : []),
    ...(limits.residency ? [{ key: "residency", words: "weights may be packed at the start", rest: drop("residency") }] : []),
  ];
}

/** @param {Limits} limits @param {(text: string) => string} quoted for a shell @returns {string} options of the command line, with a space before */
export function options(limits, quoted) {
  const words = [
    ...(limits.forbid ?? []).map((family) => `--forbid ${family}`), ...(limits.only ?? []).map((family) => `--only ${family}`),
    ...Object.entries(limits.pins ?? {}).map(([layer, name]) => `--pin ${quoted(`${layer}=${name}`)}`),
    ...Object.entries(limits.bans ?? {}).flatMap(([layer, all]) => all.map((name) => `--ban ${quoted(`${layer}=${name}`)}`)),
    limits.max_weights_bytes !== undefined && `--max-weights ${limits.max_weights_bytes}`, limits.max_arena_bytes !== undefined && `--arena ${limits.max_arena_bytes}`,
    limits.max_error !== undefined && `--max-error ${limits.max_error}`, limits.objective && `--objective ${limits.objective}`, limits.order && `--order ${limits.order}`, limits.residency && `--residency ${limits.residency}`,
  ].filter(Boolean);
  return words.map((word) => ` ${word}`).join("");
}
