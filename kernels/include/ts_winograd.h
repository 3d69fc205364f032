/* SPDX-License-Identifier: MIT-0
 *
 * Winograd convolution F(m x m, r x r), instantiated by a file that defines TS_WM (m), TS_WR (r), TS_NB and TS_MR.
 *
 *   y tile = A^T [ sum over c of (G w G^T) . (B^T x B) ] A,  a = m + r - 1, tiles of a x a inputs and m x m outputs
 *
 * The transforms are straight-line code over pairs of rows, whose sums they share, and hold no intermediate tile in
 * memory: every input is loaded for each pair, every result is stored once. Lavin & Gray 2016.
 */
#ifndef TS_WINOGRAD_H
#define TS_WINOGRAD_H

#include "ts_wino_output.h"

TS_INLINE int32_t ts_wino_depth(const struct ts_wino *g, int32_t plane)
{
    (void)plane;
    return g->channels;
}

TS_INLINE ptrdiff_t ts_wino_depths(const struct ts_wino *g)
{
    return (ptrdiff_t)TS_PLANES * g->channels;
}

/* V of one tile at one vector of channels: inputs at d[i * row + j * column], results `plane` floats apart. */
TS_INLINE void ts_wino_square(const float *d, ptrdiff_t row, ptrdiff_t column, float *v, ptrdiff_t plane)
{
    ts_vec plus[TS_WA], minus[TS_WA], line[TS_WA];
#define TS_FIRST(j)                                                                                                    \
    ts_wino_column(d + j * column, row, line);                                                                         \
    plus[j] = ts_wino_bt_all(line, 0);
#define TS_LAST(j)                                                                                                     \
    ts_wino_column(d + j * column, row, line);                                                                         \
    plus[j] = ts_wino_bt_all(line, TS_WZ);
#define TS_PAIR(j, k)                                                                                                  \
    ts_wino_column(d + j * column, row, line);                                                                         \
    ts_wino_bt_pair(k, line, &plus[j], &minus[j]);
#define TS_PAIR_0(j) TS_PAIR(j, 0)
#define TS_PAIR_1(j) TS_PAIR(j, 1)
#define TS_PAIR_2(j) TS_PAIR(j, 2)
#if TS_WZ
    TS_EACH_INPUT(TS_FIRST)
    ts_wino_bt(plus, v, plane, v + (TS_WA - 1) * plane);
    v += TS_WA * plane;
#endif
    TS_EACH_INPUT(TS_PAIR_0)
    ts_wino_bt(plus, v, plane, v + (TS_WA - 1) * plane);
    ts_wino_bt(minus, v + TS_WA * plane, plane, v + (2 * TS_WA - 1) * plane);
    v += 2 * TS_WA * plane;
#if TS_WPAIRS > 1
    TS_EACH_INPUT(TS_PAIR_1)
    ts_wino_bt(plus, v, plane, v + (TS_WA - 1) * plane);
    ts_wino_bt(minus, v + TS_WA * plane, plane, v + (2 * TS_WA - 1) * plane);
    v += 2 * TS_WA * plane;
#endif
#if TS_WPAIRS > 2
    TS_EACH_INPUT(TS_PAIR_2)
    ts_wino_bt(plus, v, plane, v + (TS_WA - 1) * plane);
    ts_wino_bt(minus, v + TS_WA * plane, plane, v + (2 * TS_WA - 1) * plane);
    v += 2 * TS_WA * plane;
#endif
    TS_EACH_INPUT(TS_LAST)
    ts_wino_bt(plus, v, plane, v + (TS_WA - 1) * plane);
#undef TS_FIRST
#undef TS_LAST
#undef TS_PAIR
#undef TS_PAIR_0
#undef TS_PAIR_1
#undef TS_PAIR_2
}

/* V of tile `tile` of the image, tile `slot` of the block. */
TS_ONCE void ts_wino_input(const struct ts_wino *g, int32_t tile, int32_t slot)
{
    const int32_t iy = tile / g->tiles_x * TS_WM - g->s->pad_t, ix = tile % g->tiles_x * TS_WM - g->s->pad_l;
    const int inside = iy >= 0 && ix >= 0 && iy + TS_WA <= g->s->h && ix + TS_WA <= g->s->w && g->x_lanes >= TS_VL;
    const ptrdiff_t plane = ts_wino_v_plane(g, g->channels);
    float patch[TS_PLANES * TS_VL];
    float *v = g->v + (ptrdiff_t)slot * g->channels;
    for (int32_t c = 0; c < g->channels; c += TS_VL) {
        const int32_t n = g->channels - c < TS_VL ? g->channels - c : TS_VL;
        const float *from = ts_wino_x(g, c), *d = patch;
        ptrdiff_t row = TS_WA * TS_VL, column = TS_VL;
        if (inside && n == TS_VL) {
            d = from + iy * g->x_row + ix * g->x_pixel;
            row = g->x_row;
            column = g->x_pixel;
        } else {
            ts_wino_patch(g, from, iy, ix, 1, 1, TS_WA, TS_WA, n, patch);
        }
        /* Lanes past the last channel end in the next tile's place, which is written later, or in the gap. */
        ts_wino_square(d, row, column, v + c, plane);
    }
}

#include "ts_wino_block.h"

#define TS_WINOGRAD(name, in, out, most)                                                                               \
    TS_ROUTINE(name)                                                                                                   \
    {                                                                                                                  \
        struct ts_wino g;                                                                                              \
        g.tile_h = g.tile_w = TS_WM;                                                                                   \
        ts_wino_run(&g, s, x, weights, bias, y, workspace, in, out, most);                                             \
    }

#endif
