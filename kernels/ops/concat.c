/* SPDX-License-Identifier: MIT-0
 *
 * Joins the inputs along one axis.
 *
 *   x[i], y    the same layout, seen as [outer][extent along the axis][inner]; c, h, w are those of x[0], so every
 *              extent here comes from the output
 *
 * Each input gives one contiguous run per outer index. Along the channels of a blocked layout every part but the last
 * is a whole number of blocks (the declaration refuses others), so its run is whole blocks too.
 */
#include "ts_blocks.h"

TS_INLINE void concat(const struct ts_shape *s, const float *const *x, float *y, enum ts_layout layout)
{
    ptrdiff_t lanes = ts_lanes(layout, s->m), blocks = ts_blocks(layout, s->m), pixels = (ptrdiff_t)s->oh * s->ow;
    ptrdiff_t outer = 1, inner = pixels;
    if (s->axis == 1) {
        outer = blocks;
        inner = s->ow * lanes;
    } else if (s->axis == 2) {
        outer = blocks * s->oh;
        inner = lanes;
    } else if (layout == TS_HWC) {
        outer = pixels;
        inner = 1;
    }
    ptrdiff_t row = ts_elems(layout, s->m, pixels) / outer, offset = 0;
    for (int32_t i = 0; i < s->n_in; i++) {
        ptrdiff_t extent = s->parts[i];
        if (s->axis == 0 && layout != TS_HWC)
            extent = ts_blocks(layout, s->parts[i]) * lanes;
        ptrdiff_t run = extent * inner;
        for (ptrdiff_t o = 0; o < outer; o++)
            ts_copy(y + o * row + offset, x[i] + o * run, run);
        offset += run;
    }
}

#define EACH_CONCAT(name, layout)                                                                                      \
    TS_ROUTINE(concat_copy_##name##_##name##_f32)                                                                      \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        concat(s, x, y, layout);                                                                                       \
    }

TS_EACH_LAYOUT(EACH_CONCAT)
