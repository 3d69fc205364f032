/* SPDX-License-Identifier: MIT-0
 *
 * Slice and permute: y is x read along other strides.
 *
 *   slice      y[k][i][j] = x[start_c + k step_c][start_h + i step_h][start_w + j step_w]
 *   permute    output axis i is input axis perm[i]
 *   x, y       the same layout, each with its pitch
 *
 * In memory order y is a box of three axes; each walks x by a constant step. Unblocked layouts move single floats.
 * Blocked ones move whole blocks of lanes, which the declaration allows where no channel changes its lane.
 */
#include "ts_blocks.h"
#include "ts_transpose.h"

/* y [extent 0][extent 1][extent 2][unit], written in order; `step` are floats of x per index, `to` of y (the last one
 * is `unit`). */
struct walk {
    ptrdiff_t extent[3];
    ptrdiff_t step[3];
    ptrdiff_t to[2];
};

TS_INLINE void gather(float *y, const float *x, struct walk g, ptrdiff_t unit)
{
    for (ptrdiff_t a = 0; a < g.extent[0]; a++) {
        const float *plane = x + a * g.step[0];
        float *to = y + a * g.to[0];
        /* The middle axis is the contiguous one of x: its planes are transposed. */
        if (unit == 1 && g.step[1] == 1 && g.step[2] > 0) {
            ts_transpose_matrix(to, g.to[1], plane, g.step[2], g.extent[2], g.extent[1]);
            continue;
        }
        for (ptrdiff_t b = 0; b < g.extent[1]; b++) {
            const float *from = plane + b * g.step[1];
            if (g.step[2] == unit)
                ts_copy(to, from, g.extent[2] * unit);
            else
                for (ptrdiff_t c = 0; c < g.extent[2]; c++)
                    for (ptrdiff_t l = 0; l < unit; l++)
                        to[c * unit + l] = from[c * g.step[2] + l];
            to += g.to[1];
        }
    }
}

/* Output axes (c, h, w) in the memory order of the layout; the channel axis counts blocks where there are blocks. */
TS_INLINE struct walk in_memory_order(const struct ts_shape *s, enum ts_layout layout, const ptrdiff_t step[3])
{
    ptrdiff_t row = s->ow * ts_pixel_step(layout, s->y_pitch);
    if (layout == TS_HWC)
        return (struct walk){{s->oh, s->ow, s->m}, {step[1], step[2], step[0]}, {row, s->y_pitch}};
    return (struct walk){
        {ts_blocks(layout, s->m), s->oh, s->ow}, {step[0], step[1], step[2]}, {ts_block_step(layout, s->y_pitch), row}};
}

/* Floats of x per step along c (per block where there are blocks), h and w. */
TS_INLINE void input_steps(const struct ts_shape *s, enum ts_layout layout, ptrdiff_t step[3])
{
    step[0] = layout == TS_HWC ? 1 : ts_block_step(layout, s->x_pitch);
    step[2] = ts_pixel_step(layout, s->x_pitch);
    step[1] = s->w * step[2];
}

TS_INLINE void slice(const struct ts_shape *s, const float *x, float *y, enum ts_layout layout)
{
    ptrdiff_t step[3], unit = layout == TS_HWC ? 1 : (ptrdiff_t)layout;
    input_steps(s, layout, step);
    const float *from = x + s->start[0] / unit * step[0] + s->start[1] * step[1] + s->start[2] * step[2];
    for (int axis = 0; axis < 3; axis++)
        step[axis] *= s->step[axis];
    gather(y, from, in_memory_order(s, layout, step), unit);
    ptrdiff_t lanes = ts_lanes(layout, s->m);
    if (s->m % lanes != 0)
        ts_zero_padding(layout, y + s->m / lanes * ts_block_step(layout, s->y_pitch), (int32_t)(s->m % lanes),
                        (ptrdiff_t)s->oh * s->ow);
}

TS_INLINE void permute(const struct ts_shape *s, const float *x, float *y, enum ts_layout layout)
{
    ptrdiff_t from[3], step[3];
    input_steps(s, layout, from);
    for (int axis = 0; axis < 3; axis++)
        step[axis] = from[s->perm[axis]];
    gather(y, x, in_memory_order(s, layout, step), layout == TS_HWC ? 1 : (ptrdiff_t)layout);
}

#define EACH_GATHER(name, layout)                                                                                      \
    TS_ROUTINE(slice_copy_##name##_##name##_f32)                                                                       \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        slice(s, x[0], y, layout);                                                                                     \
    }                                                                                                                  \
    TS_ROUTINE(permute_copy_##name##_##name##_f32)                                                                     \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        permute(s, x[0], y, layout);                                                                                   \
    }

TS_EACH_LAYOUT(EACH_GATHER)
