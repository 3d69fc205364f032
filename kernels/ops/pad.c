/* SPDX-License-Identifier: MIT-0
 *
 * Constant padding: y is alpha, with x at offset `start`.
 *
 *   x          [blocks][h][w][lanes]     y          [blocks'][oh][ow][lanes']
 *
 * lanes' differs from lanes only for hwc, where padding adds channels. The last input block of a blocked layout may
 * hold fewer channels than the output block it lands in; the lanes between are alpha like the rest.
 */
#include "ts_blocks.h"

TS_INLINE void pad(const struct ts_shape *s, const float *x, float *y, enum ts_layout layout)
{
    ptrdiff_t in_lanes = ts_lanes(layout, s->c), out_lanes = ts_lanes(layout, s->m);
    ptrdiff_t in_blocks = ts_blocks(layout, s->c), out_blocks = ts_blocks(layout, s->m);
    ptrdiff_t first_block = s->start[0] / out_lanes, first_lane = s->start[0] - first_block * out_lanes;
    for (ptrdiff_t block = 0; block < out_blocks; block++) {
        ptrdiff_t from_block = block - first_block;
        ptrdiff_t used = s->c - from_block * in_lanes;
        used = used > in_lanes ? in_lanes : used;
        for (int32_t i = 0; i < s->oh; i++) {
            int32_t from_row = i - s->start[1];
            float *row = y + (block * s->oh + i) * s->ow * out_lanes;
            if (from_block < 0 || from_block >= in_blocks || from_row < 0 || from_row >= s->h) {
                ts_fill(row, s->ow * out_lanes, s->alpha);
                continue;
            }
            const float *from = x + (from_block * s->h + from_row) * s->w * in_lanes;
            float *to = row + s->start[2] * out_lanes;
            float *after = to + s->w * out_lanes;
            ts_fill(row, to - row, s->alpha);
            if (used == out_lanes)
                ts_copy(to, from, s->w * out_lanes);
            else
                for (int32_t j = 0; j < s->w; j++) {
                    float *pixel = to + j * out_lanes;
                    ts_fill(pixel, first_lane, s->alpha);
                    ts_copy(pixel + first_lane, from + j * in_lanes, used);
                    ts_fill(pixel + first_lane + used, out_lanes - first_lane - used, s->alpha);
                }
            ts_fill(after, row + s->ow * out_lanes - after, s->alpha);
        }
    }
    ts_zero_padding(layout, y, s->m, (ptrdiff_t)s->oh * s->ow);
}

#define EACH_PAD(name, layout)                                                                                         \
    TS_ROUTINE(pad_constant_##name##_##name##_f32)                                                                     \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        pad(s, x[0], y, layout);                                                                                       \
    }

TS_EACH_LAYOUT(EACH_PAD)
