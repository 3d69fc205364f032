/* SPDX-License-Identifier: MIT-0
 *
 * Dense layer y = clamp(W x + b): bound by reading W once, so eight or twelve of its rows are read side by side,
 * which keeps as many hardware prefetchers busy. Goto & van de Geijn 2008.
 *
 *   x        k floats in the order of memory of the in-layout, padding channels included
 *   weights  [m][k] in that order, zero for padding channels
 */
#include "ts_vec.h"

#define DENSE_ROWS_MAX 12
#define DENSE_EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11)
#define DENSE_START(r)                                                                                                 \
    ts_vec a##r = ts_zero();                                                                                           \
    const float *w##r = w + (rows > r ? r : 0) * k;
#define DENSE_STEP(r)                                                                                                  \
    if (rows > r)                                                                                                      \
        a##r = ts_fma(ts_load(w##r + i), xi, a##r);
#define DENSE_LAST(r)                                                                                                  \
    if (rows > r)                                                                                                      \
        a##r = ts_fma(ts_load_part(w##r + i, tail), xi, a##r);
#define DENSE_KEEP(r)                                                                                                  \
    if (rows > r)                                                                                                      \
        ts_store(lanes + r * TS_VL, a##r);

/* sums[r] = sum over k of w[r][k] x[k]. rows is a literal. */
TS_INLINE void dense_rows(const int rows, const float *w, const float *x, ptrdiff_t k, float *sums)
{
    float lanes[DENSE_ROWS_MAX * TS_VL];
    const int32_t tail = (int32_t)(k % TS_VL);
    ptrdiff_t i = 0;
    DENSE_EACH(DENSE_START)
    for (; i < k - tail; i += TS_VL) {
        const ts_vec xi = ts_load(x + i);
        DENSE_EACH(DENSE_STEP)
    }
    if (tail) {
        const ts_vec xi = ts_load_part(x + i, tail);
        DENSE_EACH(DENSE_LAST)
    }
    DENSE_EACH(DENSE_KEEP)
    for (int32_t r = 0; r < rows; r++) {
        float sum = 0.0f;
        for (int32_t lane = 0; lane < TS_VL; lane++)
            sum += lanes[r * TS_VL + lane];
        sums[r] = sum;
    }
}

/* Blocks of `rows` rows, then single rows. */
TS_INLINE void dense(const int rows, const struct ts_shape *s, const float *x, const float *w, const float *bias,
                     float *y, int32_t block)
{
    const ptrdiff_t k = (ptrdiff_t)(s->c + block - 1) / block * block * s->h * s->w;
    for (int32_t m = 0, count; m < s->m; m += count, w += count * k) {
        float sums[DENSE_ROWS_MAX];
        count = s->m - m < rows ? 1 : rows;
        if (count == rows)
            dense_rows(rows, w, x, k, sums);
        else
            dense_rows(1, w, x, k, sums);
        for (int32_t r = 0; r < count; r++)
            y[m + r] = ts_clamp(sums[r] + (bias ? bias[m + r] : 0.0f), s->lo, s->hi);
    }
}

TS_ONCE void dense_8(const struct ts_shape *s, const float *x, const float *w, const float *bias, float *y,
                     int32_t block)
{
    dense(8, s, x, w, bias, y, block);
}

TS_ONCE void dense_12(const struct ts_shape *s, const float *x, const float *w, const float *bias, float *y,
                      int32_t block)
{
    dense(12, s, x, w, bias, y, block);
}

#define DENSE(name, rows, block)                                                                                       \
    TS_ROUTINE(name)                                                                                                   \
    {                                                                                                                  \
        (void)workspace;                                                                                               \
        dense_##rows(s, x[0], weights, bias, y, block);                                                                \
    }

DENSE(dense_rows_r8_chw_chw_f32, 8, 1)
DENSE(dense_rows_r8_hwc_chw_f32, 8, 1)
DENSE(dense_rows_r8_chw16c_chw_f32, 8, 16)
DENSE(dense_rows_r12_chw_chw_f32, 12, 1)
DENSE(dense_rows_r12_hwc_chw_f32, 12, 1)
DENSE(dense_rows_r12_chw16c_chw_f32, 12, 16)
