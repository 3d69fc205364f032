/**
 * Numbers as text and text as numbers. Exact integers belong into titles and copies, rounded ones into the view.
 * Binary units: `96k` and `96 KiB` are 98304 bytes; `96 kB` is 96000.
 */

const KIB = 1024;
const BYTE_UNITS = { "": 1, b: 1, k: KIB, kib: KIB, m: KIB ** 2, mib: KIB ** 2, g: KIB ** 3, gib: KIB ** 3, kb: 1e3, mb: 1e6, gb: 1e9 };
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const MINUS = "\u2212";

/** @param {number} n @returns {string} all digits, grouped: 98,304 */
export const integer = (n) => whole.format(n === 0 ? 0 : n).replace("-", MINUS);

/** @param {number} x @param {number} digits significant digits @returns {string} without an exponent */
export function significant(x, digits = 3) {
  if (x === 0) return "0";
  const before = Math.floor(Math.log10(Math.abs(x))) + 1;
  return x.toLocaleString("en-US", { minimumFractionDigits: 0, maximumFractionDigits: Math.max(0, digits - before) }).replace("-", MINUS);
}

/**
 * @param {number} n bytes
 * @param {"b"|"kib"} [units] exact bytes, or the largest binary unit that fits
 * @returns {string}
 */
export function bytes(n, units = "kib") {
  const size = Math.abs(n);
  if (units === "b" || size < KIB) return `${integer(n)} B`;
  const [divisor, name] = size < KIB ** 2 ? [KIB, "KiB"] : size < KIB ** 3 ? [KIB ** 2, "MiB"] : [KIB ** 3, "GiB"];
  return `${significant(n / divisor, 4)} ${name}`;
}

/** @param {number} n bytes @param {"b"|"kib"} units @returns {string} with a fixed number of decimals, for columns that line up */
export function columnBytes(n, units) {
  if (units === "b") return `${integer(n)} B`;
  const [divisor, name, digits] = Math.abs(n) < 10 * KIB ** 2 ? [KIB, "KiB", 1] : [KIB ** 2, "MiB", 2];
  return `${(n / divisor).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", MINUS)} ${name}`;
}

/** @param {number} n bytes @returns {string} for a title: 98,304 B (96 KiB) */
export const exactBytes = (n) => (Math.abs(n) < KIB ? bytes(n) : `${integer(n)} B (${bytes(n)})`);

/**
 * Bytes from what a person types.
 * @param {string} text `98304`, `96k`, `0.1MiB`, `96 kB`, `98,304`
 * @returns {number|null} whole bytes, rounded down; null if the text is no size
 */
export function parseBytes(text) {
  const match = /^\s*([0-9][0-9,_]*(?:\.[0-9]+)?|\.[0-9]+)\s*([a-zA-Z]*)\s*$/.exec(text);
  const unit = match && BYTE_UNITS[match[2].toLowerCase()];
  if (!unit) return null;
  const value = Math.floor(Number(match[1].replace(/[,_]/g, "")) * unit + 1e-6);
  return Number.isSafeInteger(value) ? value : null;
}

/** @param {number} n nanoseconds @param {number} [digits] @returns {string} in the unit that reads best */
export function time(n, digits = 4) {
  const size = Math.abs(n);
  if (size < 1e3) return `${integer(Math.round(n))} ns`;
  if (size < 1e6) return `${significant(n / 1e3, digits)} µs`;
  if (size < 1e9) return `${significant(n / 1e6, digits)} ms`;
  return `${significant(n / 1e9, digits)} s`;
}

/** @param {number} n nanoseconds @returns {string} milliseconds with three decimals, for columns that line up */
export const milliseconds = (n) => (n / 1e6).toFixed(3).replace(/\B(?=(\d{3})+(?!\d))/g, (_, __, at, all) => (at < all.indexOf(".") ? "," : "")).replace("-", MINUS);

/** @param {{latency_ns: number}[]} points @returns {"ms"|"µs"} the unit in which three decimals tell the points of a front apart */
export const timeUnit = (points) => (Math.min(...points.map((p) => p.latency_ns)) < 1e6 ? "µs" : "ms");

/** @param {number} n nanoseconds @param {"ms"|"µs"} unit @returns {string} with three decimals, for columns that line up */
export const columnTime = (n, unit) => milliseconds(unit === "µs" ? n * 1e3 : n);

/** @param {number} n nanoseconds @returns {string} for a title: 12,420,113 ns */
export const exactTime = (n) => `${integer(n)} ns`;

/** @param {number} ratio @param {number} [digits] @returns {string} 0.0123 -> 1.2 %; what is not nothing is not shown as nothing */
export function percent(ratio, digits = 1) {
  const size = Math.abs(ratio * 100);
  const vanishes = digits > 0 && size > 0 && size < 0.5 * 10 ** -digits;
  if (vanishes && size < 0.005) return "< 0.01 %";
  return `${(ratio * 100).toFixed(vanishes ? Math.max(2, digits) : digits).replace("-", MINUS)} %`;
}

/** @param {string} text already formatted @param {number} value @returns {string} with its sign, also when positive */
export const signed = (text, value) => (value > 0 ? `+${text}` : text);

/** @param {number} n @param {string} one @param {string} [many] @returns {string} 1 layer, 2 layers */
export const count = (n, one, many = `${one}s`) => `${integer(n)} ${n === 1 ? one : many}`;

/** @param {number|null} s seconds @returns {string} 1 m 10 s; empty if unknown */
export function eta(s) {
  if (s === null || s === undefined || !Number.isFinite(s)) return "";
  const left = Math.max(1, Math.round(s));
  if (left < 60) return `${left} s`;
  if (left < 3600) return `${Math.floor(left / 60)} m ${left % 60} s`;
  return `${Math.floor(left / 3600)} h ${Math.floor((left % 3600) / 60)} m`;
}

/** @param {string} iso @returns {string} in the reader's time zone */
export function when(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/**
 * Rows as CSV (RFC 4180), numbers unrounded.
 * @param {string[]} columns @param {Array<Record<string, unknown>>} rows @returns {string}
 */
export function csv(columns, rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows.map((row) => columns.map((name) => row[name]))].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}
