/** Places of axis ticks at numbers people recognise: powers of two for bytes, 1-2-5 for times. */

/** @param {number} min @param {number} max @param {number} count about how many @param {number[]} bases steps within a decade @param {number} radix */
function steps(min, max, count, bases, radix) {
  const rough = (max - min) / Math.max(1, count);
  const power = radix ** Math.floor(Math.log(rough) / Math.log(radix));
  const step = (bases.find((b) => b * power >= rough) ?? radix) * power;
  const places = [];
  for (let i = Math.ceil(min / step - 1e-9); i * step <= max * (1 + 1e-12); i += 1) places.push(i * step + 0);
  return places;
}

/** @returns {number[]} values in [min, max] whose mantissas are in `mantissas`, thinned to about `count` */
function logarithmic(min, max, count, mantissas, radix) {
  const places = [];
  for (let e = Math.floor(Math.log(min) / Math.log(radix)); radix ** e <= max; e += 1)
    for (const m of mantissas) if (m * radix ** e >= min && m * radix ** e <= max) places.push(m * radix ** e);
  const keep = Math.max(1, Math.ceil(places.length / count));
  return places.filter((_, i) => i % keep === 0);
}

/** @param {number} min bytes @param {number} max @param {number} count @param {boolean} log @returns {number[]} */
export function byteTicks(min, max, count, log) {
  const low = Math.max(0, min);
  if (!log || max / Math.max(1, min) < 4) return steps(low, max, count, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512], 1024);
  return logarithmic(Math.max(1, min), max, count, [1], 2);
}

/** @param {number} min milliseconds @param {number} max @param {number} count @param {boolean} log @returns {number[]} */
export function timeTicks(min, max, count, log) {
  if (!log || max / min < 4) return steps(Math.max(0, min), max, count, [1, 2, 2.5, 5], 10);
  return logarithmic(min, max, count, max / min > 100 ? [1] : [1, 1.5, 2, 3, 5, 7], 10);
}
