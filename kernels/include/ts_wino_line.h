/* SPDX-License-Identifier: MIT-0
 *
 * One-dimensional Winograd convolution F(m, r) of kernels 1 x r and r x 1; instantiated by a file that defines TS_WM
 * (m), TS_WR (r), TS_NB and TS_MR. A tile is m outputs of a row, or of a column. Lavin & Gray 2016.
 */
#ifndef TS_WINO_LINE_H
#define TS_WINO_LINE_H

#include "ts_wino_io.h"

#define TS_PLANES TS_WA
#define TS_OUTPUTS TS_WM

TS_INLINE int32_t ts_wino_depth(const struct ts_wino *g, int32_t plane)
{
    (void)plane;
    return g->channels;
}

TS_INLINE ptrdiff_t ts_wino_depths(const struct ts_wino *g)
{
    return (ptrdiff_t)TS_PLANES * g->channels;
}

/* V of tile `tile` of the image, tile `slot` of the block. */
TS_ONCE void ts_wino_input(const struct ts_wino *g, int32_t tile, int32_t slot)
{
    const int32_t rows = g->tile_h > 1 ? TS_WA : 1, columns = g->tile_h > 1 ? 1 : TS_WA;
    const int32_t iy = tile / g->tiles_x * g->tile_h - g->s->pad_t, ix = tile % g->tiles_x * g->tile_w - g->s->pad_l;
    const int inside = iy >= 0 && ix >= 0 && iy + rows <= g->s->h && ix + columns <= g->s->w && g->x_lanes >= TS_VL;
    const ptrdiff_t plane = ts_wino_v_plane(g, g->channels);
    float patch[TS_WA * TS_VL];
    float *v = g->v + (ptrdiff_t)slot * g->channels;
    for (int32_t c = 0; c < g->channels; c += TS_VL) {
        const int32_t n = g->channels - c < TS_VL ? g->channels - c : TS_VL;
        const float *from = ts_wino_x(g, c), *d = patch;
        ptrdiff_t step = TS_VL;
        if (inside && n == TS_VL) {
            d = from + iy * g->x_row + ix * g->x_pixel;
            step = rows > 1 ? g->x_row : g->x_pixel;
        } else {
            ts_wino_patch(g, from, iy, ix, 1, 1, rows, columns, n, patch);
        }
        ts_vec line[TS_WA];
#define TS_LOAD(i) line[i] = ts_load(d + (i) * step);
        TS_EACH_INPUT(TS_LOAD)
#undef TS_LOAD
        /* Lanes past the last channel end in the next tile's place, which is written later, or in the gap. */
        ts_wino_bt(line, v + c, plane, v + c + (TS_WA - 1) * plane);
    }
}

/* Outputs of one tile at one vector of channels, of M at `m`. */
TS_INLINE void ts_wino_outputs(const struct ts_wino *g, const struct ts_wino_target *o, const float *m, ptrdiff_t plane)
{
    const int32_t count = g->tile_h > 1 ? o->rows : o->columns;
    const ptrdiff_t step = g->tile_h > 1 ? o->row : o->pixel;
    ts_vec line[TS_WA];
#define TS_LOAD(i) line[i] = ts_load(m + (i) * plane);
    TS_EACH_INPUT(TS_LOAD)
#undef TS_LOAD
#define TS_PUT_LINE(j)                                                                                                 \
    if (j < count)                                                                                                     \
        ts_wino_put(o, j *step, ts_wino_at(j, line, &o->bias));
    TS_EACH_OUTPUT(TS_PUT_LINE)
#undef TS_PUT_LINE
}

#include "ts_wino_block.h"

#define TS_WINOGRAD_LINE(name, in, out, most)                                                                          \
    TS_ROUTINE(name)                                                                                                   \
    {                                                                                                                  \
        struct ts_wino g;                                                                                              \
        g.tile_h = s->kh > 1 ? TS_WM : 1;                                                                              \
        g.tile_w = s->kh > 1 ? 1 : TS_WM;                                                                              \
        ts_wino_run(&g, s, x, weights, bias, y, workspace, in, out, most);                                             \
    }

#endif
