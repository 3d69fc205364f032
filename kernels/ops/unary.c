/* SPDX-License-Identifier: MIT-0
 *
 * Element by element, the operators that need only arithmetic: y = f(x).
 *
 *   x, y       any layout, the same for both, each with its pitch; may be the same memory
 *
 * The order of elements does not matter, so all layouts are one loop over the runs of the tensor.
 */
#include "ts_runs.h"

enum unary { CLAMP, NEG, ABS, LEAKY_RELU, HARD_SIGMOID, HARD_SWISH };

TS_INLINE ts_vec unary_of(enum unary op, ts_vec v, ts_vec lo, ts_vec hi, ts_vec alpha, ts_vec beta)
{
    const ts_vec zero = ts_zero(), one = ts_splat(1.0f);
    switch (op) {
    case CLAMP:
        return ts_clamp_vec(v, lo, hi);
    case NEG:
        return -v;
    case ABS:
        return ts_max(v, -v);
    case LEAKY_RELU: /* one of the two terms is zero; NaN stays in both */
        return ts_max(zero, v) + alpha * ts_min(zero, v);
    case HARD_SIGMOID:
        return ts_clamp_vec(ts_fma(v, alpha, beta), zero, one);
    case HARD_SWISH:
        return v * ts_clamp_vec(ts_fma(v, ts_splat(1.0f / 6.0f), ts_splat(0.5f)), zero, one);
    }
    return v;
}

TS_INLINE void unary(const struct ts_shape *s, const float *x, float *y, enum unary op, enum ts_layout layout)
{
    const ts_vec lo = ts_splat(s->lo), hi = ts_splat(s->hi), alpha = ts_splat(s->alpha), beta = ts_splat(s->beta);
    const struct ts_runs r = ts_runs_of(s, layout);
    for (ptrdiff_t run = 0; run < r.count; run++) {
        const float *from = x + run * r.x_step;
        float *to = y + run * r.y_step;
        ptrdiff_t i = 0;
        for (; i + TS_VL <= r.n; i += TS_VL)
            ts_store(to + i, unary_of(op, ts_load(from + i), lo, hi, alpha, beta));
        int32_t rest = (int32_t)(r.n - i);
        if (rest > 0)
            ts_store_part(to + i, unary_of(op, ts_load_part(from + i, rest), lo, hi, alpha, beta), rest);
    }
    ts_zero_padding_of(s, layout, y);
}

#define UNARY(op, OP, name, layout)                                                                                    \
    TS_ROUTINE(op##_elementwise_##name##_##name##_f32)                                                                 \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        unary(s, x[0], y, OP, layout);                                                                                 \
    }
#define EACH_UNARY(name, layout)                                                                                       \
    UNARY(clamp, CLAMP, name, layout)                                                                                  \
    UNARY(neg, NEG, name, layout)                                                                                      \
    UNARY(abs, ABS, name, layout)                                                                                      \
    UNARY(leaky_relu, LEAKY_RELU, name, layout)                                                                        \
    UNARY(hard_sigmoid, HARD_SIGMOID, name, layout)                                                                    \
    UNARY(hard_swish, HARD_SWISH, name, layout)

TS_EACH_LAYOUT(EACH_UNARY)
