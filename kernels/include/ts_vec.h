/* SPDX-License-Identifier: MIT-0
 *
 * Vectors of floats in GCC/Clang vector types, as wide as the target's registers; plain float where it has none.
 *
 *   TS_VL           floats per vector (16 AVX-512, 8 AVX, 4 SSE or NEON, 1 otherwise)
 *   ts_vec          the vector type: aligned as a float, may alias float
 *   ts_load/ts_store/ts_splat/ts_zero, ts_load_part/ts_store_part for the first n < TS_VL lanes
 *   ts_fma(a,b,c)   a*b + c, contracted to one instruction where the target has one
 *
 * Include this before any function definition: the pragmas below set how the file is compiled.
 * Widths the target lacks are never emulated: a 64-byte vector compiled for AVX2 runs at a few percent of peak.
 */
#ifndef TS_VEC_H
#define TS_VEC_H

/* How these files are compiled, whatever the command line says; each line answers a measured loss
 * (docs/decisions/013-compiler-traps). The sums here have no order that the operator defines, so one rounding less per
 * product is allowed; everything else is as written, because the transforms and the exponential cancel on purpose, and
 * NaN and infinity are values. */
#if defined(__clang__)
#if defined(__x86_64__) || defined(__i386__)
#pragma float_control(precise, on) /* elsewhere clang 14 has only the half of it that follows */
#endif
#pragma clang fp reassociate(off)
#pragma STDC FP_CONTRACT ON
#elif defined(__GNUC__)
/* Contraction is off under -std=c11. The scheduler before register allocation, off on x86 but on elsewhere, lengthens
 * live ranges and spills the accumulators. */
#pragma GCC optimize("no-fast-math", "fp-contract=fast", "no-schedule-insns")
#if defined(__arm__) && defined(__ARM_NEON)
/* ARMv7 NEON flushes denormals, so gcc uses it for floats only when told that this is allowed. */
#pragma GCC optimize("unsafe-math-optimizations", "no-associative-math", "no-reciprocal-math", "signed-zeros")
#endif
#endif

#include <string.h>

#include "ts.h" /* after the pragmas: a function compiled by other rules is not inlined */

#if defined(TS_SCALAR) /* the plain C of targets without vectors, for testing it where there are some */
#define TS_VL 1
#elif defined(__AVX512F__)
#define TS_VL 16
#elif defined(__AVX__)
#define TS_VL 8
#elif defined(__SSE2__) || defined(__ARM_NEON)
#define TS_VL 4
#else
#define TS_VL 1
#endif

#if TS_VL > 1 && (defined(__GNUC__) || defined(__clang__))
typedef float ts_vec __attribute__((vector_size(4 * TS_VL), aligned(4), may_alias));
typedef int32_t ts_veci __attribute__((vector_size(4 * TS_VL)));
#else
#undef TS_VL
#define TS_VL 1
typedef float ts_vec;
#endif

#if defined(__GNUC__) || defined(__clang__)
#define TS_INLINE static inline __attribute__((always_inline))
/* One body shared by all callers, neither copied into them nor cloned for the constants they pass. */
#if defined(__clang__)
#define TS_ONCE static __attribute__((noinline))
#else
#define TS_ONCE static __attribute__((noinline, noclone))
#endif
#else
#define TS_INLINE static inline
#define TS_ONCE static
#endif

/* Before a loop whose body fills the registers: clang unrolls it otherwise, and spills. gcc needs no telling. */
#if defined(__clang__)
#define TS_NO_UNROLL _Pragma("clang loop unroll(disable)")
#define TS_PLAIN_LOOP _Pragma("clang loop unroll(disable) vectorize(disable)") /* rare work: keep it small */
#else
#define TS_NO_UNROLL
#define TS_PLAIN_LOOP
#endif

/* Hides how an integer or a pointer was computed, so that nothing derived from it is computed ahead and spilled. */
#if defined(__GNUC__) || defined(__clang__)
#define TS_OPAQUE(p) __asm__("" : "+r"(p))
#else
#define TS_OPAQUE(p) (void)(p)
#endif

/* Of an index of several pointers: only where loads add it for nothing. Elsewhere each pointer is stepped instead, and
 * the loop of its own that gcc makes for steps of 1 saves an addition per load (ARMv7: 24 instructions, not 32). */
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__)
#define TS_OPAQUE_INDEX(i) TS_OPAQUE(i)
#else
#define TS_OPAQUE_INDEX(i) (void)(i)
#endif

/* Asks for the line `floats` after p to be brought into the second-level cache. Not an access: it may lie anywhere. */
#if TS_VL > 1
#define TS_PREFETCH(p, floats)                                                                                         \
    __builtin_prefetch((const void *)((uintptr_t)(p) + sizeof(float) * (size_t)(floats)), 0, 2)
#else
#define TS_PREFETCH(p, floats) (void)(p), (void)(floats)
#endif

TS_INLINE ts_vec ts_load(const float *p)
{
    return *(const ts_vec *)p;
}

TS_INLINE void ts_store(float *p, ts_vec v)
{
    *(ts_vec *)p = v;
}

TS_INLINE ts_vec ts_splat(float f)
{
#if TS_VL > 1
    return f - (ts_vec){0}; /* one broadcast; f + 0 would need an addition, because -0 + 0 is +0 */
#else
    return f;
#endif
}

TS_INLINE ts_vec ts_zero(void)
{
    return ts_splat(0.0f);
}

TS_INLINE ts_vec ts_fma(ts_vec a, ts_vec b, ts_vec c)
{
    return a * b + c;
}

/* a > b ? a : b in every lane, so b where one is NaN. gcc 12 does not find the instruction by itself. */
TS_INLINE ts_vec ts_max(ts_vec a, ts_vec b)
{
#if TS_VL == 1
    return a > b ? a : b;
#elif defined(__clang__) || !defined(__SSE2__)
    ts_veci take_a = a > b;
    return (ts_vec)((take_a & (ts_veci)a) | (~take_a & (ts_veci)b));
#elif TS_VL == 16
    return __builtin_ia32_maxps512_mask(a, b, a, -1, 4);
#elif TS_VL == 8
    return __builtin_ia32_maxps256(a, b);
#else
    return __builtin_ia32_maxps(a, b);
#endif
}

/* a < b ? a : b in every lane. */
TS_INLINE ts_vec ts_min(ts_vec a, ts_vec b)
{
#if TS_VL == 1
    return a < b ? a : b;
#elif defined(__clang__) || !defined(__SSE2__)
    ts_veci take_a = a < b;
    return (ts_vec)((take_a & (ts_veci)a) | (~take_a & (ts_veci)b));
#elif TS_VL == 16
    return __builtin_ia32_minps512_mask(a, b, a, -1, 4);
#elif TS_VL == 8
    return __builtin_ia32_minps256(a, b);
#else
    return __builtin_ia32_minps(a, b);
#endif
}

/* lo and hi are splats. NaN stays NaN, as in ts_clamp: every comparison with it is false and picks v. */
TS_INLINE ts_vec ts_clamp_vec(ts_vec v, ts_vec lo, ts_vec hi)
{
    return ts_min(hi, ts_max(lo, v));
}

/* Vectors of at most 8 floats: halves on AVX-512, for as few channels, elsewhere the vector itself. */
#if TS_VL == 16
#define TS_HALF_VL 8
typedef float ts_half __attribute__((vector_size(32), aligned(4), may_alias));
#else
#define TS_HALF_VL TS_VL
typedef ts_vec ts_half;
#endif

TS_INLINE ts_half ts_load_half(const float *p)
{
    return *(const ts_half *)p;
}

TS_INLINE void ts_store_half(float *p, ts_half v)
{
    *(ts_half *)p = v;
}

TS_INLINE ts_half ts_splat_half(float f)
{
#if TS_VL == 16
    return f - (ts_half){0};
#else
    return ts_splat(f);
#endif
}

TS_INLINE ts_half ts_fma_half(ts_half a, ts_half b, ts_half c)
{
    return a * b + c;
}

/* As ts_clamp_vec. */
TS_INLINE ts_half ts_clamp_half(ts_half v, ts_half lo, ts_half hi)
{
#if TS_VL < 16
    return ts_clamp_vec(v, lo, hi);
#elif defined(__clang__)
    typedef int32_t lanes __attribute__((vector_size(32)));
    lanes take = lo > v;
    v = (ts_half)((take & (lanes)lo) | (~take & (lanes)v));
    take = hi < v;
    return (ts_half)((take & (lanes)hi) | (~take & (lanes)v));
#else
    return __builtin_ia32_minps256(hi, __builtin_ia32_maxps256(lo, v));
#endif
}

/* First n floats in pieces of fixed size, so that no library call is made. 0 <= n < 16. */
TS_INLINE void ts_copy_few(float *to, const float *from, int32_t n)
{
    if (n & 8) {
        memcpy(to, from, 8 * sizeof(float));
        to += 8;
        from += 8;
    }
    if (n & 4) {
        memcpy(to, from, 4 * sizeof(float));
        to += 4;
        from += 4;
    }
    if (n & 2) {
        memcpy(to, from, 2 * sizeof(float));
        to += 2;
        from += 2;
    }
    if (n & 1)
        *to = *from;
}

/* First n lanes, 0 <= n < TS_VL; the others are zero. Reads and writes exactly n floats. */
TS_INLINE ts_vec ts_load_part(const float *p, int32_t n)
{
    float lanes[16] = {0}; /* all that ts_copy_few could write: without optimisation the mask proves nothing */
    ts_copy_few(lanes, p, n & (TS_VL - 1)); /* the mask tells the compiler what n can be */
    return ts_load(lanes);
}

TS_INLINE void ts_store_part(float *p, ts_vec v, int32_t n)
{
    float lanes[16];
    ts_store(lanes, v);
    ts_copy_few(p, lanes, n & (TS_VL - 1));
}

#endif
