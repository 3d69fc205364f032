/* SPDX-License-Identifier: MIT-0
 *
 * Convolution by its definition: seven loops in scalar C, for any shape and any target.
 *
 *   x [c][h][w]    weights [m][c/group][kh][kw]    y [m][oh][ow]
 */
#include "ts.h"

static float window(const struct ts_shape *s, const float *x, const float *w, int32_t top, int32_t left)
{
    float sum = 0.0f;
    for (int32_t c = 0; c < s->c / s->group; c++, x += (ptrdiff_t)s->h * s->w)
        for (int32_t r = 0; r < s->kh; r++) {
            const int32_t iy = top + r * s->dilation_h;
            for (int32_t t = 0; t < s->kw; t++, w++) {
                const int32_t ix = left + t * s->dilation_w;
                if (iy >= 0 && iy < s->h && ix >= 0 && ix < s->w)
                    sum += *w * x[(ptrdiff_t)iy * s->w + ix];
            }
        }
    return sum;
}

TS_ROUTINE(conv_direct_plain_chw_chw_f32)
{
    (void)workspace;
    const int32_t cg = s->c / s->group, mg = s->m / s->group;
    const ptrdiff_t group_elems = (ptrdiff_t)cg * s->h * s->w, filter_elems = (ptrdiff_t)cg * s->kh * s->kw;
    for (int32_t m = 0; m < s->m; m++)
        for (int32_t oy = 0; oy < s->oh; oy++)
            for (int32_t ox = 0; ox < s->ow; ox++) {
                const float sum = window(s, x[0] + m / mg * group_elems, weights + m * filter_elems,
                                         oy * s->stride_h - s->pad_t, ox * s->stride_w - s->pad_l);
                *y++ = ts_clamp(sum + (bias ? bias[m] : 0.0f), s->lo, s->hi);
            }
}
