/* SPDX-License-Identifier: MIT-0
 *
 * Element by element, the operators that need the C mathematics library: y = f(x).
 *
 *   x, y       any layout, the same for both; may be the same memory
 */
#include <math.h>

#include "ts_blocks.h"

enum transcendental { LOG, SQRT };

TS_INLINE void transcendental(const struct ts_shape *s, const float *x, float *y, enum transcendental op,
                              enum ts_layout layout)
{
    ptrdiff_t pixels = (ptrdiff_t)s->h * s->w, n = ts_elems(layout, s->c, pixels);
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] = op == LOG ? logf(x[i]) : sqrtf(x[i]);
    ts_zero_padding(layout, y, s->c, pixels); /* log 0 */
}

#define EACH_TRANSCENDENTAL(name, layout)                                                                              \
    TS_ROUTINE(log_elementwise_##name##_##name##_f32)                                                                  \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        transcendental(s, x[0], y, LOG, layout);                                                                       \
    }                                                                                                                  \
    TS_ROUTINE(sqrt_elementwise_##name##_##name##_f32)                                                                 \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        transcendental(s, x[0], y, SQRT, layout);                                                                      \
    }

TS_EACH_LAYOUT(EACH_TRANSCENDENTAL)
