/* SPDX-License-Identifier: MIT-0
 *
 * kn2row: a KxK convolution is the sum of K*K 1x1 convolutions, each shifted by its tap. No patches are copied.
 *
 *   x          [c][h][w]
 *   y          [m][oh][ow]
 *   partials   packed  per group: planar panels of [kh*kw*m][c];  workspace  [kh*kw][m][h][w]
 *   shift      packed  per group and tap: planar panels of [m][c];  workspace  [m][h][w]
 *   accumulate packed  as shift;  no workspace: the GEMM adds each tap's product to y where it belongs, row by
 *              row, or over many rows at once where a row of the tap spans the whole image
 *
 * m and c of one group. partials: Vasudevan, Anderson & Gregg 2017. shift, accumulate: the low-memory forms of
 * Anderson, Vasudevan, Keane & Gregg 2017; accumulate limits the columns of each GEMM instead of punching holes
 * into x, which is not ours to write.
 */
#include "ts_gemm.h"
#include "ts_row.h"

/* Floats of y one block of rows may hold while all taps pass over it. */
#define BLOCK_ELEMS 65536

static void fill_rows(float *y, int32_t m, ptrdiff_t plane, ptrdiff_t elems, const float *bias)
{
    for (int32_t om = 0; om < m; om++)
        ts_row_fill(y + om * plane, elems, bias[om]);
}

static void clamp_rows(float *y, int32_t m, ptrdiff_t plane, ptrdiff_t elems, float lo, float hi)
{
    for (int32_t om = 0; om < m; om++)
        ts_row_clamp(y + om * plane, elems, lo, hi);
}

/* Adds one tap's product [m][h][w] to y [m][oh][ow], stride 1. */
static void add_shifted(const struct ts_shape *s, int32_t m, struct ts_tap tap, const float *product, float *y)
{
    const struct ts_span column = tap.column;
    for (int32_t om = 0; om < m; om++)
        for (int32_t oy = tap.row.first; oy < tap.row.end; oy++) {
            const ptrdiff_t from = ((ptrdiff_t)om * s->h + oy + tap.top) * s->w + tap.left + column.first;
            ts_row_add(y + ((ptrdiff_t)om * s->oh + oy) * s->ow + column.first, product + from,
                       column.end - column.first);
        }
}

TS_ROUTINE(conv_kn2row_chw_chw_f32)
{
    const int32_t m = s->m / s->group, c = s->c / s->group, taps = s->kh * s->kw;
    const int32_t plane = s->h * s->w, out_plane = s->oh * s->ow;
    for (int32_t g = 0; g < s->group; g++) {
        float *group_y = y + (ptrdiff_t)g * m * out_plane;
        ts_gemm_planar(taps * m, plane, c, weights + (ptrdiff_t)g * taps * m * c, x[0] + (ptrdiff_t)g * c * plane,
                       plane, workspace, plane, ts_gemm_plain(0));
        for (int32_t om = 0; om < m; om++) {
            fill_rows(group_y + (ptrdiff_t)om * out_plane, 1, out_plane, out_plane, bias + g * m + om);
            for (int32_t t = 0; t < taps; t++)
                add_shifted(s, 1, ts_tap_at(s, t), workspace + ((ptrdiff_t)t * m + om) * plane,
                            group_y + (ptrdiff_t)om * out_plane);
            clamp_rows(group_y + (ptrdiff_t)om * out_plane, 1, out_plane, out_plane, s->lo, s->hi);
        }
    }
}

TS_ROUTINE(conv_kn2row_shift_chw_chw_f32)
{
    const int32_t m = s->m / s->group, c = s->c / s->group, taps = s->kh * s->kw;
    const int32_t plane = s->h * s->w, out_plane = s->oh * s->ow;
    for (int32_t g = 0; g < s->group; g++) {
        float *group_y = y + (ptrdiff_t)g * m * out_plane;
        fill_rows(group_y, m, out_plane, out_plane, bias + g * m);
        for (int32_t t = 0; t < taps; t++) {
            ts_gemm_planar(m, plane, c, weights + ((ptrdiff_t)g * taps + t) * m * c, x[0] + (ptrdiff_t)g * c * plane,
                           plane, workspace, plane, ts_gemm_plain(0));
            add_shifted(s, m, ts_tap_at(s, t), workspace, group_y);
        }
        clamp_rows(group_y, m, out_plane, out_plane, s->lo, s->hi);
    }
}

/* Adds one tap's product to output rows first .. end-1 of y; x and y at the group's first channel. */
static void accumulate_tap(const struct ts_shape *s, struct ts_tap tap, int32_t first, int32_t end,
                           const float *weights, const float *x, float *y)
{
    const int32_t m = s->m / s->group, c = s->c / s->group, columns = tap.column.end - tap.column.first;
    const int whole_rows = columns == s->ow && s->ow == s->w && s->stride_h == 1;
    first = first > tap.row.first ? first : tap.row.first;
    end = end < tap.row.end ? end : tap.row.end;
    if (columns <= 0)
        return;
    for (int32_t oy = first; oy < end;) {
        const int32_t rows = whole_rows ? end - oy : 1;
        const float *from = x + (ptrdiff_t)(oy * s->stride_h + tap.top) * s->w + tap.left + tap.column.first;
        float *to = y + (ptrdiff_t)oy * s->ow + tap.column.first;
        ts_gemm_planar(m, whole_rows ? rows * s->ow : columns, c, weights, from, (ptrdiff_t)s->h * s->w, to,
                       (ptrdiff_t)s->oh * s->ow, ts_gemm_plain(1));
        oy += rows;
    }
}

TS_ROUTINE(conv_kn2row_accumulate_chw_chw_f32)
{
    const int32_t m = s->m / s->group, c = s->c / s->group, taps = s->kh * s->kw;
    const ptrdiff_t plane = (ptrdiff_t)s->h * s->w, out_plane = (ptrdiff_t)s->oh * s->ow;
    const int32_t fit = BLOCK_ELEMS / m / s->ow, block = fit > 0 ? fit : 1;
    (void)workspace;
    for (int32_t g = 0; g < s->group; g++) {
        float *group_y = y + g * m * out_plane;
        for (int32_t row0 = 0; row0 < s->oh; row0 += block) {
            const int32_t end = row0 + block < s->oh ? row0 + block : s->oh;
            const ptrdiff_t elems = (ptrdiff_t)(end - row0) * s->ow;
            fill_rows(group_y + (ptrdiff_t)row0 * s->ow, m, out_plane, elems, bias + g * m);
            for (int32_t t = 0; t < taps; t++)
                accumulate_tap(s, ts_tap_at(s, t), row0, end, weights + ((ptrdiff_t)g * taps + t) * m * c,
                               x[0] + g * c * plane, group_y);
            clamp_rows(group_y + (ptrdiff_t)row0 * s->ow, m, out_plane, elems, s->lo, s->hi);
        }
    }
}
