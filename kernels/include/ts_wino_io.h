/* SPDX-License-Identifier: MIT-0
 *
 * Where the inputs and outputs of Winograd tiles lie, in any layout, and how they are loaded and stored.
 */
#ifndef TS_WINO_IO_H
#define TS_WINO_IO_H

#define TS_AHEAD (TS_NB == 1) /* ts_wino_products */

#include "ts_blocks.h"
#include "ts_tile.h"
#include "ts_wino_points.h"

/* One group of one call. All strides in floats. */
struct ts_wino {
    const struct ts_shape *s;
    const float *x, *residual, *bias;
    float *y, *v, *m;
    ptrdiff_t x_pixel, x_row, x_block, y_pixel, y_row, y_block;
    ptrdiff_t m_plane;
    int32_t x_lanes, y_lanes;  /* channels per block */
    int32_t x_first, y_first;  /* first channel of the group */
    int32_t channels, outputs; /* of the group */
    int32_t tiles, tiles_x, tile_h, tile_w;
    int32_t held; /* tiles in the workspace */
    int32_t fill; /* 1: lanes past the last channel are stored as zero */
};

#define TS_PLANE_GAP 16

/* Floats from a plane of V to the next. */
TS_INLINE ptrdiff_t ts_wino_v_plane(const struct ts_wino *g, int32_t depth)
{
    return (ptrdiff_t)g->held * depth + TS_PLANE_GAP;
}

/* Pixel (0, 0) at channel c of the group. */
TS_INLINE const float *ts_wino_x(const struct ts_wino *g, int32_t c)
{
    c += g->x_first;
    return g->x + c / g->x_lanes * g->x_block + c % g->x_lanes;
}

TS_INLINE ptrdiff_t ts_wino_y(const struct ts_wino *g, int32_t m)
{
    m += g->y_first;
    return m / g->y_lanes * g->y_block + m % g->y_lanes;
}

/* The first n channels from `at` on, the other lanes zero. Channels of a block are neighbours in memory. */
TS_INLINE ts_vec ts_wino_load(const float *at, int32_t n, int32_t lanes, ptrdiff_t block)
{
    if (lanes >= TS_VL)
        return n < TS_VL ? ts_load_part(at, n) : ts_load(at);
#if TS_VL == 16 && (defined(__clang__) || __GNUC__ >= 12)
    if (lanes == TS_HALF_VL && n >= TS_VL) {
        const ts_half low = ts_load_half(at), high = ts_load_half(at + block);
        return (ts_vec)__builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    }
#endif
    float gathered[TS_VL] = {0};
    if (lanes == 1) {
        for (int32_t i = 0; i < n && i < TS_VL; i++)
            gathered[i] = at[i * block];
        return ts_load(gathered);
    }
    for (int32_t i = 0; i < n && i < TS_VL; i += lanes)
        for (int32_t j = 0; j < lanes && i + j < n; j++)
            gathered[i + j] = at[i / lanes * block + j];
    return ts_load(gathered);
}

/* Inputs (iy .. iy + rows - 1, ix .. ix + columns - 1) at n channels from `from`, zero outside the image, as
 * [rows][columns][TS_VL]. down, right: rows and columns of the image from one to the next. */
TS_ONCE void ts_wino_patch(const struct ts_wino *g, const float *from, int32_t iy, int32_t ix, int32_t down,
                           int32_t right, int32_t rows, int32_t columns, int32_t n, float *patch)
{
    const ptrdiff_t step = right * g->x_pixel;
    int32_t begin = 0, end = columns;
    while (begin < columns && ix + begin * right < 0)
        begin++;
    while (end > begin && ix + (end - 1) * right >= g->s->w)
        end--;
    for (int32_t i = 0; i < rows; i++, iy += down, patch += columns * TS_VL) {
        const int in = (uint32_t)iy < (uint32_t)g->s->h;
        const int32_t first = in ? begin : columns, last = in ? end : columns;
        for (int32_t j = 0; j < first; j++)
            ts_store(patch + j * TS_VL, ts_zero());
        for (int32_t j = last; j < columns; j++)
            ts_store(patch + j * TS_VL, ts_zero());
        if (!in)
            continue;
        const float *at = from + iy * g->x_row + ix * g->x_pixel;
        if (n == TS_VL && g->x_lanes >= TS_VL) {
            for (int32_t j = first; j < last; j++)
                ts_store(patch + j * TS_VL, ts_load(at + j * step));
        } else if (g->x_lanes > 1 || TS_VL == 1) {
            for (int32_t j = first; j < last; j++)
                ts_store(patch + j * TS_VL, ts_wino_load(at + j * step, n, g->x_lanes, g->x_block));
        } else {
            /* Planes: along the row of each channel. */
            for (int32_t j = n < TS_VL ? first : last; j < last; j++)
                ts_store(patch + j * TS_VL, ts_zero());
            for (int32_t lane = 0; lane < n; lane++)
                for (int32_t j = first; j < last; j++)
                    patch[j * TS_VL + lane] = at[lane * g->x_block + j * step];
        }
    }
}

/* Where the outputs of a tile at a vector of channels go: in place, or [tile_h][tile_w][TS_VL] on the stack. */
struct ts_wino_target {
    float *to;
    const float *residual; /* at the same strides; NULL: none */
    ptrdiff_t row, pixel;
    int32_t rows, columns; /* outputs of the tile that exist */
    ts_vec bias, lo, hi;
};

/* One output, its bias added, `at` floats after the first of the tile. */
TS_INLINE void ts_wino_put(const struct ts_wino_target *o, ptrdiff_t at, ts_vec sum)
{
    if (o->residual)
        sum = sum + ts_load(o->residual + at);
    ts_store(o->to + at, ts_clamp_vec(sum, o->lo, o->hi));
}

TS_ONCE void ts_wino_gather(const struct ts_wino_target *o, const float *from, ptrdiff_t block, int32_t n,
                            const struct ts_wino *g, float *lanes)
{
    n = n > 0 ? n : 0;
    for (int32_t i = 0; i < o->rows; i++)
        for (int32_t j = 0; j < o->columns; j++)
            ts_store(lanes + i * o->row + j * o->pixel,
                     ts_wino_load(from + i * g->y_row + j * g->y_pixel, n, g->y_lanes, block));
}

/* Stores n channels of every output on the stack. */
TS_ONCE void ts_wino_scatter(const struct ts_wino_target *o, int32_t n, const struct ts_wino *g, float *y)
{
    if (g->y_lanes == 1) {
        for (int32_t k = 0; k < n && k < TS_VL; k++)
            for (int32_t i = 0; i < o->rows; i++)
                for (int32_t j = 0; j < o->columns; j++)
                    y[k * g->y_block + i * g->y_row + j * g->y_pixel] = o->to[i * o->row + j * o->pixel + k];
        return;
    }
    for (int32_t i = 0; i < o->rows; i++)
        for (int32_t j = 0; j < o->columns; j++) {
            const float *lanes = o->to + i * o->row + j * o->pixel;
            float *to = y + i * g->y_row + j * g->y_pixel;
            if (n >= TS_VL && g->y_lanes == TS_HALF_VL) {
                ts_store_half(to, ts_load_half(lanes));
                ts_store_half(to + g->y_block, ts_load_half(lanes + TS_VL - TS_HALF_VL));
                continue;
            }
            if (g->y_lanes >= TS_VL) {
                if (g->fill)
                    ts_store(to, ts_zero());
                if (n > 0)
                    ts_store_part(to, ts_load(lanes), n);
                continue;
            }
            for (int32_t k = 0; k < TS_VL && (k < n || (g->fill && k % g->y_lanes)); k++)
                to[k / g->y_lanes * g->y_block + k % g->y_lanes] = k < n ? lanes[k] : 0.0f;
        }
}

#endif
