/* SPDX-License-Identifier: MIT-0
 *
 * Maximum and mean over windows.
 *
 *   x          [blocks][h][w][lanes]     y          [blocks][oh][ow][lanes], both with pitches
 *
 * Taps beyond the image are left out. The mean divides by the taps on the image, with count_include_pad also by those
 * on the declared padding, never by the overhang of a ceil-mode output (ONNX AveragePool-19).
 */
#include <math.h>

#include "ts_blocks.h"

enum pool { MAX, AVG };

struct taps {
    ptrdiff_t first, end; /* taps on the image */
    ptrdiff_t counted;    /* taps the mean counts */
};

/* The number of taps k of a window with start + k * dilation < bound. */
static ptrdiff_t taps_before(ptrdiff_t start, int32_t kernel, int32_t dilation, ptrdiff_t bound)
{
    if (start + (ptrdiff_t)(kernel - 1) * dilation < bound)
        return kernel; /* inside: no division, which would cost more than a small window */
    return start >= bound ? 0 : (bound - start + dilation - 1) / dilation;
}

static struct taps taps_of(ptrdiff_t start, int32_t kernel, int32_t dilation, int32_t extent, int32_t pad_before,
                           int32_t pad_after, int32_t with_pad)
{
    struct taps t;
    ptrdiff_t lowest = with_pad ? -(ptrdiff_t)pad_before : 0, highest = (ptrdiff_t)extent + (with_pad ? pad_after : 0);
    t.first = start >= 0 ? 0 : taps_before(start, kernel, dilation, 0);
    t.end = taps_before(start, kernel, dilation, extent);
    t.counted = taps_before(start, kernel, dilation, highest) -
                (start >= lowest ? 0 : taps_before(start, kernel, dilation, lowest));
    return t;
}

static struct taps row_taps(const struct ts_shape *s, int32_t oy)
{
    return taps_of((ptrdiff_t)oy * s->stride_h - s->pad_t, s->kh, s->dilation_h, s->h, s->pad_t, s->pad_b,
                   s->count_include_pad);
}

static struct taps column_taps(const struct ts_shape *s, int32_t ox)
{
    return taps_of((ptrdiff_t)ox * s->stride_w - s->pad_l, s->kw, s->dilation_w, s->w, s->pad_l, s->pad_r,
                   s->count_include_pad);
}

TS_INLINE ts_vec none_of(enum pool op)
{
    return op == MAX ? ts_splat(-INFINITY) : ts_zero();
}

TS_INLINE ts_vec pool_of(enum pool op, ts_vec acc, ts_vec v)
{
    if (op == MAX)
        return ts_max(acc, v);
    return acc + v;
}

TS_INLINE float pool_of_floats(enum pool op, float acc, float v)
{
    if (op == MAX)
        return v > acc ? v : acc;
    return acc + v;
}

/* Where the taps of a window are: `rows` by `columns` of them, from its first one on the image. */
struct window {
    ptrdiff_t rows, columns, row_step, column_step;
    float factor; /* 1 / taps that count */
};

/* `count` windows with the same taps, n lanes each: independent chains that hide the latency of an operation. */
TS_INLINE void pool_windows(float *y, ptrdiff_t y_apart, const float *x, ptrdiff_t x_apart, struct window t,
                            enum pool op, ptrdiff_t n, int count)
{
    ts_vec acc[4];
    for (int i = 0; i < count; i++)
        acc[i] = none_of(op);
    for (ptrdiff_t r = 0; r < t.rows; r++)
        for (ptrdiff_t q = 0; q < t.columns; q++)
            for (int i = 0; i < count; i++)
                acc[i] = pool_of(op, acc[i], ts_load_lanes(x + r * t.row_step + q * t.column_step + i * x_apart, n));
    for (int i = 0; i < count; i++) {
        if (op == AVG)
            acc[i] = acc[i] * ts_splat(t.factor);
        ts_store_lanes(y + i * y_apart, acc[i], n);
    }
}

/* Vectors run over the lanes of a pixel; four of them at a time, or where a pixel is one vector, four pixels. */
TS_INLINE void pool_lanes(const struct ts_shape *s, const float *x, float *y, enum pool op, enum ts_layout layout)
{
    ptrdiff_t lanes = ts_lanes(layout, s->c), blocks = ts_blocks(layout, s->c);
    ptrdiff_t x_step = ts_pixel_step(layout, s->x_pitch), y_step = ts_pixel_step(layout, s->y_pitch);
    ptrdiff_t x_apart = s->stride_w * x_step;
    for (ptrdiff_t block = 0; block < blocks; block++)
        for (int32_t oy = 0; oy < s->oh; oy++) {
            struct taps v = row_taps(s, oy);
            ptrdiff_t from_y = (ptrdiff_t)oy * s->stride_h - s->pad_t + v.first * s->dilation_h;
            const float *row = x + block * ts_block_step(layout, s->x_pitch) + from_y * s->w * x_step;
            for (int32_t ox = 0; ox < s->ow;) {
                struct taps u = column_taps(s, ox);
                struct window t = {v.end - v.first, u.end - u.first, (ptrdiff_t)s->dilation_h * s->w * x_step,
                                   s->dilation_w * x_step, 1.0f / (float)(v.counted * u.counted)};
                const float *from = row + ((ptrdiff_t)ox * s->stride_w - s->pad_l + u.first * s->dilation_w) * x_step;
                float *to = y + block * ts_block_step(layout, s->y_pitch) + ((ptrdiff_t)oy * s->ow + ox) * y_step;
                if (layout != TS_HWC && lanes <= TS_VL && t.columns == s->kw && ox + 4 <= s->ow &&
                    column_taps(s, ox + 3).end == s->kw) {
                    pool_windows(to, lanes, from, x_apart, t, op, lanes, 4);
                    ox += 4;
                    continue;
                }
                ptrdiff_t l = 0;
                for (; l + 4 * TS_VL <= lanes; l += 4 * TS_VL)
                    pool_windows(to + l, TS_VL, from + l, TS_VL, t, op, TS_VL, 4);
                for (; l + TS_VL <= lanes; l += TS_VL)
                    pool_windows(to + l, 0, from + l, 0, t, op, TS_VL, 1);
                if (l < lanes)
                    pool_windows(to + l, 0, from + l, 0, t, op, lanes - l, 1);
                ox++;
            }
        }
}

/* Sum or maximum of n contiguous floats, in four chains. */
TS_INLINE float pool_run(const float *x, ptrdiff_t n, enum pool op)
{
    const ts_vec none = none_of(op);
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
        result = pool_of_floats(op, result, lanes[k]);
    for (; i < n; i++)
        result = pool_of_floats(op, result, x[i]);
    return result;
}

enum { STRIP = 512 }; /* columns of the input a strip of outputs may need; the declaration refuses longer windows */

/* strip[j] = the taps of column j under one another, for columns left .. left + n; what is off the image is none. */
TS_INLINE void pool_column(float *strip, const float *x, ptrdiff_t n, ptrdiff_t left, ptrdiff_t w, ptrdiff_t rows,
                           ptrdiff_t row_step, enum pool op)
{
    ptrdiff_t first = left < 0 ? -left : 0, end = w - left < n ? w - left : n, j;
    first = first < n ? first : n;
    end = end > first ? end : first;
    ts_fill(strip, first, op == MAX ? -INFINITY : 0.0f);
    ts_fill(strip + end, n - end, op == MAX ? -INFINITY : 0.0f);
    for (j = first; j + TS_VL <= end; j += TS_VL) {
        ts_vec acc = none_of(op);
        for (ptrdiff_t r = 0; r < rows; r++)
            acc = pool_of(op, acc, ts_load(x + r * row_step + left + j));
        ts_store(strip + j, acc);
    }
    for (; j < end; j++) {
        float acc = op == MAX ? -INFINITY : 0.0f;
        for (ptrdiff_t r = 0; r < rows; r++)
            acc = pool_of_floats(op, acc, x[r * row_step + left + j]);
        strip[j] = acc;
    }
}

/* y[ox] = the taps of window ox along the strip. A literal stride lets the compiler use shuffled loads. */
TS_INLINE void pool_along(float *y, const float *strip, ptrdiff_t count, ptrdiff_t stride, int32_t kernel,
                          ptrdiff_t dilation, enum pool op)
{
    for (ptrdiff_t ox = 0; ox < count; ox++)
        y[ox] = strip[ox * stride];
    for (int32_t k = 1; k < kernel; k++)
        for (ptrdiff_t ox = 0; ox < count; ox++)
            y[ox] = pool_of_floats(op, y[ox], strip[ox * stride + k * dilation]);
}

/* One lane: a window is its columns, then a row. Vectors run over the columns of a strip. */
TS_INLINE void pool_planes(const struct ts_shape *s, const float *x, float *y, enum pool op)
{
    ptrdiff_t span = (ptrdiff_t)(s->kw - 1) * s->dilation_w + 1, fit = (STRIP - span) / s->stride_w + 1;
    float strip[STRIP], factors[STRIP];
    for (int32_t begin = 0; begin < s->ow; begin += (int32_t)fit) {
        int32_t count = s->ow - begin < fit ? s->ow - begin : (int32_t)fit;
        ptrdiff_t left = (ptrdiff_t)begin * s->stride_w - s->pad_l, n = (count - 1) * (ptrdiff_t)s->stride_w + span;
        for (int32_t i = 0; op == AVG && i < count; i++)
            factors[i] = 1.0f / (float)column_taps(s, begin + i).counted;
        for (int32_t k = 0; k < s->c; k++)
            for (int32_t oy = 0; oy < s->oh; oy++) {
                struct taps v = row_taps(s, oy);
                ptrdiff_t from_y = (ptrdiff_t)oy * s->stride_h - s->pad_t + v.first * s->dilation_h;
                float *to = y + (ptrdiff_t)k * s->y_pitch + (ptrdiff_t)oy * s->ow + begin;
                pool_column(strip, x + (ptrdiff_t)k * s->x_pitch + from_y * s->w, n, left, s->w, v.end - v.first,
                            (ptrdiff_t)s->dilation_h * s->w, op);
                if (s->stride_w == 1)
                    pool_along(to, strip, count, 1, s->kw, s->dilation_w, op);
                else if (s->stride_w == 2)
                    pool_along(to, strip, count, 2, s->kw, s->dilation_w, op);
                else
                    pool_along(to, strip, count, s->stride_w, s->kw, s->dilation_w, op);
                float factor = op == AVG ? 1.0f / (float)v.counted : 1.0f;
                for (int32_t i = 0; op == AVG && i < count; i++)
                    to[i] *= factor * factors[i];
            }
    }
}

TS_INLINE void pool(const struct ts_shape *s, const float *x, float *y, enum pool op, enum ts_layout layout)
{
    ptrdiff_t pixels = (ptrdiff_t)s->h * s->w;
    int whole_image = s->kh == s->h && s->kw == s->w && s->oh == 1 && s->ow == 1 && s->pad_t == 0 && s->pad_l == 0 &&
                      s->dilation_h == 1 && s->dilation_w == 1;
    if (layout != TS_CHW)
        pool_lanes(s, x, y, op, layout);
    else if (whole_image)
        for (int32_t k = 0; k < s->c; k++)
            y[(ptrdiff_t)k * s->y_pitch] =
                pool_run(x + (ptrdiff_t)k * s->x_pitch, pixels, op) * (op == AVG ? 1.0f / (float)pixels : 1.0f);
    else
        pool_planes(s, x, y, op);
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
