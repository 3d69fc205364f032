/* SPDX-License-Identifier: MIT-0
 *
 * Element by element, two operands: y = clamp(a op b). The second is another activation or packed constants.
 *
 *   x, y       any layout, the same for all; y may be x[0]. x[0] and y have a pitch each, x[1] is dense
 *   weights    const_add, const_mul: one number per element, packed into the layout
 */
#include "ts_runs.h"

enum binary { ADD, SUB, MUL, DIV };

TS_INLINE ts_vec binary_of(enum binary op, ts_vec a, ts_vec b, ts_vec lo, ts_vec hi)
{
    switch (op) {
    case ADD:
        return ts_clamp_vec(a + b, lo, hi);
    case SUB:
        return ts_clamp_vec(a - b, lo, hi);
    case MUL:
        return ts_clamp_vec(a * b, lo, hi);
    case DIV:
        return ts_clamp_vec(a / b, lo, hi);
    }
    return a;
}

TS_INLINE void binary(const struct ts_shape *s, const float *a, const float *b, float *y, enum binary op,
                      enum ts_layout layout)
{
    float *whole = y;
    const ts_vec lo = ts_splat(s->lo), hi = ts_splat(s->hi);
    const struct ts_runs r = ts_runs_of(s, layout);
    for (ptrdiff_t run = 0; run < r.count; run++, a += r.x_step, b += r.n, y += r.y_step) {
        ptrdiff_t i = 0;
        for (; i + TS_VL <= r.n; i += TS_VL)
            ts_store(y + i, binary_of(op, ts_load(a + i), ts_load(b + i), lo, hi));
        int32_t rest = (int32_t)(r.n - i);
        if (rest > 0)
            ts_store_part(y + i, binary_of(op, ts_load_part(a + i, rest), ts_load_part(b + i, rest), lo, hi), rest);
    }
    ts_zero_padding_of(s, layout, whole);
}

#define BINARY(op, OP, name, layout)                                                                                   \
    TS_ROUTINE(op##_elementwise_##name##_##name##_f32)                                                                 \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        binary(s, x[0], x[1], y, OP, layout);                                                                          \
    }
#define CONSTANT(op, OP, name, layout)                                                                                 \
    TS_ROUTINE(op##_elementwise_##name##_##name##_f32)                                                                 \
    {                                                                                                                  \
        (void)bias, (void)workspace;                                                                                   \
        binary(s, x[0], weights, y, OP, layout);                                                                       \
    }
#define EACH_BINARY(name, layout)                                                                                      \
    BINARY(add, ADD, name, layout)                                                                                     \
    BINARY(sub, SUB, name, layout)                                                                                     \
    BINARY(mul, MUL, name, layout)                                                                                     \
    BINARY(div, DIV, name, layout)                                                                                     \
    CONSTANT(const_add, ADD, name, layout)                                                                             \
    CONSTANT(const_mul, MUL, name, layout)

TS_EACH_LAYOUT(EACH_BINARY)
