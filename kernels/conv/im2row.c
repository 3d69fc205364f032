/* SPDX-License-Identifier: MIT-0
 *
 * im2row: the transposed im2col. One row per output pixel holds the patch under it, channels innermost.
 *
 *   x          [h][w][c] or [c][h][w]     packed  per group: column blocks of [kh][kw][c][m]
 *   y          [oh][ow][m]                workspace  [rows][ow][kh][kw][c], c of one group
 *
 * `strip` rows of the output are made at a time, all of them if 0. A unit-stride, unpadded 1x1 kernel reads hwc
 * pixels in place. Chellapilla, Puri & Simard 2006; channels-last as in Anderson & Gregg 2018.
 */
#include "ts_gemm.h"
#include "ts_row.h"

enum order { CHW, HWC };

/* The patch of one pixel, top left tap at (iy0, ix0); x at the group's first channel. */
TS_INLINE void gather_patch(const struct ts_shape *s, const float *x, int32_t iy0, int32_t ix0, float *patch,
                            enum order order)
{
    const int32_t group_c = s->c / s->group;
    const ptrdiff_t pixel = order == HWC ? s->c : 1, channel = order == HWC ? 1 : (ptrdiff_t)s->h * s->w;
    for (int32_t r = 0; r < s->kh; r++) {
        const int32_t iy = iy0 + r * s->dilation_h;
        const float *row = x + (ptrdiff_t)iy * s->w * pixel;
        for (int32_t q = 0; q < s->kw; q++, patch += group_c) {
            const int32_t ix = ix0 + q * s->dilation_w;
            if (iy < 0 || iy >= s->h || ix < 0 || ix >= s->w)
                ts_row_fill(patch, group_c, 0.0f);
            else if (order == HWC)
                memcpy(patch, row + ix * pixel, (size_t)group_c * sizeof(float));
            else
                for (int32_t ic = 0; ic < group_c; ic++)
                    patch[ic] = row[ix + ic * channel];
        }
    }
}

TS_INLINE void im2row(const struct ts_shape *s, const float *x, const float *weights, const float *bias, float *y,
                      float *workspace, int32_t strip, enum order order)
{
    const int32_t group_c = s->c / s->group, group_m = s->m / s->group, k = group_c * s->kh * s->kw;
    const int copy = strip || order == CHW || !ts_patches_are_input(s);
    for (int32_t g = 0; g < s->group; g++) {
        const float *group_x = x + (ptrdiff_t)g * group_c * (order == HWC ? 1 : (ptrdiff_t)s->h * s->w);
        const float *group_w = weights + (ptrdiff_t)g * group_m * k;
        const struct ts_gemm_end end = {bias + g * group_m, 0, s->lo, s->hi};
        for (int32_t row0 = 0; row0 < s->oh;) {
            const int32_t left = s->oh - row0, rows = strip && strip < left ? strip : left;
            float *strip_y = y + (ptrdiff_t)row0 * s->ow * s->m + g * group_m;
            if (copy)
                for (int32_t o = 0; o < rows * s->ow; o++)
                    gather_patch(s, group_x, (row0 + o / s->ow) * s->stride_h - s->pad_t,
                                 o % s->ow * s->stride_w - s->pad_l, workspace + (ptrdiff_t)o * k, order);
            ts_gemm_pixels(rows * s->ow, group_m, k, copy ? workspace : group_x, copy ? k : s->c, group_w, strip_y,
                           s->m, end);
            row0 += rows;
        }
    }
}

TS_ROUTINE(conv_im2row_hwc_hwc_f32)
{
    im2row(s, x[0], weights, bias, y, workspace, 0, HWC);
}

TS_ROUTINE(conv_im2row_strip1_hwc_hwc_f32)
{
    im2row(s, x[0], weights, bias, y, workspace, 1, HWC);
}

TS_ROUTINE(conv_im2row_strip4_hwc_hwc_f32)
{
    im2row(s, x[0], weights, bias, y, workspace, 4, HWC);
}

TS_ROUTINE(conv_im2row_chw_hwc_f32)
{
    im2row(s, x[0], weights, bias, y, workspace, 0, CHW);
}

TS_ROUTINE(conv_im2row_strip1_chw_hwc_f32)
{
    im2row(s, x[0], weights, bias, y, workspace, 1, CHW);
}

TS_ROUTINE(conv_im2row_strip4_chw_hwc_f32)
{
    im2row(s, x[0], weights, bias, y, workspace, 4, CHW);
}
