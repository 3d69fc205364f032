/* SPDX-License-Identifier: MIT-0
 *
 * Element by element, the operators that need the C mathematics library: y = f(x).
 *
 *   x, y       any layout, the same for both, each with its pitch; may be the same memory
 */
#include <math.h>

#include "ts_runs.h"

enum transcendental { LOG, SQRT };

TS_INLINE void transcendental(const struct ts_shape *s, const float *x, float *y, enum transcendental op,
                              enum ts_layout layout)
{
    const struct ts_runs r = ts_runs_of(s, layout);
    for (ptrdiff_t run = 0; run < r.count; run++) {
        const float *from = x + run * r.x_step;
        float *to = y + run * r.y_step;
        for (ptrdiff_t i = 0; i < r.n; i++)
            to[i] = op == LOG ? logf(from[i]) : sqrtf(from[i]);
    }
    ts_zero_padding_of(s, layout, y); /* log 0 */
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
