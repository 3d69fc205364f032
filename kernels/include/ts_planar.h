/* SPDX-License-Identifier: MIT-0
 *
 * Convolution of planar tensors: vectors run along output columns, weights are broadcast. chw in, chw out.
 *
 *   weights  [m][c/group][kh][kw] as the operator has them
 *
 * A register tile is up to TS_PLANAR_VECTORS vectors of one output row x 6 output channels, with the accumulators and
 * steps of ts_tile.h: pointers go to weights, vectors come from the input. Where a tap reaches past the image or the
 * stride is not 1, the row's columns are first copied to a line of the stack, one line per column modulo the stride.
 */
#ifndef TS_PLANAR_H
#define TS_PLANAR_H

#define TS_PLANAR_CHANNELS 6
#define TS_MR TS_PLANAR_CHANNELS /* pixels of ts_tile.h */

#include "ts_tile.h"

#define TS_PLANAR_VECTORS TS_TILE_VECTORS(4, TS_PLANAR_CHANNELS)
#define TS_PLANAR_COLUMNS (TS_PLANAR_VECTORS * TS_VL)
#define TS_PLANAR_STRIDE_MAX 4
#define TS_PLANAR_REACH_MAX 32 /* (kw - 1) * dilation_w */

typedef float ts_line[TS_PLANAR_STRIDE_MAX][TS_PLANAR_COLUMNS + TS_PLANAR_REACH_MAX];

/* line[p][i] is column (ox + i) * stride_w + p - pad_l of the row, zero outside it, for the taps of n outputs. */
TS_INLINE void ts_planar_line(const struct ts_shape *s, const float *row, int32_t ox, int32_t n, ts_line line)
{
    const int32_t reach = (s->kw - 1) * s->dilation_w, first = ox * s->stride_w - s->pad_l;
    const int32_t length = n + reach / s->stride_w;
    for (int32_t p = 0; p < s->stride_w; p++)
        for (int32_t i = 0, ix = first + p; i < length; i++, ix += s->stride_w)
            line[p][i] = ix >= 0 && ix < s->w ? row[ix] : 0.0f;
}

#define TS_PLANAR_START(k)                                                                                             \
    const float *p##k = weights + (mr > k ? (k < count ? k : count - 1) : 0) * k_elems;                                \
    ts_vec a##k##_0 = ts_splat(bias && mr > k ? bias[k < count ? k : count - 1] : 0.0f);                               \
    ts_vec a##k##_1 = a##k##_0, a##k##_2 = a##k##_0, a##k##_3 = a##k##_0;
#define TS_PLANAR_ADD(k)                                                                                               \
    if (mr > k) {                                                                                                      \
        const float *from = add + k * add_step;                                                                        \
        a##k##_0 += ts_load(from);                                                                                     \
        if (nv > 1)                                                                                                    \
            a##k##_1 += ts_load(from + 1 * TS_VL);                                                                     \
        if (nv > 2)                                                                                                    \
            a##k##_2 += ts_load(from + 2 * TS_VL);                                                                     \
        if (nv > 3)                                                                                                    \
            a##k##_3 += ts_load(from + 3 * TS_VL);                                                                     \
    }
#define TS_PLANAR_STORE(k)                                                                                             \
    if (mr > k) {                                                                                                      \
        float *to = out + k * step;                                                                                    \
        ts_store(to, ts_clamp_vec(a##k##_0, lo, hi));                                                                  \
        if (nv > 1)                                                                                                    \
            ts_store(to + 1 * TS_VL, ts_clamp_vec(a##k##_1, lo, hi));                                                  \
        if (nv > 2)                                                                                                    \
            ts_store(to + 2 * TS_VL, ts_clamp_vec(a##k##_2, lo, hi));                                                  \
        if (nv > 3)                                                                                                    \
            ts_store(to + 3 * TS_VL, ts_clamp_vec(a##k##_3, lo, hi));                                                  \
    }

/* The first `columns` of each of `count` rows. */
TS_ONCE void ts_planar_copy_part(float *to, ptrdiff_t to_step, const float *from, ptrdiff_t from_step, int32_t count,
                                 int32_t columns)
{
    for (int32_t k = 0; k < count; k++)
        memcpy(to + k * to_step, from + k * from_step, (size_t)columns * sizeof(float));
}

/* `count` <= mr output channels at `columns` <= nv * TS_VL columns from (oy, ox). x is the group's first channel;
 * weights, bias, y and residual (NULL for none) those of the first output channel, the last two at (oy, ox). */
TS_INLINE void ts_planar_tile(const int nv, const int mr, const struct ts_shape *s, const float *x,
                              const float *weights, const float *bias, const float *residual, float *y, int32_t oy,
                              int32_t ox, int32_t count, int32_t columns)
{
    const int32_t cg = s->c / s->group;
    const ptrdiff_t k_elems = (ptrdiff_t)cg * s->kh * s->kw;
    const int32_t top = oy * s->stride_h - s->pad_t, left = ox * s->stride_w - s->pad_l;
    const int in_place = s->stride_w == 1 && left >= 0 && left + nv * TS_VL + (s->kw - 1) * s->dilation_w <= s->w;
    const int whole = count == mr && columns >= nv * TS_VL;
    const int32_t known = columns < nv * TS_VL ? columns : nv * TS_VL;
    float lanes[TS_PLANAR_CHANNELS * 4 * TS_VL];
    ts_line line;
    TS_PIXELS(TS_PLANAR_START)
    if (residual) {
        const float *add = residual;
        ptrdiff_t add_step = s->y_pitch;
        if (!whole) {
            memset(lanes, 0, sizeof lanes);
            ts_planar_copy_part(lanes, nv * TS_VL, residual, s->y_pitch, count, known);
            add = lanes;
            add_step = nv * TS_VL;
        }
        TS_PIXELS(TS_PLANAR_ADD)
    }
    ptrdiff_t i = 0;
    for (int32_t c = 0; c < cg; c++, x += s->x_pitch)
        for (int32_t r = 0; r < s->kh; r++) {
            const int32_t iy = top + r * s->dilation_h;
            if (iy < 0 || iy >= s->h) {
                i += s->kw;
                continue;
            }
            const float *row = x + (ptrdiff_t)iy * s->w;
            if (!in_place)
                ts_planar_line(s, row, ox, nv * TS_VL, line);
            TS_NO_UNROLL
            for (int32_t t = 0; t < s->kw; t++, i++) {
                const int32_t right = t * s->dilation_w;
                const float *from = in_place ? row + (left + right) : line[right % s->stride_w] + right / s->stride_w;
                const ts_vec w0 = ts_load(from);
                const ts_vec w1 = nv > 1 ? ts_load(from + 1 * TS_VL) : w0;
                const ts_vec w2 = nv > 2 ? ts_load(from + 2 * TS_VL) : w0;
                const ts_vec w3 = nv > 3 ? ts_load(from + 3 * TS_VL) : w0;
                TS_PIXELS(TS_FMA)
            }
        }
    const ts_vec lo = ts_splat(s->lo), hi = ts_splat(s->hi);
    float *out = whole ? y : lanes;
    const ptrdiff_t step = whole ? s->y_pitch : nv * TS_VL;
    TS_PIXELS(TS_PLANAR_STORE)
    if (!whole)
        ts_planar_copy_part(y, s->y_pitch, lanes, step, count, known);
}

/* A tile of as many vectors as the columns need. */
TS_INLINE void ts_planar_columns(const int mr, const struct ts_shape *s, const float *x, const float *weights,
                                 const float *bias, const float *residual, float *y, int32_t oy, int32_t ox,
                                 int32_t count)
{
    const int32_t columns = s->ow - ox;
    if (TS_PLANAR_VECTORS > 3 && columns > 3 * TS_VL)
        ts_planar_tile(4, mr, s, x, weights, bias, residual, y, oy, ox, count, columns);
    else if (TS_PLANAR_VECTORS > 3 && columns > 2 * TS_VL)
        ts_planar_tile(3, mr, s, x, weights, bias, residual, y, oy, ox, count, columns);
    else if (columns > TS_VL)
        ts_planar_tile(2, mr, s, x, weights, bias, residual, y, oy, ox, count, columns);
    else
        ts_planar_tile(1, mr, s, x, weights, bias, residual, y, oy, ox, count, columns);
}

TS_ONCE void ts_planar(const struct ts_shape *s, const float *const *inputs, const float *weights, const float *bias,
                       float *y)
{
    const int32_t cg = s->c / s->group, mg = s->m / s->group;
    const ptrdiff_t k_elems = (ptrdiff_t)cg * s->kh * s->kw;
    const float *x = inputs[0], *residual = s->n_in == 2 ? inputs[1] : NULL;
    for (int32_t g = 0; g < s->group; g++, x += (ptrdiff_t)cg * s->x_pitch)
        for (int32_t m = 0, count; m < mg; m += count) {
            count = mg - m < TS_PLANAR_CHANNELS ? mg - m : TS_PLANAR_CHANNELS;
            for (int32_t oy = 0; oy < s->oh; oy++)
                for (int32_t ox = 0; ox < s->ow; ox += TS_PLANAR_COLUMNS) {
                    const ptrdiff_t at = (ptrdiff_t)oy * s->ow + ox;
                    const float *add = residual ? residual + at : NULL;
                    if (count == 1)
                        ts_planar_columns(1, s, x, weights, bias, add, y + at, oy, ox, count);
                    else
                        ts_planar_columns(TS_PLANAR_CHANNELS, s, x, weights, bias, add, y + at, oy, ox, count);
                }
            weights += count * k_elems;
            y += (ptrdiff_t)count * s->y_pitch;
            if (residual)
                residual += (ptrdiff_t)count * s->y_pitch;
            if (bias)
                bias += count;
        }
}

#endif
