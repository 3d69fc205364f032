/* SPDX-License-Identifier: MIT-0
 *
 * Layout conversions: the same (c, h, w) tensor in another order.
 *
 *   x, y       [blocks][pixels][lanes] with the lanes of the in- and out-layout (ts_blocks.h), each with its pitch
 *
 * Where one side has one lane, each block of the other side is a transposition of [lanes][pixels]. Otherwise both
 * sides keep runs of channels together, and the shorter of the two runs is copied. Padding channels become zero.
 * From hwc to hwc it makes part of a larger tensor a tensor of its own.
 */
#include "ts_blocks.h"
#include "ts_transpose.h"

/* Channels k .. k + n of a pixel move together between lanes of `from` and `to`. */
TS_INLINE void convert_runs(const struct ts_shape *s, float *y, enum ts_layout to, const float *x, enum ts_layout from)
{
    const int32_t c = s->c;
    ptrdiff_t pixels = (ptrdiff_t)s->h * s->w;
    ptrdiff_t x_step = ts_pixel_step(from, s->x_pitch), y_step = ts_pixel_step(to, s->y_pitch);
    ptrdiff_t y_block = ts_block_step(to, s->y_pitch);
    ptrdiff_t from_lanes = ts_lanes(from, c), to_lanes = ts_lanes(to, c);
    ptrdiff_t run = from_lanes < to_lanes ? from_lanes : to_lanes;
    if (to != from)
        run = from == TS_HWC ? to_lanes : to == TS_HWC ? from_lanes : run; /* a literal; c itself may be smaller */
    for (ptrdiff_t k = 0; k < c; k += run) {
        const float *source = x + k / from_lanes * ts_block_step(from, s->x_pitch) + k % from_lanes;
        float *target = y + k / to_lanes * y_block + k % to_lanes;
        if (k + run <= c)
            for (ptrdiff_t p = 0; p < pixels; p++)
                ts_copy(target + p * y_step, source + p * x_step, run);
        else
            for (ptrdiff_t p = 0; p < pixels; p++)
                for (ptrdiff_t l = 0; l < c - k; l++)
                    target[p * y_step + l] = source[p * x_step + l];
    }
    if (c % to_lanes != 0)
        ts_zero_padding(to, y + c / to_lanes * y_block, (int32_t)(c % to_lanes), pixels);
}

TS_INLINE void convert(const struct ts_shape *s, const float *const *x, float *y, enum ts_layout from,
                       enum ts_layout to)
{
    ptrdiff_t pixels = (ptrdiff_t)s->h * s->w;
    ptrdiff_t lanes = ts_lanes(from == TS_CHW ? to : from, s->c);
    if (from != TS_CHW && to != TS_CHW) {
        convert_runs(s, y, to, x[0], from);
        return;
    }
    if (to == TS_HWC || from == TS_HWC) {
        const ptrdiff_t rows = to == TS_HWC ? s->c : pixels, cols = to == TS_HWC ? pixels : s->c;
        ts_transpose_matrix(y, s->y_pitch, x[0], s->x_pitch, rows, cols);
        return;
    }
    for (ptrdiff_t k = 0; k < s->c; k += lanes) {
        ptrdiff_t used = s->c - k < lanes ? s->c - k : lanes;
        if (from == TS_CHW)
            ts_transpose(y + k / lanes * ts_block_step(to, s->y_pitch), ts_pixel_step(to, s->y_pitch),
                         x[0] + k * s->x_pitch, s->x_pitch, used, pixels, lanes);
        else
            ts_transpose_dense(y + k * s->y_pitch, s->y_pitch, x[0] + k / lanes * ts_block_step(from, s->x_pitch),
                               ts_pixel_step(from, s->x_pitch), pixels, used);
    }
}

#define CONVERT(in, IN, out, OUT)                                                                                      \
    TS_ROUTINE(convert_copy_##in##_##out##_f32)                                                                        \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        convert(s, x, y, IN, OUT);                                                                                     \
    }

CONVERT(chw, TS_CHW, hwc, TS_HWC)
CONVERT(chw, TS_CHW, chw8c, TS_CHW8C)
CONVERT(chw, TS_CHW, chw16c, TS_CHW16C)
CONVERT(hwc, TS_HWC, chw, TS_CHW)
CONVERT(hwc, TS_HWC, hwc, TS_HWC)
CONVERT(hwc, TS_HWC, chw8c, TS_CHW8C)
CONVERT(hwc, TS_HWC, chw16c, TS_CHW16C)
CONVERT(chw8c, TS_CHW8C, chw, TS_CHW)
CONVERT(chw8c, TS_CHW8C, hwc, TS_HWC)
CONVERT(chw8c, TS_CHW8C, chw16c, TS_CHW16C)
CONVERT(chw16c, TS_CHW16C, chw, TS_CHW)
CONVERT(chw16c, TS_CHW16C, hwc, TS_HWC)
CONVERT(chw16c, TS_CHW16C, chw8c, TS_CHW8C)
