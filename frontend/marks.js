/**
 * Reference marks on the memory axis: arenas that other runtimes plan (from the server, for networks it recognises) and
 * sizes the reader cares about. The state of the page holds them as text: `peers, 384 KiB, 512 KiB STM32F7`.
 *
 * @typedef {object} Mark
 * @property {string} name
 * @property {number} bytes
 * @property {string} title   what it is and where it comes from
 * @property {boolean} own    the reader's own
 */

import * as fmt from "./format.js";

const PEERS = "peers";
const SIZE = /^([0-9._]+\s*[a-zA-Z]*)\s*(.*)$/;

/** @param {string} part @returns {{name: string, bytes: number}|null} `512k STM32F7`; null if it begins with no size */
function ownMark(part) {
  const match = SIZE.exec(part.trim());
  // Of `512 STM32F7` the unit is no unit: then the number stands alone.
  const bytes = match && fmt.parseBytes(match[1]);
  if (bytes) return { name: match[2].trim() || fmt.bytes(bytes), bytes };
  const alone = /^([0-9._]+)\s+(.+)$/.exec(part.trim());
  const plain = alone && fmt.parseBytes(alone[1]);
  return plain ? { name: alone[2], bytes: plain } : null;
}

/**
 * @param {string|null} text of the state
 * @returns {{peers: boolean, own: {name: string, bytes: number}[], wrong: string[]}} wrong: what is no mark
 */
export function parseMarks(text) {
  const parts = (text ?? "").split(/[,;]/).map((part) => part.trim()).filter(Boolean);
  const own = parts.filter((part) => part !== PEERS).map((part) => [part, ownMark(part)]);
  return { peers: parts.includes(PEERS), own: own.map(([, mark]) => mark).filter(Boolean), wrong: own.filter(([, mark]) => !mark).map(([part]) => part) };
}

/** @param {{name: string, bytes: number}[]} own @returns {string} as it is typed */
export const ownText = (own) => own.map(({ name, bytes }) => (name === fmt.bytes(bytes) ? name : `${bytes % 1024 ? bytes : fmt.bytes(bytes)} ${name}`)).join(", ");

/** @param {boolean} peers @param {{name: string, bytes: number}[]} own @returns {string|null} for the state */
export const marksText = (peers, own) => [peers && PEERS, ownText(own)].filter(Boolean).join(", ") || null;

/**
 * What is drawn, smallest first. Plans of other runtimes are arenas, so they belong on that axis only.
 * @param {string|null} text @param {any[]} planned marks of the server @param {string} axis @returns {Mark[]}
 */
export function shownMarks(text, planned, axis) {
  const { peers, own } = parseMarks(text);
  const theirs = peers && axis === "arena" ? planned : [];
  return [
    ...theirs.map((mark) => ({ name: mark.runtime, bytes: mark.arena_bytes, title: `${mark.runtime} ${mark.version}, ${mark.network}: ${mark.counts}; measured on ${mark.measured_on}`, own: false })),
    ...own.map((mark) => ({ ...mark, title: "your own mark", own: true })),
  ].sort((p, q) => p.bytes - q.bytes);
}
