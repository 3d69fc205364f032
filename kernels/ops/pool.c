/* SPDX-License-Identifier: MIT-0
 *
 * Maximum and mean over windows.
 *
 *   x          [blocks][h][w][lanes]     y          [blocks][oh][ow][lanes]
 *
 * Taps beyond the image are left out: clipping the tap range per window is cheaper than testing every tap. The mean
 * divides by the taps on the image, with count_include_pad also by those on the declared padding, never by the
 * overhang of a ceil-mode output (ONNX AveragePool-19).
 */
#include <math.h>

#include "ts_blocks.h"

enum pool { MAX, AVG };

struct taps {
    ptrdiff_t first, end; /* taps on the image */
    ptrdiff_t counted;    /* taps the mean counts */
};

/* Taps k of a window with lo <= start + k * dilation < hi. */
static void clip(ptrdiff_t start, int32_t kernel, int32_t dilation, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t *first,
                 ptrdiff_t *end)
{
    *first = start >= lo ? 0 : (lo - start + dilation - 1) / dilation;
    *end = hi <= start ? 0 : (hi - start + dilation - 1) / dilation;
    *end = *end > kernel ? kernel : *end;
    *first = *first > *end ? *end : *first;
}

static struct taps taps_of(ptrdiff_t start, int32_t kernel, int32_t dilation, int32_t extent, int32_t pad_before,
                           int32_t pad_after, int32_t with_pad)
{
    struct taps t;
    ptrdiff_t first, end;
    clip(start, kernel, dilation, 0, extent, &t.first, &t.end);
    clip(start, kernel, dilation, with_pad ? -(ptrdiff_t)pad_before : 0, extent + (with_pad ? pad_after : 0), &first,
         &end);
    t.counted = end - first;
    return t;
}

TS_INLINE ts_vec pool_of(enum pool op, ts_vec acc, ts_vec v)
{
    if (op == MAX)
        return ts_max(acc, v);
    return acc + v;
}

/* One output pixel, `count` vectors of its lanes: x is the window's first tap on the image. */
TS_INLINE void pool_pixel(float *y, const float *x, ptrdiff_t row_step, ptrdiff_t column_step, ptrdiff_t rows,
                          ptrdiff_t columns, float factor, enum pool op, ptrdiff_t n, int count)
{
    ts_vec acc[4];
    for (int i = 0; i < count; i++)
        acc[i] = op == MAX ? ts_splat(-INFINITY) : ts_zero();
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t q = 0; q < columns; q++)
            for (int i = 0; i < count; i++)
                acc[i] = pool_of(op, acc[i], ts_load_lanes(x + r * row_step + q * column_step + i * TS_VL, n));
    for (int i = 0; i < count; i++)
        ts_store_lanes(y + i * TS_VL, acc[i] * ts_splat(factor), n);
}

TS_INLINE void pool_lanes(const struct ts_shape *s, const float *x, float *y, enum pool op, enum ts_layout layout)
{
    ptrdiff_t lanes = ts_lanes(layout, s->c), blocks = ts_blocks(layout, s->c);
    ptrdiff_t row_step = (ptrdiff_t)s->dilation_h * s->w * lanes, column_step = s->dilation_w * lanes;
    for (ptrdiff_t block = 0; block < blocks; block++)
        for (int32_t oy = 0; oy < s->oh; oy++) {
            ptrdiff_t top = (ptrdiff_t)oy * s->stride_h - s->pad_t;
            struct taps v = taps_of(top, s->kh, s->dilation_h, s->h, s->pad_t, s->pad_b, s->count_include_pad);
            for (int32_t ox = 0; ox < s->ow; ox++) {
                ptrdiff_t left = (ptrdiff_t)ox * s->stride_w - s->pad_l;
                struct taps u = taps_of(left, s->kw, s->dilation_w, s->w, s->pad_l, s->pad_r, s->count_include_pad);
                ptrdiff_t from_y = top + v.first * s->dilation_h, from_x = left + u.first * s->dilation_w;
                const float *from = x + ((block * s->h + from_y) * s->w + from_x) * lanes;
                float *to = y + ((block * s->oh + oy) * s->ow + ox) * lanes;
                float factor = op == AVG ? 1.0f / (float)(v.counted * u.counted) : 1.0f;
                ptrdiff_t rows = v.end - v.first, columns = u.end - u.first, l = 0;
                for (; l + 4 * TS_VL <= lanes; l += 4 * TS_VL)
                    pool_pixel(to + l, from + l, row_step, column_step, rows, columns, factor, op, TS_VL, 4);
                for (; l + TS_VL <= lanes; l += TS_VL)
                    pool_pixel(to + l, from + l, row_step, column_step, rows, columns, factor, op, TS_VL, 1);
                if (l < lanes)
                    pool_pixel(to + l, from + l, row_step, column_step, rows, columns, factor, op, lanes - l, 1);
            }
        }
}

/* Sum or maximum of n contiguous floats, in four chains. */
TS_INLINE float pool_run(const float *x, ptrdiff_t n, enum pool op)
{
    const ts_vec none = op == MAX ? ts_splat(-INFINITY) : ts_zero();
    ts_vec acc[4] = {none, none, none, none};
    float lanes[TS_VL];
    ptrdiff_t i = 0;
    for (; i + 4 * TS_VL <= n; i += 4 * TS_VL)
        for (int k = 0; k < 4; k++)
            acc[k] = pool_of(op, acc[k], ts_load(x + i + k * TS_VL));
    for (; i + TS_VL <= n; i += TS_VL)
        acc[0] = pool_of(op, acc[0], ts_load(x + i));
    ts_store(lanes, pool_of(op, pool_of(op, acc[0], acc[1]), pool_of(op, acc[2], acc[3])));
    float result = lanes[0];
    for (int k = 1; k < TS_VL; k++)
        result = op == AVG ? result + lanes[k] : lanes[k] > result ? lanes[k] : result;
    for (; i < n; i++)
        result = op == AVG ? result + x[i] : x[i] > result ? x[i] : result;
    return result;
}

/* Outputs of one row whose tap kx lies on the image: first <= ox < end. */
static void outputs_of(const struct ts_shape *s, int32_t kx, ptrdiff_t *first, ptrdiff_t *end)
{
    ptrdiff_t offset = (ptrdiff_t)kx * s->dilation_w - s->pad_l;
    *first = offset >= 0 ? 0 : (-offset + s->stride_w - 1) / s->stride_w;
    *end = s->w <= offset ? 0 : (s->w - offset + s->stride_w - 1) / s->stride_w;
    *end = *end > s->ow ? s->ow : *end;
}

/* Outputs first .. end of a row meet their tap. A literal stride lets the compiler use shuffled loads. */
TS_INLINE void pool_tap(float *to, const float *from, ptrdiff_t first, ptrdiff_t end, ptrdiff_t stride, enum pool op)
{
    ptrdiff_t ox = first;
    if (stride == 1)
        for (; ox + TS_VL <= end; ox += TS_VL)
            ts_store(to + ox, pool_of(op, ts_load(to + ox), ts_load(from + ox)));
    for (; ox < end; ox++) {
        float tap = from[ox * stride];
        to[ox] = op == AVG ? to[ox] + tap : tap > to[ox] ? tap : to[ox];
    }
}

/* One lane: vectors run over the outputs of a row, which stays in the first-level cache while the taps pass. */
TS_INLINE void pool_rows(const struct ts_shape *s, const float *x, float *y, enum pool op)
{
    for (int32_t k = 0; k < s->c; k++)
        for (int32_t oy = 0; oy < s->oh; oy++) {
            float *to = y + ((ptrdiff_t)k * s->oh + oy) * s->ow;
            ptrdiff_t top = (ptrdiff_t)oy * s->stride_h - s->pad_t;
            struct taps v = taps_of(top, s->kh, s->dilation_h, s->h, s->pad_t, s->pad_b, s->count_include_pad);
            ts_fill(to, s->ow, op == MAX ? -INFINITY : 0.0f);
            for (ptrdiff_t ky = v.first; ky < v.end; ky++)
                for (int32_t kx = 0; kx < s->kw; kx++) {
                    ptrdiff_t first, end;
                    outputs_of(s, kx, &first, &end);
                    const float *row = x + ((ptrdiff_t)k * s->h + top + ky * s->dilation_h) * s->w;
                    const float *from = row + (ptrdiff_t)kx * s->dilation_w - s->pad_l;
                    if (s->stride_w == 1)
                        pool_tap(to, from, first, end, 1, op);
                    else if (s->stride_w == 2)
                        pool_tap(to, from, first, end, 2, op);
                    else
                        pool_tap(to, from, first, end, s->stride_w, op);
                }
            if (op == AVG)
                for (int32_t ox = 0; ox < s->ow; ox++) {
                    struct taps u = taps_of((ptrdiff_t)ox * s->stride_w - s->pad_l, s->kw, s->dilation_w, s->w,
                                            s->pad_l, s->pad_r, s->count_include_pad);
                    to[ox] *= 1.0f / (float)(v.counted * u.counted);
                }
        }
}

TS_INLINE void pool(const struct ts_shape *s, const float *x, float *y, enum pool op, enum ts_layout layout)
{
    ptrdiff_t pixels = (ptrdiff_t)s->h * s->w;
    int whole_image = s->kh == s->h && s->kw == s->w && s->oh == 1 && s->ow == 1 && s->pad_t == 0 && s->pad_l == 0 &&
                      s->dilation_h == 1 && s->dilation_w == 1 && !s->count_include_pad;
    if (layout != TS_CHW)
        pool_lanes(s, x, y, op, layout);
    else if (whole_image)
        for (int32_t k = 0; k < s->c; k++)
            y[k] = pool_run(x + k * pixels, pixels, op) * (op == AVG ? 1.0f / (float)pixels : 1.0f);
    else
        pool_rows(s, x, y, op);
}

#define EACH_POOL(name, layout)                                                                                        \
    TS_ROUTINE(max_pool_window_##name##_##name##_f32)                                                                  \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        pool(s, x[0], y, MAX, layout);                                                                                 \
    }                                                                                                                  \
    TS_ROUTINE(avg_pool_window_##name##_##name##_f32)                                                                  \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        pool(s, x[0], y, AVG, layout);                                                                                 \
    }

TS_EACH_LAYOUT(EACH_POOL)
