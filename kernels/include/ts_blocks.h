/* SPDX-License-Identifier: MIT-0
 *
 * One view of all four layouts: [blocks][h][w][lanes].
 *
 *   chw      c blocks of 1 lane        chw8c    ceil(c/8) blocks of 8 lanes
 *   hwc      1 block of c lanes        chw16c   ceil(c/16) blocks of 16 lanes
 *
 * A routine is written once over (blocks, pixels, lanes) and instantiated with a literal layout, so the compiler
 * sees constant lanes wherever there are any.
 *
 * Invariant: the padding channels of a blocked tensor, the lanes past c of its last block, are zero. Every routine
 * may rely on it and keeps it; one whose formula turns 0 into something else ends with ts_zero_padding.
 */
#ifndef TS_BLOCKS_H
#define TS_BLOCKS_H

#include "ts_vec.h"

enum ts_layout { TS_HWC = 0, TS_CHW = 1, TS_CHW8C = 8, TS_CHW16C = 16 };

#define TS_EACH_LAYOUT(ENTRY) ENTRY(chw, TS_CHW) ENTRY(hwc, TS_HWC) ENTRY(chw8c, TS_CHW8C) ENTRY(chw16c, TS_CHW16C)

TS_INLINE ptrdiff_t ts_lanes(enum ts_layout layout, int32_t c)
{
    return layout == TS_HWC ? c : (ptrdiff_t)layout;
}

TS_INLINE ptrdiff_t ts_blocks(enum ts_layout layout, int32_t c)
{
    ptrdiff_t lanes = ts_lanes(layout, c);
    return (c + lanes - 1) / lanes;
}

/* Floats from a pixel to the next, and from a block to the next, of a tensor of pitch `pitch` (ts.h). In hwc there is
 * one block, and its step is never used. */
TS_INLINE ptrdiff_t ts_pixel_step(enum ts_layout layout, int32_t pitch)
{
    return layout == TS_HWC ? pitch : (ptrdiff_t)layout;
}

TS_INLINE ptrdiff_t ts_block_step(enum ts_layout layout, int32_t pitch)
{
    return layout == TS_HWC ? 0 : (ptrdiff_t)pitch * (ptrdiff_t)layout;
}

/* Floats of a tensor of `c` channels and `pixels` = h * w. */
TS_INLINE ptrdiff_t ts_elems(enum ts_layout layout, int32_t c, ptrdiff_t pixels)
{
    return ts_blocks(layout, c) * ts_lanes(layout, c) * pixels;
}

TS_INLINE void ts_copy(float *y, const float *x, ptrdiff_t n)
{
    memcpy(y, x, (size_t)n * sizeof(float));
}

TS_INLINE void ts_fill(float *y, ptrdiff_t n, float value)
{
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] = value;
}

/* Restores the invariant in a tensor whose every lane was written. */
TS_INLINE void ts_zero_padding(enum ts_layout layout, float *y, int32_t c, ptrdiff_t pixels)
{
    ptrdiff_t lanes = ts_lanes(layout, c), used = c % lanes;
    if (used == 0)
        return;
    float *last = y + (c / lanes) * pixels * lanes;
    for (ptrdiff_t p = 0; p < pixels; p++)
        for (ptrdiff_t l = used; l < lanes; l++)
            last[p * lanes + l] = 0.0f;
}

/* The first n lanes of a vector, 1 <= n <= TS_VL. Half of an AVX-512 vector, one pixel of chw8c, is one load; other
 * n < TS_VL are the ragged end of a row. Lanes past n hold something finite or a repetition. */
TS_INLINE ts_vec ts_load_lanes(const float *p, ptrdiff_t n)
{
    if (n == TS_VL)
        return ts_load(p);
#if TS_VL == 16 && (defined(__clang__) || __GNUC__ >= 12)
    if (n == 8) {
        typedef float half __attribute__((vector_size(32), aligned(4), may_alias));
        half v = *(const half *)p;
        return (ts_vec)__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    }
#endif
    return ts_load_part(p, (int32_t)n);
}

TS_INLINE void ts_store_lanes(float *p, ts_vec v, ptrdiff_t n)
{
    if (n == TS_VL) {
        ts_store(p, v);
        return;
    }
#if TS_VL == 16 && (defined(__clang__) || __GNUC__ >= 12)
    if (n == 8) {
        typedef float half __attribute__((vector_size(32), aligned(4), may_alias));
        *(half *)p = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
        return;
    }
#endif
    ts_store_part(p, v, (int32_t)n);
}

#endif
