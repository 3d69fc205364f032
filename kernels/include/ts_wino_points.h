/* SPDX-License-Identifier: MIT-0
 *
 * The one-dimensional Winograd transforms of F(m, r): TS_WM = m outputs, TS_WR = r taps, TS_WA = m + r - 1 products.
 *
 *   y = A^T [ (G w) . (B^T d) ]       d: TS_WA inputs, y: TS_WM outputs
 *
 * Interpolation at infinity, at pairs of opposite points and, where TS_WA is even, at 0: sums of even and of odd terms
 * then serve two points each. Order of the products: 0 (if any), +p, -p of each pair, infinity. Everything works on
 * registers: arrays are indexed with literals only.
 *
 * Lavin & Gray 2016; points and their rounding errors: docs/decisions/010-winograd-points.md.
 */
#ifndef TS_WINO_POINTS_H
#define TS_WINO_POINTS_H

#include "ts_vec.h"

#define TS_WA (TS_WM + TS_WR - 1)
#define TS_WZ (TS_WA % 2 == 0)          /* 1: 0 is a point */
#define TS_WPAIRS ((TS_WA - 1) / 2)     /* pairs of opposite points */
#define TS_PAIR_AT(k) (TS_WZ + 2 * (k)) /* product of the pair's positive point; the negative one is next */

#if TS_WA == 4
#define TS_P0 1.0f
#define TS_P1 0.0f
#define TS_P2 0.0f
#elif TS_WA == 5
#define TS_P0 0.5f
#define TS_P1 1.25f
#define TS_P2 0.0f
#elif TS_WA == 6
#define TS_P0 0.75f
#define TS_P1 1.5f
#define TS_P2 0.0f
#elif TS_WA == 7
#define TS_P0 0.25f
#define TS_P1 1.0f
#define TS_P2 1.5f
#elif TS_WA == 8
#define TS_P0 0.5f
#define TS_P1 1.0f
#define TS_P2 1.75f
#else
#error "no interpolation points for this tile"
#endif

/* OP(0) ... OP(TS_WA - 1), and OP(0) ... OP(TS_WM - 1), as straight-line code. */
#define TS_EACH_2(OP) OP(0) OP(1)
#define TS_EACH_3(OP) TS_EACH_2(OP) OP(2)
#define TS_EACH_4(OP) TS_EACH_3(OP) OP(3)
#define TS_EACH_5(OP) TS_EACH_4(OP) OP(4)
#define TS_EACH_6(OP) TS_EACH_5(OP) OP(5)
#define TS_EACH_7(OP) TS_EACH_6(OP) OP(6)
#define TS_EACH_8(OP) TS_EACH_7(OP) OP(7)
#if TS_WA == 4
#define TS_EACH_INPUT TS_EACH_4
#elif TS_WA == 5
#define TS_EACH_INPUT TS_EACH_5
#elif TS_WA == 6
#define TS_EACH_INPUT TS_EACH_6
#elif TS_WA == 7
#define TS_EACH_INPUT TS_EACH_7
#else
#define TS_EACH_INPUT TS_EACH_8
#endif
#if TS_WM == 2
#define TS_EACH_OUTPUT TS_EACH_2
#elif TS_WM == 3
#define TS_EACH_OUTPUT TS_EACH_3
#elif TS_WM == 4
#define TS_EACH_OUTPUT TS_EACH_4
#elif TS_WM == 5
#define TS_EACH_OUTPUT TS_EACH_5
#else
#define TS_EACH_OUTPUT TS_EACH_6
#endif

#define TS_POINT_OF(k) ((k) == 0 ? TS_P0 : (k) == 1 ? TS_P1 : TS_P2)
#define TS_SQUARE_OF(k) (TS_POINT_OF(k) * TS_POINT_OF(k))

/* d[i], d[i + 2], ... times the coefficients of prod (t^2 - p^2) over all pairs. */
TS_INLINE ts_vec ts_wino_bt_all(const ts_vec *d, const int i)
{
#if TS_WPAIRS == 1
    return d[i + 2] - ts_splat(TS_SQUARE_OF(0)) * d[i];
#else
    const float p = TS_SQUARE_OF(0), q = TS_SQUARE_OF(1);
#if TS_WPAIRS == 2
    return ts_fma(ts_splat(p * q), d[i], d[i + 4] - ts_splat(p + q) * d[i + 2]);
#else
    const float r = TS_SQUARE_OF(2);
    return (d[i + 6] - ts_splat(p + q + r) * d[i + 4]) +
           (ts_splat(p * q + p * r + q * r) * d[i + 2] - ts_splat(p * q * r) * d[i]);
#endif
#endif
}

/* The same over all pairs but pair k. */
TS_INLINE ts_vec ts_wino_bt_others(const ts_vec *d, const int i, const int k)
{
    const float p = TS_SQUARE_OF(k == 0 ? 1 : 0), q = TS_SQUARE_OF(k == 2 ? 1 : 2);
#if TS_WPAIRS == 1
    (void)p, (void)q;
    return d[i];
#elif TS_WPAIRS == 2
    (void)q;
    return d[i + 2] - ts_splat(p) * d[i];
#else
    return ts_fma(ts_splat(p * q), d[i], d[i + 4] - ts_splat(p + q) * d[i + 2]);
#endif
}

/* Products at +p_k and -p_k. */
TS_INLINE void ts_wino_bt_pair(const int k, const ts_vec *d, ts_vec *plus, ts_vec *minus)
{
    const ts_vec odd = ts_wino_bt_others(d, TS_WZ + 1, k), even = ts_wino_bt_others(d, TS_WZ, k);
    *plus = odd + ts_splat(TS_POINT_OF(k)) * even;
    *minus = odd - ts_splat(TS_POINT_OF(k)) * even;
}

/* v = B^T d, stored `step` floats apart, infinity at `last`, unless that is NULL. */
TS_INLINE void ts_wino_bt(const ts_vec *d, float *v, ptrdiff_t step, float *last)
{
    ts_vec plus, minus;
    if (TS_WZ)
        ts_store(v, ts_wino_bt_all(d, 0));
#define TS_PAIR(k)                                                                                                     \
    if (TS_WPAIRS > k) {                                                                                               \
        ts_wino_bt_pair(k, d, &plus, &minus);                                                                          \
        ts_store(v + TS_PAIR_AT(k) * step, plus);                                                                      \
        ts_store(v + (TS_PAIR_AT(k) + 1) * step, minus);                                                               \
    }
    TS_EACH_3(TS_PAIR)
#undef TS_PAIR
    if (last)
        ts_store(last, ts_wino_bt_all(d, TS_WZ));
}

#define TS_POWER_OF(p, j)                                                                                              \
    ((j) == 0   ? 1.0f                                                                                                 \
     : (j) == 1 ? (p)                                                                                                  \
     : (j) == 2 ? (p) * (p)                                                                                            \
     : (j) == 3 ? (p) * (p) * (p)                                                                                      \
     : (j) == 4 ? (p) * (p) * (p) * (p)                                                                                \
                : (p) * (p) * (p) * (p) * (p))

/* y_j = sum over the points of point^j d, infinity adding to the last; plus *more, which rides in a multiplication,
 * unless that is NULL. */
TS_INLINE ts_vec ts_wino_at(const int j, const ts_vec *d, const ts_vec *more)
{
    const ts_vec first = j % 2 ? d[TS_WZ] - d[TS_WZ + 1] : d[TS_WZ] + d[TS_WZ + 1];
    ts_vec sum = ts_splat(TS_POWER_OF(TS_P0, j)) * first;
    if (more)
        sum = ts_fma(ts_splat(TS_POWER_OF(TS_P0, j)), first, *more);
#if TS_WPAIRS > 1
    const ts_vec second = j % 2 ? d[TS_WZ + 2] - d[TS_WZ + 3] : d[TS_WZ + 2] + d[TS_WZ + 3];
    sum = ts_fma(ts_splat(TS_POWER_OF(TS_P1, j)), second, sum);
#endif
#if TS_WPAIRS > 2
    const ts_vec third = j % 2 ? d[TS_WZ + 4] - d[TS_WZ + 5] : d[TS_WZ + 4] + d[TS_WZ + 5];
    sum = ts_fma(ts_splat(TS_POWER_OF(TS_P2, j)), third, sum);
#endif
    if (TS_WZ && j == 0)
        sum = sum + d[0];
    if (j == TS_WM - 1)
        sum = sum + d[TS_WA - 1];
    return sum;
}

#endif
