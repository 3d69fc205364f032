/* SPDX-License-Identifier: MIT-0
 *
 * One or two parameters per channel.
 *
 *   scale      y = clamp(x * weights[c] + bias[c])
 *   prelu      y = x < 0 ? weights[c] * x : x
 *   x, y       [blocks][pixels][lanes], the same layout, each with its pitch; may be the same memory
 *   weights, bias   [c], padded with zeros to whole blocks
 *
 * With one lane per block a channel is a run of pixels; otherwise a pixel is a run of channels, and a vector of
 * parameters serves the same channels of every pixel.
 */
#include "ts_runs.h"

enum channelwise { SCALE, PRELU };

TS_INLINE ts_vec channelwise_of(enum channelwise op, ts_vec v, ts_vec w, ts_vec b, ts_vec lo, ts_vec hi)
{
    if (op == SCALE)
        return ts_clamp_vec(ts_fma(v, w, b), lo, hi);
    return ts_max(ts_zero(), v) + w * ts_min(ts_zero(), v);
}

TS_INLINE void channelwise(const struct ts_shape *s, const float *x, const float *weights, const float *bias, float *y,
                           enum channelwise op, enum ts_layout layout)
{
    const ts_vec lo = ts_splat(s->lo), hi = ts_splat(s->hi);
    ptrdiff_t pixels = (ptrdiff_t)s->h * s->w, lanes = ts_lanes(layout, s->c), blocks = ts_blocks(layout, s->c);
    ptrdiff_t x_pixel = ts_pixel_step(layout, s->x_pitch), y_pixel = ts_pixel_step(layout, s->y_pitch);
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const float *from = x + block * ts_block_step(layout, s->x_pitch);
        float *to = y + block * ts_block_step(layout, s->y_pitch);
        if (layout == TS_CHW) {
            const ts_vec w = ts_splat(weights[block]), b = op == SCALE ? ts_splat(bias[block]) : ts_zero();
            ptrdiff_t p = 0;
            for (; p + TS_VL <= pixels; p += TS_VL)
                ts_store(to + p, channelwise_of(op, ts_load(from + p), w, b, lo, hi));
            int32_t rest = (int32_t)(pixels - p);
            if (rest > 0)
                ts_store_part(to + p, channelwise_of(op, ts_load_part(from + p, rest), w, b, lo, hi), rest);
            continue;
        }
        for (ptrdiff_t p = 0; p < pixels; p++)
            for (ptrdiff_t l = 0; l < lanes; l += TS_VL) {
                ptrdiff_t n = lanes - l < TS_VL ? lanes - l : TS_VL;
                const ts_vec w = ts_load_lanes(weights + block * lanes + l, n);
                const ts_vec b = op == SCALE ? ts_load_lanes(bias + block * lanes + l, n) : ts_zero();
                const ts_vec v = ts_load_lanes(from + p * x_pixel + l, n);
                ts_store_lanes(to + p * y_pixel + l, channelwise_of(op, v, w, b, lo, hi), n);
            }
    }
    ts_zero_padding_of(s, layout, y);
}

#define EACH_CHANNELWISE(name, layout)                                                                                 \
    TS_ROUTINE(scale_channelwise_##name##_##name##_f32)                                                                \
    {                                                                                                                  \
        (void)workspace;                                                                                               \
        channelwise(s, x[0], weights, bias, y, SCALE, layout);                                                         \
    }                                                                                                                  \
    TS_ROUTINE(prelu_channelwise_##name##_##name##_f32)                                                                \
    {                                                                                                                  \
        (void)bias, (void)workspace;                                                                                   \
        channelwise(s, x[0], weights, NULL, y, PRELU, layout);                                                         \
    }

TS_EACH_LAYOUT(EACH_CHANNELWISE)
