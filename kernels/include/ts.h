/* SPDX-License-Identifier: MIT-0
 *
 * The C vocabulary of the kernels: one shape struct, one routine signature.
 *
 * Every routine computes one operator on one image:
 *
 *   void TS_SYMBOL(name)(const struct ts_shape *s, const float *const *x, const float *weights,
 *                        const float *bias, float *y, float *workspace);
 *
 *   x          one pointer per activation input, in the routine's in-layout
 *   weights    packed at export as the routine's declaration says; NULL if it has none
 *   bias       likewise
 *   y          the output, in the routine's out-layout
 *   workspace  exactly the declared number of floats, contents undefined before and after; NULL if none
 *
 * No routine allocates, keeps state, or touches anything but y and workspace. Pointers need only the
 * alignment of float. In a blocked layout the padding channels of every tensor are zero: a routine may rely on it and
 * keeps it (ts_blocks.h). Input, output and workspace do not overlap unless the declaration says in_place.
 *
 * A conv with n_in = 2 adds x[1], a tensor like y (layout, dims, pitch), before the clamp; y may be that very tensor.
 * Pitches make a tensor part of a larger one: x_pitch of x[0], y_pitch of y. What lies between its parts belongs to
 * somebody else: a routine neither writes it nor lets its values (they may be NaN) reach an output.
 */
#ifndef TS_H
#define TS_H

#include <stddef.h>
#include <stdint.h>

#include "ts_config.h" /* defines TS_SYMBOL(name): the prefix of this build's external names */

/* Geometry: input 0 is (c, h, w), output is (m, oh, ow). Fields as in kernels/spec.py (Shape, Attrs). */
struct ts_shape {
    int32_t c, h, w;
    int32_t m, oh, ow;
    int32_t kh, kw;
    int32_t stride_h, stride_w;
    int32_t pad_t, pad_l, pad_b, pad_r;
    int32_t dilation_h, dilation_w;
    int32_t group;
    int32_t axis; /* 0 = c, 1 = h, 2 = w */
    int32_t count_include_pad;
    int32_t n_in;
    const int32_t *parts;      /* concat: extent of each input along axis; NULL otherwise */
    int32_t start[3], step[3]; /* slice, pad: (c, h, w) */
    int32_t perm[3];
    int32_t x_pitch, y_pitch; /* hwc: channels from pixel to pixel; others: pixels from plane to plane; never 0 */
    float lo, hi;             /* clamp of every output; -INFINITY, INFINITY for none */
    float alpha, beta, gamma;
};

typedef void ts_routine(const struct ts_shape *s, const float *const *x, const float *weights, const float *bias,
                        float *y, float *workspace);

/* Declared first, so that no firmware's -Wmissing-prototypes objects. */
#define TS_ROUTINE(name)                                                                                               \
    ts_routine TS_SYMBOL(name);                                                                                        \
    void TS_SYMBOL(name)(const struct ts_shape *s, const float *const *x, const float *weights, const float *bias,     \
                         float *y, float *workspace)

static inline float ts_clamp(float v, float lo, float hi)
{
    v = v < lo ? lo : v;
    return v > hi ? hi : v;
}

#endif
