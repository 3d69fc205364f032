/* SPDX-License-Identifier: MIT-0
 *
 * The exponential function and its relatives on vectors, to about 2 units in the last place, without libm.
 *
 * exp x = 2^n e^r with n = round(x / ln 2) and |r| <= ln(2)/2; e^r is the polynomial of the Cephes library (Moshier
 * 1989, expf), and ln 2 is subtracted in two pieces so that r loses nothing. Overflow gives infinity, underflow
 * denormals or zero, NaN stays NaN.
 */
#ifndef TS_EXP_H
#define TS_EXP_H

#include "ts_vec.h"

#define TS_ROUNDER 12582912.0f /* 1.5 * 2^23: adding it leaves a whole number in the low bits */

/* 2^n for whole -126 <= n <= 127. */
#if TS_VL > 1
TS_INLINE ts_vec ts_power_of_two(ts_vec n)
{
    return (ts_vec)(((ts_veci)(n + ts_splat(TS_ROUNDER)) - 0x4B400000 + 127) << 23);
}
#else
TS_INLINE float ts_power_of_two(float n)
{
    uint32_t bits;
    float rounded = n + TS_ROUNDER;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits - 0x4B400000u + 127u) << 23;
    memcpy(&rounded, &bits, sizeof bits);
    return rounded;
}
#endif

TS_INLINE ts_vec ts_round(ts_vec v)
{
    const ts_vec rounder = ts_splat(TS_ROUNDER);
    return (v + rounder) - rounder;
}

TS_INLINE ts_vec ts_exp(ts_vec x)
{
    /* Beyond these the result is zero or infinity anyway; within, n fits the two powers below. */
    const ts_vec v = ts_clamp_vec(x, ts_splat(-104.0f), ts_splat(89.0f));
    const ts_vec n = ts_round(v * ts_splat(1.44269504f));
    const ts_vec r = ts_fma(n, ts_splat(2.12194440e-4f), ts_fma(n, ts_splat(-0.693359375f), v));
    ts_vec p = ts_splat(1.9875691500e-4f);
    p = ts_fma(p, r, ts_splat(1.3981999507e-3f));
    p = ts_fma(p, r, ts_splat(8.3334519073e-3f));
    p = ts_fma(p, r, ts_splat(4.1665795894e-2f));
    p = ts_fma(p, r, ts_splat(1.6666665459e-1f));
    p = ts_fma(p, r, ts_splat(5.0000001201e-1f));
    p = ts_fma(p, r * r, r) + ts_splat(1.0f);
    /* In two factors, because n itself may lie outside the exponents of a float. */
    const ts_vec half = ts_round(n * ts_splat(0.5f));
    return p * ts_power_of_two(half) * ts_power_of_two(n - half);
}

/* a where the mask is set, else b. */
#if TS_VL > 1
#define TS_PICK(mask, a, b) ((ts_vec)(((mask) & (ts_veci)(a)) | (~(mask) & (ts_veci)(b))))
#else
#define TS_PICK(mask, a, b) ((mask) ? (a) : (b))
#endif

/* 1 / (1 + e^-x), for negative x as e^x / (1 + e^x): nothing overflows, and tiny results keep their digits. */
TS_INLINE ts_vec ts_sigmoid(ts_vec x)
{
    const ts_vec e = ts_exp(ts_min(x, -x)), reciprocal = ts_splat(1.0f) / (ts_splat(1.0f) + e);
    return TS_PICK(x >= ts_zero(), reciprocal, e * reciprocal);
}

/* Near 0 the polynomial of Cephes tanhf, |x| <= 0.625; beyond, 1 - 2 / (e^2|x| + 1) with the sign of x. */
TS_INLINE ts_vec ts_tanh(ts_vec x)
{
    const ts_vec one = ts_splat(1.0f), two = ts_splat(2.0f), bound = ts_splat(0.625f);
    const ts_vec near = ts_clamp_vec(x, -bound, bound), square = near * near;
    ts_vec p = ts_splat(-5.70498872745e-3f);
    p = ts_fma(p, square, ts_splat(2.06390887954e-2f));
    p = ts_fma(p, square, ts_splat(-5.37397155531e-2f));
    p = ts_fma(p, square, ts_splat(1.33314422036e-1f));
    p = ts_fma(p, square, ts_splat(-3.33332819422e-1f));
    p = ts_fma(p * square, near, near);
    const ts_vec size = ts_max(x, -x), far = one - two / (ts_exp(two * size) + one);
    return TS_PICK(size > bound, TS_PICK(x < ts_zero(), -far, far), p);
}

/* e^x - 1 without cancellation near 0: with t = tanh(x/2) it is 2t / (1 - t). For x <= 0. */
TS_INLINE ts_vec ts_expm1_negative(ts_vec x)
{
    const ts_vec t = ts_tanh(x * ts_splat(0.5f));
    return (t + t) / (ts_splat(1.0f) - t);
}

#endif
