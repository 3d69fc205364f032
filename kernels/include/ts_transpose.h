/* SPDX-License-Identifier: MIT-0
 *
 * Transposition of a matrix of floats, in squares of TS_VL x TS_VL held in registers.
 *
 * A square is transposed by log2(TS_VL) perfect shuffles of its rows: row i and row i + n/2 interleave into rows 2i
 * and 2i + 1. (H. S. Stone, "Parallel processing with the perfect shuffle", IEEE Trans. Computers C-20, 1971.)
 */
#ifndef TS_TRANSPOSE_H
#define TS_TRANSPOSE_H

#include "ts_vec.h"

#if TS_VL == 16
#define TS_LOW_LANES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define TS_HIGH_LANES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif TS_VL == 8
#define TS_LOW_LANES 0, 8, 1, 9, 2, 10, 3, 11
#define TS_HIGH_LANES 4, 12, 5, 13, 6, 14, 7, 15
#elif TS_VL == 4
#define TS_LOW_LANES 0, 4, 1, 5
#define TS_HIGH_LANES 2, 6, 3, 7
#endif

#if defined(__clang__)
#define TS_INTERLEAVE(a, b, ...) ((ts_vec)__builtin_shufflevector(a, b, __VA_ARGS__))
#else
#define TS_INTERLEAVE(a, b, ...) __builtin_shuffle(a, b, (ts_veci){__VA_ARGS__})
#endif

/* y[j * y_stride + i] = x[i * x_stride + j] for i, j < TS_VL. */
TS_INLINE void ts_transpose_square(float *y, ptrdiff_t y_stride, const float *x, ptrdiff_t x_stride)
{
#if TS_VL > 1
    ts_vec from[TS_VL], to[TS_VL];
    for (int i = 0; i < TS_VL; i++)
        from[i] = ts_load(x + i * x_stride);
    for (int done = 1; done < TS_VL; done *= 2) {
        for (int i = 0; i < TS_VL / 2; i++) {
            to[2 * i] = TS_INTERLEAVE(from[i], from[i + TS_VL / 2], TS_LOW_LANES);
            to[2 * i + 1] = TS_INTERLEAVE(from[i], from[i + TS_VL / 2], TS_HIGH_LANES);
        }
        for (int i = 0; i < TS_VL; i++)
            from[i] = to[i];
    }
    for (int i = 0; i < TS_VL; i++)
        ts_store(y + i * y_stride, from[i]);
#else
    (void)x_stride;
    (void)y_stride;
    *y = *x;
#endif
}

/* y[j * y_stride + i] = x[i * x_stride + j] for i < rows, j < cols. Writes nothing else. */
TS_INLINE void ts_transpose(float *y, ptrdiff_t y_stride, const float *x, ptrdiff_t x_stride, ptrdiff_t rows,
                            ptrdiff_t cols)
{
    ptrdiff_t whole_rows = rows / TS_VL * TS_VL, whole_cols = cols / TS_VL * TS_VL;
    for (ptrdiff_t i = 0; i < whole_rows; i += TS_VL) {
        for (ptrdiff_t j = 0; j < whole_cols; j += TS_VL)
            ts_transpose_square(y + j * y_stride + i, y_stride, x + i * x_stride + j, x_stride);
        for (ptrdiff_t j = whole_cols; j < cols; j++)
            for (ptrdiff_t k = i; k < i + TS_VL; k++)
                y[j * y_stride + k] = x[k * x_stride + j];
    }
    for (ptrdiff_t j = 0; j < cols; j++)
        for (ptrdiff_t i = whole_rows; i < rows; i++)
            y[j * y_stride + i] = x[i * x_stride + j];
}

#endif
