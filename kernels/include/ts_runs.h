/* SPDX-License-Identifier: MIT-0
 *
 * A tensor as runs of consecutive floats, for routines to which it does not matter which element is which.
 *
 * Dense tensors are a single run. In hwc a pitch makes every pixel a run of channels, in the other layouts every plane
 * a run of pixels.
 */
#ifndef TS_RUNS_H
#define TS_RUNS_H

#include "ts_blocks.h"

/* `count` runs of `n` floats; from one to the next it is `x_step` floats in x[0], `y_step` in y. */
struct ts_runs {
    ptrdiff_t count, n, x_step, y_step;
};

TS_INLINE struct ts_runs ts_runs_of(const struct ts_shape *s, enum ts_layout layout)
{
    ptrdiff_t pixels = (ptrdiff_t)s->h * s->w;
    struct ts_runs r = {pixels, s->c, s->x_pitch, s->y_pitch};
    if (layout != TS_HWC) {
        r.count = ts_blocks(layout, s->c);
        r.n = pixels * (ptrdiff_t)layout;
        r.x_step = ts_block_step(layout, s->x_pitch);
        r.y_step = ts_block_step(layout, s->y_pitch);
    }
    if (r.x_step == r.n && r.y_step == r.n)
        return (struct ts_runs){1, r.count * r.n, 0, 0};
    return r;
}

/* As ts_zero_padding, of an output that may have a pitch. */
TS_INLINE void ts_zero_padding_of(const struct ts_shape *s, enum ts_layout layout, float *y)
{
    ptrdiff_t lanes = ts_lanes(layout, s->c);
    if (s->c % lanes != 0)
        ts_zero_padding(layout, y + s->c / lanes * ts_block_step(layout, s->y_pitch), (int32_t)(s->c % lanes),
                        (ptrdiff_t)s->h * s->w);
}

#endif
