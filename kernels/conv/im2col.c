/* SPDX-License-Identifier: MIT-0
 *
 * im2col: copy the patch under every output into a matrix, then one GEMM per group.
 *
 *   x          [c][h][w]          packed  per group: planar panels of [m][c*kh*kw]
 *   y          [m][oh][ow]        workspace  [c*kh*kw][rows][ow], c of one group
 *
 * `strip` rows of the output are made at a time, all of them if 0. Reading a unit-stride, unpadded 1x1 kernel's
 * patches is reading x, so nothing is copied there. Chellapilla, Puri & Simard 2006; the layout is Caffe's.
 */
#include "ts_gemm.h"
#include "ts_row.h"

/* Patches of output rows row0 .. row0+rows-1 of one group, x at the group's first channel. */
static void gather_patches(const struct ts_shape *s, const float *x, int32_t row0, int32_t rows, float *patches)
{
    for (int32_t ic = 0; ic < s->c / s->group; ic++) {
        const float *plane = x + (ptrdiff_t)ic * s->h * s->w;
        for (int32_t tap = 0; tap < s->kh * s->kw; tap++) {
            const int32_t left = tap % s->kw * s->dilation_w - s->pad_l;
            const int32_t top = (row0 * s->stride_h - s->pad_t) + tap / s->kw * s->dilation_h;
            const struct ts_span span = ts_tap_span(s->ow, s->stride_w, left, s->w);
            for (int32_t oy = 0; oy < rows; oy++, patches += s->ow) {
                const int32_t iy = top + oy * s->stride_h;
                if (iy < 0 || iy >= s->h)
                    ts_row_fill(patches, s->ow, 0.0f);
                else
                    ts_row_gather(patches, plane + (ptrdiff_t)iy * s->w, s->ow, span, s->stride_w, left);
            }
        }
    }
}

TS_INLINE void im2col(const struct ts_shape *s, const float *x, const float *weights, const float *bias, float *y,
                      float *workspace, int32_t strip)
{
    const int32_t group_m = s->m / s->group, k = s->c / s->group * s->kh * s->kw;
    const int copy = strip || !ts_patches_are_input(s);
    for (int32_t g = 0; g < s->group; g++) {
        const float *group_x = x + (ptrdiff_t)g * (s->c / s->group) * s->h * s->w;
        float *group_y = y + (ptrdiff_t)g * group_m * s->oh * s->ow;
        const struct ts_gemm_end end = {bias + g * group_m, 0, s->lo, s->hi};
        for (int32_t row0 = 0; row0 < s->oh;) {
            const int32_t left = s->oh - row0, rows = strip && strip < left ? strip : left;
            if (copy)
                gather_patches(s, group_x, row0, rows, workspace);
            ts_gemm_planar(group_m, rows * s->ow, k, weights + (ptrdiff_t)g * group_m * k, copy ? workspace : group_x,
                           rows * s->ow, group_y + (ptrdiff_t)row0 * s->ow, (ptrdiff_t)s->oh * s->ow, end);
            row0 += rows;
        }
    }
}

TS_ROUTINE(conv_im2col_chw_chw_f32)
{
    im2col(s, x[0], weights, bias, y, workspace, 0);
}

TS_ROUTINE(conv_im2col_strip1_chw_chw_f32)
{
    im2col(s, x[0], weights, bias, y, workspace, 1);
}

TS_ROUTINE(conv_im2col_strip4_chw_chw_f32)
{
    im2col(s, x[0], weights, bias, y, workspace, 4);
}
