/**
 * Names of layers as people would say them. Exporters write every scope once more in front of the next one
 * (`/features/features.1/conv/conv.0/conv.0.0/Conv`), converters join the names of all that they fused with semicolons.
 */

/** @param {string} node @param {string} op @returns {string} without what is said twice; not always the only one of its network */
function said(node, op) {
  const parts = node.split(";")[0].split("/").filter(Boolean);
  const kept = parts.filter((part, i) => !parts[i + 1]?.startsWith(`${part}.`));
  // The operator stands beside the name wherever it is shown: `fire2_concat_Concat` is `fire2_concat`.
  const plain = (text) => text.toLowerCase().replaceAll("_", "");
  const last = kept.at(-1) ?? "";
  if (kept.length > 1 && plain(last) === plain(op)) kept.pop();
  else if (last.includes("_") && plain(last.slice(last.lastIndexOf("_"))) === plain(op)) kept[kept.length - 1] = last.slice(0, last.lastIndexOf("_"));
  return kept.join("/");
}

/** @param {string[]} names @returns {number} leading parts that all of them have in common, at least one part left */
function shared(names) {
  const split = names.map((name) => name.split("/"));
  let n = 0;
  while (split.every((parts) => parts.length > n + 1 && parts[n] === split[0][n])) n += 1;
  return n;
}

/**
 * @param {{node: string, op: string}[]} layers of a network
 * @returns {Map<string, string>} short name per layer, all different; those that stay as they are left out
 */
export function shortNames(layers) {
  const all = layers.map(({ node, op }) => said(node, op));
  const drop = layers.length > 1 ? shared(all) : 0;
  const short = all.map((name) => name.split("/").slice(drop).join("/"));
  const times = new Map();
  for (const name of [...short, ...layers.map(({ node }) => node)]) times.set(name, (times.get(name) ?? 0) + 1);
  return new Map(layers.map(({ node }, i) => [node, short[i]]).filter(([node, name]) => name !== node && name && times.get(name) === 1));
}

/** @param {string} text @returns {string} for a regular expression */
const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/**
 * @param {Map<string, string>} names of shortNames
 * @returns {(text: string) => string} a name, or a sentence with names in it, made short
 */
export function shortener(names) {
  if (!names.size) return (text) => text;
  const longestFirst = [...names.keys()].sort((p, q) => q.length - p.length);
  const any = new RegExp(`(?<![\\w/.])(${longestFirst.map(literal).join("|")})(?![\\w/;])`, "g");
  return (text) => names.get(text) ?? text.replace(any, (name) => names.get(name));
}
