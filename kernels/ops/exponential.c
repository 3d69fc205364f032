/* SPDX-License-Identifier: MIT-0
 *
 * Element by element, the operators made of exponentials: y = f(x).
 *
 *   x, y       any layout, the same for both, each with its pitch; may be the same memory
 */
#include "ts_exp.h"
#include "ts_runs.h"

enum exponential { EXP, SIGMOID, TANH, ELU };

TS_INLINE ts_vec exponential_of(enum exponential op, ts_vec v, ts_vec alpha)
{
    switch (op) {
    case EXP:
        return ts_exp(v);
    case SIGMOID:
        return ts_sigmoid(v);
    case TANH:
        return ts_tanh(v);
    case ELU: /* one of the two terms is zero; NaN stays in both */
        return ts_max(ts_zero(), v) + alpha * ts_expm1_negative(ts_min(ts_zero(), v));
    }
    return v;
}

TS_INLINE void exponential(const struct ts_shape *s, const float *x, float *y, enum exponential op,
                           enum ts_layout layout)
{
    const ts_vec alpha = ts_splat(s->alpha);
    const struct ts_runs r = ts_runs_of(s, layout);
    for (ptrdiff_t run = 0; run < r.count; run++) {
        const float *from = x + run * r.x_step;
        float *to = y + run * r.y_step;
        for (ptrdiff_t i = 0; i < r.n; i += TS_VL) {
            ptrdiff_t count = r.n - i < TS_VL ? r.n - i : TS_VL;
            ts_store_lanes(to + i, exponential_of(op, ts_load_lanes(from + i, count), alpha), count);
        }
    }
    ts_zero_padding_of(s, layout, y);
}

#define EXPONENTIAL(op, OP, name, layout)                                                                              \
    TS_ROUTINE(op##_elementwise_##name##_##name##_f32)                                                                 \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        exponential(s, x[0], y, OP, layout);                                                                           \
    }
#define EACH_EXPONENTIAL(name, layout)                                                                                 \
    EXPONENTIAL(exp, EXP, name, layout)                                                                                \
    EXPONENTIAL(sigmoid, SIGMOID, name, layout)                                                                        \
    EXPONENTIAL(tanh, TANH, name, layout)                                                                              \
    EXPONENTIAL(elu, ELU, name, layout)

TS_EACH_LAYOUT(EACH_EXPONENTIAL)
