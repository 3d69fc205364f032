/* SPDX-License-Identifier: MIT-0
 *
 * Nearest-neighbour enlargement by whole factors: y[k][i][j] = x[k][i / (oh/h)][j / (ow/w)].
 *
 *   x          [blocks][h][w][lanes]     y          [blocks][oh][ow][lanes]
 *
 * Each output row is spread once and then copied for its repetitions.
 */
#include "ts_blocks.h"

TS_INLINE void spread(float *to, const float *from, ptrdiff_t w, ptrdiff_t lanes, ptrdiff_t factor)
{
    for (ptrdiff_t j = 0; j < w; j++)
        for (ptrdiff_t r = 0; r < factor; r++)
            for (ptrdiff_t l = 0; l < lanes; l++)
                to[(j * factor + r) * lanes + l] = from[j * lanes + l];
}

TS_INLINE void upsample(const struct ts_shape *s, const float *x, float *y, enum ts_layout layout)
{
    ptrdiff_t lanes = ts_lanes(layout, s->c), rows = ts_blocks(layout, s->c) * s->h;
    ptrdiff_t factor_h = s->oh / s->h, factor_w = s->ow / s->w, row = s->ow * lanes;
    for (ptrdiff_t i = 0; i < rows; i++) {
        float *to = y + i * factor_h * row;
        const float *from = x + i * s->w * lanes;
        if (factor_w == 2) /* by far the commonest */
            spread(to, from, s->w, lanes, 2);
        else
            spread(to, from, s->w, lanes, factor_w);
        for (ptrdiff_t r = 1; r < factor_h; r++)
            ts_copy(to + r * row, to, row);
    }
}

#define EACH_UPSAMPLE(name, layout)                                                                                    \
    TS_ROUTINE(upsample_nearest_##name##_##name##_f32)                                                                 \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        upsample(s, x[0], y, layout);                                                                                  \
    }

TS_EACH_LAYOUT(EACH_UPSAMPLE)
