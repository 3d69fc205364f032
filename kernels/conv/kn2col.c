/* SPDX-License-Identifier: MIT-0
 *
 * kn2col: the channels-last mirror of kn2row. One 1x1 convolution per tap, shifted and summed.
 *
 *   x          [h][w][c]
 *   y          [oh][ow][m]
 *   partials   packed  per group: column blocks of [c][kh*kw*m];  workspace  [h][w][kh*kw][m]
 *   shift      packed  per group and tap: column blocks of [c][m];  workspace  [h][w][m]
 *   accumulate packed  as shift;  no workspace: the GEMM adds each tap's product to the output pixels it reaches
 *
 * m and c of one group. Pixels keep their distance in memory whatever the stride, so accumulate takes any stride.
 * Vasudevan, Anderson & Gregg 2017; Anderson, Vasudevan, Keane & Gregg 2017.
 */
#include "ts_gemm.h"
#include "ts_row.h"

/* Floats of y one block of rows may hold while all taps pass over it. */
#define BLOCK_ELEMS 65536

/* y at the group's first channel, as everywhere below. */
static void fill_pixels(const struct ts_shape *s, float *y, int32_t pixels, const float *bias)
{
    for (int32_t o = 0; o < pixels; o++)
        memcpy(y + (ptrdiff_t)o * s->m, bias, (size_t)(s->m / s->group) * sizeof(float));
}

static void clamp_pixels(const struct ts_shape *s, float *y, int32_t pixels)
{
    for (int32_t o = 0; o < pixels; o++)
        ts_row_clamp(y + (ptrdiff_t)o * s->m, s->m / s->group, s->lo, s->hi);
}

/* Adds one tap's product, [h][w] pixels at distance `pixel`, to y; stride 1. */
static void add_shifted(const struct ts_shape *s, struct ts_tap tap, const float *product, ptrdiff_t pixel, float *y)
{
    for (int32_t oy = tap.row.first; oy < tap.row.end; oy++)
        for (int32_t ox = tap.column.first; ox < tap.column.end; ox++)
            ts_row_add(y + ((ptrdiff_t)oy * s->ow + ox) * s->m,
                       product + ((ptrdiff_t)(oy + tap.top) * s->w + ox + tap.left) * pixel, s->m / s->group);
}

TS_ROUTINE(conv_kn2col_hwc_hwc_f32)
{
    const int32_t m = s->m / s->group, c = s->c / s->group, taps = s->kh * s->kw;
    for (int32_t g = 0; g < s->group; g++) {
        float *group_y = y + g * m;
        ts_gemm_pixels(s->h * s->w, taps * m, c, x[0] + g * c, s->c, weights + (ptrdiff_t)g * taps * m * c, workspace,
                       (ptrdiff_t)taps * m, ts_gemm_plain(0));
        fill_pixels(s, group_y, s->oh * s->ow, bias + g * m);
        for (int32_t t = 0; t < taps; t++)
            add_shifted(s, ts_tap_at(s, t), workspace + (ptrdiff_t)t * m, (ptrdiff_t)taps * m, group_y);
        clamp_pixels(s, group_y, s->oh * s->ow);
    }
}

TS_ROUTINE(conv_kn2col_shift_hwc_hwc_f32)
{
    const int32_t m = s->m / s->group, c = s->c / s->group, taps = s->kh * s->kw;
    for (int32_t g = 0; g < s->group; g++) {
        float *group_y = y + g * m;
        fill_pixels(s, group_y, s->oh * s->ow, bias + g * m);
        for (int32_t t = 0; t < taps; t++) {
            ts_gemm_pixels(s->h * s->w, m, c, x[0] + g * c, s->c, weights + ((ptrdiff_t)g * taps + t) * m * c,
                           workspace, m, ts_gemm_plain(0));
            add_shifted(s, ts_tap_at(s, t), workspace, m, group_y);
        }
        clamp_pixels(s, group_y, s->oh * s->ow);
    }
}

/* Adds one tap's product to output rows first .. end-1; x at the group's first channel. */
static void accumulate_tap(const struct ts_shape *s, struct ts_tap tap, int32_t first, int32_t end,
                           const float *weights, const float *x, float *y)
{
    const int32_t columns = tap.column.end - tap.column.first;
    const int whole_rows = columns == s->ow && s->ow == s->w && s->stride_h == 1 && s->stride_w == 1;
    first = first > tap.row.first ? first : tap.row.first;
    end = end < tap.row.end ? end : tap.row.end;
    if (columns <= 0)
        return;
    for (int32_t oy = first; oy < end;) {
        const int32_t rows = whole_rows ? end - oy : 1;
        const ptrdiff_t column = (ptrdiff_t)tap.column.first * s->stride_w + tap.left;
        const float *from = x + ((ptrdiff_t)(oy * s->stride_h + tap.top) * s->w + column) * s->c;
        ts_gemm_pixels(whole_rows ? rows * s->ow : columns, s->m / s->group, s->c / s->group, from,
                       (ptrdiff_t)s->stride_w * s->c, weights, y + ((ptrdiff_t)oy * s->ow + tap.column.first) * s->m,
                       s->m, ts_gemm_plain(1));
        oy += rows;
    }
}

TS_ROUTINE(conv_kn2col_accumulate_hwc_hwc_f32)
{
    const int32_t m = s->m / s->group, c = s->c / s->group, taps = s->kh * s->kw;
    const int32_t fit = BLOCK_ELEMS / m / s->ow, block = fit > 0 ? fit : 1;
    (void)workspace;
    for (int32_t g = 0; g < s->group; g++)
        for (int32_t row0 = 0; row0 < s->oh; row0 += block) {
            const int32_t end = row0 + block < s->oh ? row0 + block : s->oh, pixels = (end - row0) * s->ow;
            float *block_y = y + (ptrdiff_t)row0 * s->ow * s->m + g * m;
            fill_pixels(s, block_y, pixels, bias + g * m);
            for (int32_t t = 0; t < taps; t++)
                accumulate_tap(s, ts_tap_at(s, t), row0, end, weights + ((ptrdiff_t)g * taps + t) * m * c, x[0] + g * c,
                               y + g * m);
            clamp_pixels(s, block_y, pixels);
        }
}
