/* SPDX-License-Identifier: MIT-0
 *
 * MEC: lower only along the width. For each output column the strip of kw input columns under it is copied once for
 * all rows; the patches of one output row then lie inside these strips, and those of neighbouring rows overlap.
 *
 *   x          [h][w][c]          packed  per group: column blocks of [kh][kw][c][m]
 *   y          [oh][ow][m]        workspace  [ow][rows][kw][c], rows = (oh-1)*stride_h + kh, c of one group
 *
 * Needs dilation_h 1, otherwise a patch is not contiguous in its strip. Cho & Brand 2017.
 */
#include "ts_gemm.h"
#include "ts_row.h"

/* x at the group's first channel. */
static void lower(const struct ts_shape *s, const float *x, int32_t rows, float *strips)
{
    const int32_t c = s->c / s->group;
    for (int32_t ox = 0; ox < s->ow; ox++)
        for (int32_t r = 0; r < rows; r++)
            for (int32_t q = 0; q < s->kw; q++, strips += c) {
                const int32_t iy = r - s->pad_t, ix = ox * s->stride_w + q * s->dilation_w - s->pad_l;
                if (iy < 0 || iy >= s->h || ix < 0 || ix >= s->w)
                    ts_row_fill(strips, c, 0.0f);
                else
                    memcpy(strips, x + ((ptrdiff_t)iy * s->w + ix) * s->c, (size_t)c * sizeof(float));
            }
}

TS_ROUTINE(conv_mec_hwc_hwc_f32)
{
    const int32_t m = s->m / s->group, c = s->c / s->group;
    const int32_t row = s->kw * c, k = s->kh * row, rows = (s->oh - 1) * s->stride_h + s->kh;
    for (int32_t g = 0; g < s->group; g++) {
        const struct ts_gemm_end end = {bias + g * m, 0, s->lo, s->hi};
        lower(s, x[0] + g * c, rows, workspace);
        for (int32_t oy = 0; oy < s->oh; oy++)
            ts_gemm_pixels(s->ow, m, k, workspace + (ptrdiff_t)oy * s->stride_h * row, (ptrdiff_t)rows * row,
                           weights + (ptrdiff_t)g * m * k, y + (ptrdiff_t)oy * s->ow * s->m + g * m, s->m, end);
    }
}
