/* SPDX-License-Identifier: MIT-0
 *
 * Transposition of a matrix of floats, in squares of TS_VL x TS_VL held in registers.
 *
 * A square is transposed by log2(TS_VL) perfect shuffles of its rows: row i and row i + n/2 interleave into rows 2i
 * and 2i + 1. (H. S. Stone, "Parallel processing with the perfect shuffle", IEEE Trans. Computers C-20, 1971.)
 */
#ifndef TS_TRANSPOSE_H
#define TS_TRANSPOSE_H

#include "ts_blocks.h"

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

/* y[j * y_stride + i] = i < rows ? x[i * x_stride + j] : 0 for i < lanes, j < cols; 1 <= rows <= lanes <= TS_VL and
 * 1 <= cols <= TS_VL. Reads and writes nothing else. */
TS_INLINE void ts_transpose_square(float *y, ptrdiff_t y_stride, const float *x, ptrdiff_t x_stride, ptrdiff_t rows,
                                   ptrdiff_t cols, ptrdiff_t lanes)
{
#if TS_VL > 1
    ts_vec from[TS_VL], to[TS_VL];
    for (int i = 0; i < TS_VL; i++)
        from[i] = i < rows ? ts_load_lanes(x + i * x_stride, cols) : ts_zero();
    for (int done = 1; done < TS_VL; done *= 2) {
        for (int i = 0; i < TS_VL / 2; i++) {
            to[2 * i] = TS_INTERLEAVE(from[i], from[i + TS_VL / 2], TS_LOW_LANES);
            to[2 * i + 1] = TS_INTERLEAVE(from[i], from[i + TS_VL / 2], TS_HIGH_LANES);
        }
        for (int i = 0; i < TS_VL; i++)
            from[i] = to[i];
    }
    for (int j = 0; j < TS_VL; j++)
        if (j < cols)
            ts_store_lanes(y + j * y_stride, from[j], lanes);
#else
    (void)x_stride, (void)y_stride, (void)rows, (void)cols, (void)lanes;
    *y = *x;
#endif
}

/* Up to TS_VL rows of ts_transpose. Where a last square would reach past the rows it repeats columns of the one before
 * it. A few columns, and rows shorter than a square, go quicker float by float than through TS_VL partial loads. */
TS_INLINE void ts_transpose_band(float *y, ptrdiff_t y_stride, const float *x, ptrdiff_t x_stride, ptrdiff_t rows,
                                 ptrdiff_t cols, ptrdiff_t lanes)
{
    ptrdiff_t j = 0;
    for (; j + TS_VL <= cols; j += TS_VL)
        ts_transpose_square(y + j * y_stride, y_stride, x + j, x_stride, rows, TS_VL, lanes);
    if (TS_VL == 16 && cols - j == TS_VL / 2) {
        ts_transpose_square(y + j * y_stride, y_stride, x + j, x_stride, rows, TS_VL / 2, lanes);
        return;
    }
    if (j > 0 && cols - j > TS_VL / 4) {
        j = cols - TS_VL;
        ts_transpose_square(y + j * y_stride, y_stride, x + j, x_stride, rows, TS_VL, lanes);
        return;
    }
    for (; j < cols; j++) {
        for (ptrdiff_t i = 0; i < rows; i++)
            y[j * y_stride + i] = x[i * x_stride + j];
        for (ptrdiff_t i = rows; i < lanes; i++)
            y[j * y_stride + i] = 0.0f;
    }
}

/* y[j * y_stride + i] = x[i * x_stride + j] for i < rows, j < cols, and 0 for rows <= i < lanes: the matrix may be
 * padded to whole blocks on the way. Writes nothing else. */
TS_INLINE void ts_transpose(float *y, ptrdiff_t y_stride, const float *x, ptrdiff_t x_stride, ptrdiff_t rows,
                            ptrdiff_t cols, ptrdiff_t lanes)
{
    ptrdiff_t i = 0;
    for (; i + TS_VL <= rows; i += TS_VL)
        ts_transpose_band(y + i, y_stride, x + i * x_stride, x_stride, TS_VL, cols, TS_VL);
    if (i < rows) {
        ptrdiff_t left = lanes - i < TS_VL ? lanes - i : TS_VL;
        ts_transpose_band(y + i, y_stride, x + i * x_stride, x_stride, rows - i, cols, left);
        i += left;
    }
    for (; i < lanes; i++)
        for (ptrdiff_t j = 0; j < cols; j++)
            y[j * y_stride + i] = 0.0f;
}

/* Less than TS_VL rows with nothing to pad. */
TS_ONCE void ts_transpose_few(float *y, ptrdiff_t y_stride, const float *x, ptrdiff_t x_stride, ptrdiff_t rows,
                              ptrdiff_t cols)
{
    ts_transpose_band(y, y_stride, x, x_stride, rows, cols, rows);
}

/* ts_transpose with nothing to pad, lanes = rows: the last band repeats rows of the one before it. */
TS_INLINE void ts_transpose_dense(float *y, ptrdiff_t y_stride, const float *x, ptrdiff_t x_stride, ptrdiff_t rows,
                                  ptrdiff_t cols)
{
    if (rows < TS_VL) {
        ts_transpose_few(y, y_stride, x, x_stride, rows, cols);
        return;
    }
    for (ptrdiff_t next = 0; next < rows; next += TS_VL) {
        const ptrdiff_t i = next + TS_VL <= rows ? next : rows - TS_VL;
        ts_transpose_band(y + i, y_stride, x + i * x_stride, x_stride, TS_VL, cols, TS_VL);
    }
}

/* The same where no argument is a literal. */
TS_ONCE void ts_transpose_matrix(float *y, ptrdiff_t y_stride, const float *x, ptrdiff_t x_stride, ptrdiff_t rows,
                                 ptrdiff_t cols)
{
    if (cols < TS_VL / 4) { /* the colours of pixels */
        for (ptrdiff_t j = 0; j < cols; j++)
            for (ptrdiff_t i = 0; i < rows; i++)
                y[j * y_stride + i] = x[i * x_stride + j];
        return;
    }
    ts_transpose_dense(y, y_stride, x, x_stride, rows, cols);
}

#endif
