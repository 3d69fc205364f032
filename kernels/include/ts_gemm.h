/* SPDX-License-Identifier: MIT-0
 *
 * The one matrix multiplication of the classical convolutions, in two roles. Weights are packed at export
 * (kernels/gemm_packing.py), the other operand is read where it lies, nothing is written but C.
 *
 *   planar   C[m][n] = end(W[m][k] B[k][n])   vectors along n; C, B have row strides ldc, ldb
 *            W packed in panels of 8 rows, the rest in panels of 4, 2, 1; a panel is [k][rows]
 *   pixels   C[n][m] = end(P[n][k] W[k][m])   vectors along m; C, P have row strides ldc, ldp
 *            W packed in blocks of 16 columns, the rest in one narrower block; a block is [k][columns]
 *
 * Both come down to one register tile of rows x vectors, accumulated over the whole of k. Reads stay inside the
 * operands: a vector that reaches over the end of a row reads into the next row, and only where there is no next
 * row is it loaded lane by lane.
 */
#ifndef TS_GEMM_H
#define TS_GEMM_H

#include <math.h> /* INFINITY, no function */

#include "ts_vec.h"

#define TS_GEMM_PANEL 8  /* rows per panel of planar weights */
#define TS_GEMM_BLOCK 16 /* columns per block of pixel weights */

/* Rows of a register tile: with 3 vectors across, 8 rows need 28 registers, 4 rows need 16. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define TS_GEMM_ROWS 8
#else
#define TS_GEMM_ROWS 4
#endif
#define TS_GEMM_VECS 3

/* Floats of P one pass keeps in the cache while the weights stream by. */
#define TS_GEMM_GROUP_ELEMS 65536

#if defined(__GNUC__) || defined(__clang__)
#define TS_OUTLINE static __attribute__((noinline, unused))
#else
#define TS_OUTLINE static
#endif

/* What becomes of a product before it is stored: clamp(product + bias [+ C], lo, hi). */
struct ts_gemm_end {
    const float *bias;  /* [m], NULL for none */
    int32_t accumulate; /* add to what C holds */
    float lo, hi;
};

/* A product on its own or added to C, without bias and clamp. */
static inline struct ts_gemm_end ts_gemm_plain(int32_t accumulate)
{
    struct ts_gemm_end end = {NULL, accumulate, -INFINITY, INFINITY};
    return end;
}

struct ts_gemm_tile {
    const float *a; /* element (row, i) at a[row * a_row + i * a_k] */
    ptrdiff_t a_row, a_k;
    const float *b[TS_GEMM_VECS]; /* vector v of row i at b[v][i * b_k] */
    ptrdiff_t b_k;
    int32_t k;
    int32_t k_whole; /* rows of b whose last vector may be loaded whole; behind them only `lanes` of it exist */
    int32_t lanes;   /* columns the last vector contributes, 1..TS_VL */
    float *c;        /* [rows][vectors * TS_VL] at row stride ldc */
    ptrdiff_t ldc;
    const float *bias; /* of the tile's first row (planar) or column (pixels) */
    const struct ts_gemm_end *end;
};

/* One copy of the partial loads, out of the way of the inner loops. */
TS_OUTLINE ts_vec ts_gemm_load_part(const float *p, int32_t lanes)
{
    return ts_load_part(p, lanes);
}

/* Bias, addition, clamp and store of a tile's sums, [rows][vecs * TS_VL]. */
TS_OUTLINE void ts_gemm_finish(const struct ts_gemm_tile *t, const float *sums, int rows, int vecs, int bias_per_row)
{
    const ts_vec lo = ts_splat(t->end->lo), hi = ts_splat(t->end->hi);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++, sums += TS_VL) {
            float *c = t->c + r * t->ldc + v * TS_VL;
            const float *bias = t->bias ? t->bias + (bias_per_row ? r : v * TS_VL) : NULL;
            ts_vec sum = ts_load(sums);
            if (v < vecs - 1 || t->lanes == TS_VL) {
                if (bias)
                    sum += bias_per_row ? ts_splat(*bias) : ts_load(bias);
                if (t->end->accumulate)
                    sum += ts_load(c);
                ts_store(c, ts_clamp_vec(sum, lo, hi));
            } else {
                if (bias)
                    sum += bias_per_row ? ts_splat(*bias) : ts_load_part(bias, t->lanes);
                if (t->end->accumulate)
                    sum += ts_load_part(c, t->lanes);
                ts_store_part(c, ts_clamp_vec(sum, lo, hi), t->lanes);
            }
        }
}

/* clang would unroll the loop over k eight times, load ahead and spill the accumulators: a third of the speed. */
#if defined(__clang__)
#define TS_GEMM_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define TS_GEMM_NO_UNROLL
#endif

/* The accumulators have names, not indices: compilers keep them in registers at every optimisation level.
 * `rows`, `vecs` and `planar` are literals, so what a tile lacks is removed when it is inlined. */
#define TS_GEMM_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define TS_GEMM_DECLARE(r) ts_vec s##r##0 = ts_zero(), s##r##1 = ts_zero(), s##r##2 = ts_zero();
/* Rows are addressed from two bases by 0, 1, 2 or 3 row strides, which are the address forms processors have. */
#define TS_GEMM_FMA(r)                                                                                                 \
    if (rows > r) {                                                                                                    \
        ts_vec av = ts_splat(((r) < 4 ? a : a4)[(r) % 4 == 3 ? row3 : (r) % 4 * a_row]);                               \
        s##r##0 = ts_fma(av, b0, s##r##0);                                                                             \
        if (vecs > 1)                                                                                                  \
            s##r##1 = ts_fma(av, b1, s##r##1);                                                                         \
        if (vecs > 2)                                                                                                  \
            s##r##2 = ts_fma(av, b2, s##r##2);                                                                         \
    }
#define TS_GEMM_ADD(r)                                                                                                 \
    if (rows > r) {                                                                                                    \
        s##r##0 += ts_load(t->c + r * t->ldc);                                                                         \
        if (vecs > 1)                                                                                                  \
            s##r##1 += ts_load(t->c + r * t->ldc + TS_VL);                                                             \
        if (vecs > 2)                                                                                                  \
            s##r##2 += ts_load(t->c + r * t->ldc + 2 * TS_VL);                                                         \
    }
#define TS_GEMM_STORE(r)                                                                                               \
    if (rows > r) {                                                                                                    \
        ts_store(sums + r * row, s##r##0);                                                                             \
        if (vecs > 1)                                                                                                  \
            ts_store(sums + r * row + TS_VL, s##r##1);                                                                 \
        if (vecs > 2)                                                                                                  \
            ts_store(sums + r * row + 2 * TS_VL, s##r##2);                                                             \
    }

TS_INLINE void ts_gemm_tile_body(const struct ts_gemm_tile *t, int rows, int vecs, int planar)
{
    const ptrdiff_t a_row = planar ? 1 : t->a_row, a_k = planar ? t->a_k : 1, b_k = t->b_k;
    const ptrdiff_t row3 = 3 * a_row;
    const float *a = t->a, *a4 = rows > 4 ? a + 4 * a_row : a, *p0 = t->b[0], *p1 = t->b[1], *p2 = t->b[2];
    ts_vec b0 = ts_zero(), b1 = b0, b2 = b0;
    TS_GEMM_EACH_ROW(TS_GEMM_DECLARE)
    ptrdiff_t ib = 0;
    int32_t i = 0;
    TS_GEMM_NO_UNROLL
    for (; i < t->k_whole; i++, a += a_k, a4 += a_k, ib += b_k) {
        b0 = ts_load(p0 + ib);
        if (vecs > 1)
            b1 = ts_load(p1 + ib);
        if (vecs > 2)
            b2 = ts_load(p2 + ib);
        TS_GEMM_EACH_ROW(TS_GEMM_FMA)
    }
    TS_GEMM_NO_UNROLL
    for (; i < t->k; i++, a += a_k, a4 += a_k, ib += b_k) {
        b0 = vecs > 1 ? ts_load(p0 + ib) : ts_gemm_load_part(p0 + ib, t->lanes);
        if (vecs > 1)
            b1 = vecs > 2 ? ts_load(p1 + ib) : ts_gemm_load_part(p1 + ib, t->lanes);
        if (vecs > 2)
            b2 = ts_gemm_load_part(p2 + ib, t->lanes);
        TS_GEMM_EACH_ROW(TS_GEMM_FMA)
    }
    if (!t->bias && t->lanes == TS_VL && t->end->lo == -INFINITY && t->end->hi == INFINITY) {
        if (t->end->accumulate) {
            TS_GEMM_EACH_ROW(TS_GEMM_ADD)
        }
        float *sums = t->c;
        const ptrdiff_t row = t->ldc;
        TS_GEMM_EACH_ROW(TS_GEMM_STORE)
        return;
    }
    float sums[TS_GEMM_ROWS * TS_GEMM_VECS * TS_VL];
    const ptrdiff_t row = vecs * TS_VL;
    TS_GEMM_EACH_ROW(TS_GEMM_STORE)
    ts_gemm_finish(t, sums, rows, vecs, planar);
}

#define TS_GEMM_TILE(role, planar, rows)                                                                               \
    TS_OUTLINE void ts_gemm_##role##_##rows(const struct ts_gemm_tile *t, int vecs)                                    \
    {                                                                                                                  \
        switch (vecs) {                                                                                                \
        case 1:                                                                                                        \
            ts_gemm_tile_body(t, rows, 1, planar);                                                                     \
            break;                                                                                                     \
        case 2:                                                                                                        \
            ts_gemm_tile_body(t, rows, 2, planar);                                                                     \
            break;                                                                                                     \
        default:                                                                                                       \
            ts_gemm_tile_body(t, rows, 3, planar);                                                                     \
            break;                                                                                                     \
        }                                                                                                              \
    }
#if TS_GEMM_ROWS == 8
TS_GEMM_TILE(planar, 1, 8)
TS_GEMM_TILE(pixels, 0, 8)
TS_GEMM_TILE(pixels, 0, 6)
#endif
TS_GEMM_TILE(planar, 1, 4)
TS_GEMM_TILE(planar, 1, 2)
TS_GEMM_TILE(planar, 1, 1)
TS_GEMM_TILE(pixels, 0, 4)
TS_GEMM_TILE(pixels, 0, 3)
TS_GEMM_TILE(pixels, 0, 2)
TS_GEMM_TILE(pixels, 0, 1)

/* Height of the next tile of pixels when `left` rows remain: the sizes that leave no tile of one or two rows, whose
 * few accumulators cannot hide the latency of an FMA. */
static inline int32_t ts_gemm_pixel_rows(int32_t left)
{
    static const unsigned char next[2 * TS_GEMM_ROWS] = {
#if TS_GEMM_ROWS == 8
        0, 1, 2, 3, 4, 3, 6, 4, 8, 6, 6, 8, 6, 6, 8, 8,
#else
        0, 1, 2, 3, 4, 3, 3, 4,
#endif
    };
    return left < 2 * TS_GEMM_ROWS ? next[left] : TS_GEMM_ROWS;
}

/* Rows i of a [k][row_elems] matrix with a vector at column j that lies inside the matrix: i*ld + j + TS_VL <= its end,
 * which is (k - 1)*ld + row_elems. All k if the vector does not reach over the end of a row. */
static inline int32_t ts_gemm_k_whole(int32_t k, ptrdiff_t ld, int32_t row_elems, int32_t j)
{
    if (j + TS_VL <= row_elems)
        return k;
    ptrdiff_t room = (ptrdiff_t)(k - 1) * ld + row_elems - j - TS_VL;
    return room < 0 ? 0 : (int32_t)(room / ld) + 1;
}

/* Columns j.. of all rows of C, `vecs` vectors wide. */
static inline void ts_gemm_planar_columns(struct ts_gemm_tile *t, int vecs, int32_t m, const float *w, float *c)
{
    const float *bias = t->end->bias;
    for (int32_t r = 0; r < m;) {
        int32_t panel = m - r >= TS_GEMM_PANEL ? TS_GEMM_PANEL : m - r >= 4 ? 4 : m - r >= 2 ? 2 : 1;
        t->a_k = panel;
        for (int32_t q = 0; q < panel;) {
            int32_t rows = panel < TS_GEMM_ROWS ? panel : TS_GEMM_ROWS;
            t->a = w + (ptrdiff_t)r * t->k + q;
            t->c = c + (r + q) * t->ldc;
            t->bias = bias ? bias + r + q : NULL;
            switch (rows) {
#if TS_GEMM_ROWS == 8
            case 8:
                ts_gemm_planar_8(t, vecs);
                break;
#endif
            case 4:
                ts_gemm_planar_4(t, vecs);
                break;
            case 2:
                ts_gemm_planar_2(t, vecs);
                break;
            default:
                ts_gemm_planar_1(t, vecs);
                break;
            }
            q += rows;
        }
        r += panel;
    }
}

/* C[m][n] = end(W[m][k] B[k][n]); w as packed by pack_planar. n, m, k > 0. */
TS_OUTLINE void ts_gemm_planar(int32_t m, int32_t n, int32_t k, const float *w, const float *b, ptrdiff_t ldb, float *c,
                               ptrdiff_t ldc, struct ts_gemm_end end)
{
    struct ts_gemm_tile t = {.b_k = ldb, .k = k, .ldc = ldc, .end = &end};
    int32_t vectors = (n + TS_VL - 1) / TS_VL, strips = (vectors + TS_GEMM_VECS - 1) / TS_GEMM_VECS;
    for (int32_t strip = 0, j = 0; strip < strips; strip++) {
        int32_t vecs = vectors / strips + (strip < vectors % strips), last = j + (vecs - 1) * TS_VL;
        for (int32_t v = 0; v < TS_GEMM_VECS; v++)
            t.b[v] = b + j + (v < vecs ? v * TS_VL : 0);
        t.lanes = n - last < TS_VL ? n - last : TS_VL;
        t.k_whole = ts_gemm_k_whole(k, ldb, n, last);
        ts_gemm_planar_columns(&t, vecs, m, w, c + j);
        j += vecs * TS_VL;
    }
}

/* n rows of C, `vecs` vectors of columns. */
static inline void ts_gemm_pixels_rows(struct ts_gemm_tile *t, int vecs, int32_t n, const float *p, ptrdiff_t ldp,
                                       float *c)
{
    t->a_row = ldp;
    for (int32_t r = 0; r < n;) {
        int32_t rows = ts_gemm_pixel_rows(n - r);
        t->a = p + r * ldp;
        t->c = c + r * t->ldc;
        switch (rows) {
#if TS_GEMM_ROWS == 8
        case 8:
            ts_gemm_pixels_8(t, vecs);
            break;
        case 6:
            ts_gemm_pixels_6(t, vecs);
            break;
#endif
        case 4:
            ts_gemm_pixels_4(t, vecs);
            break;
        case 3:
            ts_gemm_pixels_3(t, vecs);
            break;
        case 2:
            ts_gemm_pixels_2(t, vecs);
            break;
        default:
            ts_gemm_pixels_1(t, vecs);
            break;
        }
        r += rows;
    }
}

/* n rows of C, all columns of w that share one row stride: the whole blocks, or the narrow last one. */
static inline void ts_gemm_pixels_blocks(struct ts_gemm_tile *t, int32_t n, int32_t columns, const float *p,
                                         ptrdiff_t ldp, const float *w, float *c, const float *bias)
{
    int32_t vectors = (columns + TS_VL - 1) / TS_VL, strips = (vectors + TS_GEMM_VECS - 1) / TS_GEMM_VECS;
    for (int32_t strip = 0, j = 0; strip < strips; strip++) {
        int32_t vecs = vectors / strips + (strip < vectors % strips), last = j + (vecs - 1) * TS_VL;
        for (int32_t v = 0; v < TS_GEMM_VECS; v++) {
            int32_t column = v < vecs ? j + v * TS_VL : j;
            t->b[v] = w + (ptrdiff_t)(column / TS_GEMM_BLOCK) * TS_GEMM_BLOCK * t->k + column % TS_GEMM_BLOCK;
        }
        t->lanes = columns - last < TS_VL ? columns - last : TS_VL;
        t->k_whole = t->lanes == TS_VL ? t->k : ts_gemm_k_whole(t->k, t->b_k, columns, last);
        t->bias = bias ? bias + j : NULL;
        ts_gemm_pixels_rows(t, vecs, n, p, ldp, c + j);
        j += vecs * TS_VL;
    }
}

/* C[n][m] = end(P[n][k] W[k][m]); w as packed by pack_pixels. n, m, k > 0. */
TS_OUTLINE void ts_gemm_pixels(int32_t n, int32_t m, int32_t k, const float *p, ptrdiff_t ldp, const float *w, float *c,
                               ptrdiff_t ldc, struct ts_gemm_end end)
{
    struct ts_gemm_tile t = {.k = k, .ldc = ldc, .end = &end};
    const int32_t whole = m / TS_GEMM_BLOCK * TS_GEMM_BLOCK, rest = m - whole;
    int32_t group = TS_GEMM_GROUP_ELEMS / k / TS_GEMM_ROWS * TS_GEMM_ROWS;
    if (group < TS_GEMM_ROWS)
        group = TS_GEMM_ROWS;
    for (int32_t r = 0; r < n; r += group) {
        int32_t rows = n - r < group ? n - r : group;
        const float *bias = end.bias;
        if (whole) {
            t.b_k = TS_GEMM_BLOCK;
            ts_gemm_pixels_blocks(&t, rows, whole, p + r * ldp, ldp, w, c + r * ldc, bias);
        }
        if (rest) {
            t.b_k = rest;
            ts_gemm_pixels_blocks(&t, rows, rest, p + r * ldp, ldp, w + (ptrdiff_t)whole * k, c + r * ldc + whole,
                                  bias ? bias + whole : NULL);
        }
    }
}

#endif
