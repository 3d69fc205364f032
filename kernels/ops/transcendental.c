/* SPDX-License-Identifier: MIT-0
 *
 * Element by element, the operators that need the C mathematics library: y = f(x).
 *
 *   x, y       any layout, the same for both; may be the same memory
 */
#include <math.h>

#include "ts_blocks.h"

enum transcendental { EXP, LOG, SQRT, SIGMOID, TANH, ELU };

TS_INLINE float transcendental_of(enum transcendental op, float v, float alpha)
{
    switch (op) {
    case EXP:
        return expf(v);
    case LOG:
        return logf(v);
    case SQRT:
        return sqrtf(v);
    case SIGMOID: /* of the non-positive number only: the exponential cannot overflow */
    {
        float e = expf(-fabsf(v));
        return (v >= 0.0f ? 1.0f : e) / (1.0f + e);
    }
    case TANH:
        return tanhf(v);
    case ELU:
        return v < 0.0f ? alpha * expm1f(v) : v;
    }
    return v;
}

TS_INLINE void transcendental(const struct ts_shape *s, const float *x, float *y, enum transcendental op,
                              enum ts_layout layout)
{
    const float alpha = s->alpha;
    ptrdiff_t pixels = (ptrdiff_t)s->h * s->w, n = ts_elems(layout, s->c, pixels);
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] = transcendental_of(op, x[i], alpha);
    ts_zero_padding(layout, y, s->c, pixels);
}

#define TRANSCENDENTAL(op, OP, name, layout)                                                                           \
    TS_ROUTINE(op##_elementwise_##name##_##name##_f32)                                                                 \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        transcendental(s, x[0], y, OP, layout);                                                                        \
    }
#define EACH_TRANSCENDENTAL(name, layout)                                                                              \
    TRANSCENDENTAL(exp, EXP, name, layout)                                                                             \
    TRANSCENDENTAL(log, LOG, name, layout)                                                                             \
    TRANSCENDENTAL(sqrt, SQRT, name, layout)                                                                           \
    TRANSCENDENTAL(sigmoid, SIGMOID, name, layout)                                                                     \
    TRANSCENDENTAL(tanh, TANH, name, layout)                                                                           \
    TRANSCENDENTAL(elu, ELU, name, layout)

TS_EACH_LAYOUT(EACH_TRANSCENDENTAL)
