/* SPDX-License-Identifier: MIT-0
 *
 * Winograd convolution of stride 2, kernel K x K with K = 2 r - 1, m x m outputs per tile; instantiated by a file that
 * defines TS_WM (m), TS_WR (r), TS_NB and TS_MR.
 *
 * Even and odd rows (columns) of the input see every second tap each: y[o] = sum even x[2 o + 2 t] w[2 t] +
 * sum odd x[2 o + 1 + 2 t] w[2 t + 1], two convolutions of stride 1, with r and r - 1 taps. Both are done with the
 * points of F(m, r), so the four phases of a tile add up in one M. The shorter filter has no product at infinity:
 * the planes there sum over the longer one alone. For K = 3, m = 4: 81 products instead of 144.
 *
 *   plane (i, j) of V   [tile][phase][c], phases: (even, even); (even, odd) unless j is infinity;
 *                       (odd, even) unless i is infinity; (odd, odd) unless one of them is
 */
#ifndef TS_WINO_PHASE_H
#define TS_WINO_PHASE_H

#include "ts_wino_output.h"

#define TS_FINITE (TS_WA - 1)

TS_INLINE int32_t ts_wino_depth(const struct ts_wino *g, int32_t plane)
{
    const int32_t i = plane / TS_WA, j = plane % TS_WA;
    return g->channels * (1 + (i < TS_FINITE)) * (1 + (j < TS_FINITE));
}

TS_INLINE ptrdiff_t ts_wino_depths(const struct ts_wino *g)
{
    return (ptrdiff_t)(2 * TS_FINITE + 1) * (2 * TS_FINITE + 1) * g->channels;
}

/* One phase of one tile at one vector of channels. odd_i, odd_j: of odd rows, columns. Inputs at d[i * row +
 * j * column]; v[i < TS_FINITE][j < TS_FINITE] is where plane (i, j) holds them. */
TS_INLINE void ts_wino_one_phase(const int odd_i, const int odd_j, const struct ts_wino *g, int32_t slot, int32_t c,
                                 const float *d, ptrdiff_t row, ptrdiff_t column)
{
    const ptrdiff_t channels = g->channels;
    /* Planes of the finite rows lie `inner` apart, the last of them has half the channels; likewise in the last row. */
    const ptrdiff_t inner = ts_wino_v_plane(g, 4 * g->channels), edge = ts_wino_v_plane(g, 2 * g->channels);
    float *v = g->v + slot * 4 * channels + (2 * odd_i + odd_j) * channels + c;
    float *v_last = g->v + TS_FINITE * inner + slot * 2 * channels + odd_i * channels + c;
    ts_vec plus[TS_WA], minus[TS_WA], line[TS_WA];
#define TS_LAST(j)                                                                                                     \
    ts_wino_column(d + j * column, row, line);                                                                         \
    plus[j] = ts_wino_bt_all(line, TS_WZ);
#define TS_FIRST(j)                                                                                                    \
    ts_wino_column(d + j * column, row, line);                                                                         \
    plus[j] = ts_wino_bt_all(line, 0);
#define TS_PAIR(j, k)                                                                                                  \
    ts_wino_column(d + j * column, row, line);                                                                         \
    ts_wino_bt_pair(k, line, &plus[j], &minus[j]);
#define TS_PAIR_0(j) TS_PAIR(j, 0)
#define TS_PAIR_1(j) TS_PAIR(j, 1)
#define TS_PAIR_2(j) TS_PAIR(j, 2)
#define TS_ROW(e)                                                                                                      \
    ts_wino_bt(e, v, inner, odd_j ? NULL : v_last);                                                                    \
    v += TS_FINITE * inner + edge;                                                                                     \
    v_last += TS_FINITE * inner + edge;
#if TS_WZ
    TS_EACH_INPUT(TS_FIRST)
    TS_ROW(plus)
#endif
    TS_EACH_INPUT(TS_PAIR_0)
    TS_ROW(plus)
    TS_ROW(minus)
#if TS_WPAIRS > 1
    TS_EACH_INPUT(TS_PAIR_1)
    TS_ROW(plus)
    TS_ROW(minus)
#endif
#if TS_WPAIRS > 2
    TS_EACH_INPUT(TS_PAIR_2)
    TS_ROW(plus)
    TS_ROW(minus)
#endif
    if (odd_i)
        return;
    v = g->v + TS_FINITE * (TS_FINITE * inner + edge) + slot * 2 * channels + odd_j * channels + c;
    v_last = g->v + TS_FINITE * (TS_FINITE * inner + 2 * edge) + slot * channels + c;
    TS_EACH_INPUT(TS_LAST)
    ts_wino_bt(plus, v, edge, odd_j ? NULL : v_last);
#undef TS_FIRST
#undef TS_LAST
#undef TS_PAIR
#undef TS_PAIR_0
#undef TS_PAIR_1
#undef TS_PAIR_2
#undef TS_ROW
}

/* V of tile `tile` of the image, tile `slot` of the block. */
TS_ONCE void ts_wino_input(const struct ts_wino *g, int32_t tile, int32_t slot)
{
    const int32_t top = tile / g->tiles_x * TS_WM * 2 - g->s->pad_t, left = tile % g->tiles_x * TS_WM * 2 - g->s->pad_l;
    float patch[TS_PLANES * TS_VL];
    for (int32_t phase = 0; phase < 4; phase++) {
        const int32_t iy = top + phase / 2, ix = left + phase % 2;
        const int inside =
            iy >= 0 && ix >= 0 && iy + 2 * TS_WA - 1 <= g->s->h && ix + 2 * TS_WA - 1 <= g->s->w && g->x_lanes >= TS_VL;
        for (int32_t c = 0; c < g->channels; c += TS_VL) {
            const int32_t n = g->channels - c < TS_VL ? g->channels - c : TS_VL;
            const float *from = ts_wino_x(g, c), *d = patch;
            ptrdiff_t row = TS_WA * TS_VL, column = TS_VL;
            if (inside && n == TS_VL) {
                d = from + iy * g->x_row + ix * g->x_pixel;
                row = 2 * g->x_row;
                column = 2 * g->x_pixel;
            } else {
                ts_wino_patch(g, from, iy, ix, 2, 2, TS_WA, TS_WA, n, patch);
            }
            /* Lanes past the last channel end where a later phase or tile is written, or in the gap. */
            if (phase == 0)
                ts_wino_one_phase(0, 0, g, slot, c, d, row, column);
            else if (phase == 1)
                ts_wino_one_phase(0, 1, g, slot, c, d, row, column);
            else if (phase == 2)
                ts_wino_one_phase(1, 0, g, slot, c, d, row, column);
            else
                ts_wino_one_phase(1, 1, g, slot, c, d, row, column);
        }
    }
}

#include "ts_wino_block.h"

#define TS_WINOGRAD_STRIDE_2(name, in, out, most)                                                                      \
    TS_ROUTINE(name)                                                                                                   \
    {                                                                                                                  \
        struct ts_wino g;                                                                                              \
        g.tile_h = g.tile_w = TS_WM;                                                                                   \
        ts_wino_run(&g, s, x, weights, bias, y, workspace, in, out, most);                                             \
    }

#endif
