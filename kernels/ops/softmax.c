/* SPDX-License-Identifier: MIT-0
 *
 * Softmax along one axis: y = exp(x - max x) / sum exp(x - max x). Subtracting the maximum keeps every exponential
 * at most 1 (Goodfellow et al. 2016, sec. 4.1).
 *
 *   x, y       the same layout; may be the same memory
 *
 * The tensor is seen as [outer][n][inner] with the axis in the middle, and up to 64 inner columns go through the
 * three passes together, so that memory is read in its own order. In a blocked layout channel k is at block k / lanes,
 * lane k % lanes, and each pixel is a column.
 */
#include <math.h>

#include "ts_blocks.h"

enum { COLUMNS = 64 };

/* Where element k of a column is: (k / period) * far + (k % period) * near. */
struct steps {
    ptrdiff_t period, far, near;
};

TS_INLINE ptrdiff_t at(struct steps step, ptrdiff_t k)
{
    return k / step.period * step.far + k % step.period * step.near;
}

/* Columns i = 0 .. count-1, `apart` floats apart. */
static void softmax_columns(const float *x, float *y, ptrdiff_t n, struct steps step, ptrdiff_t count, ptrdiff_t apart)
{
    float max[COLUMNS], sum[COLUMNS];
    ts_fill(max, count, -INFINITY);
    ts_fill(sum, count, 0.0f);
    for (ptrdiff_t k = 0; k < n; k++)
        for (ptrdiff_t i = 0; i < count; i++) {
            float v = x[at(step, k) + i * apart];
            max[i] = v > max[i] ? v : max[i];
        }
    for (ptrdiff_t k = 0; k < n; k++)
        for (ptrdiff_t i = 0; i < count; i++) {
            float e = expf(x[at(step, k) + i * apart] - max[i]);
            y[at(step, k) + i * apart] = e;
            sum[i] += e;
        }
    for (ptrdiff_t i = 0; i < count; i++)
        sum[i] = 1.0f / sum[i];
    for (ptrdiff_t k = 0; k < n; k++)
        for (ptrdiff_t i = 0; i < count; i++)
            y[at(step, k) + i * apart] *= sum[i];
}

static void softmax_inner(const float *x, float *y, ptrdiff_t outer, ptrdiff_t n, ptrdiff_t inner)
{
    for (ptrdiff_t o = 0; o < outer; o++)
        for (ptrdiff_t i = 0; i < inner; i += COLUMNS) {
            ptrdiff_t from = o * n * inner + i, count = inner - i < COLUMNS ? inner - i : COLUMNS;
            softmax_columns(x + from, y + from, n, (struct steps){n, 0, inner}, count, 1);
        }
}

TS_INLINE void softmax(const struct ts_shape *s, const float *x, float *y, enum ts_layout layout)
{
    ptrdiff_t lanes = ts_lanes(layout, s->c), blocks = ts_blocks(layout, s->c), pixels = (ptrdiff_t)s->h * s->w;
    if (s->axis == 1)
        softmax_inner(x, y, blocks, s->h, s->w * lanes);
    else if (s->axis == 2)
        softmax_inner(x, y, blocks * s->h, s->w, lanes);
    else if (layout == TS_CHW)
        softmax_inner(x, y, 1, s->c, pixels);
    else
        for (ptrdiff_t p = 0; p < pixels; p += COLUMNS) {
            ptrdiff_t count = pixels - p < COLUMNS ? pixels - p : COLUMNS;
            struct steps step = {lanes, pixels * lanes, 1};
            softmax_columns(x + p * lanes, y + p * lanes, s->c, step, count, lanes);
        }
    ts_zero_padding(layout, y, s->c, pixels);
}

#define EACH_SOFTMAX(name, layout)                                                                                     \
    TS_ROUTINE(softmax_stable_##name##_##name##_f32)                                                                   \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        softmax(s, x[0], y, layout);                                                                                   \
    }

TS_EACH_LAYOUT(EACH_SOFTMAX)
