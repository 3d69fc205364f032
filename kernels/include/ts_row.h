/* SPDX-License-Identifier: MIT-0
 *
 * Rows of floats as the classical convolutions handle them: which outputs a kernel tap reaches, copies with zeros
 * where the tap lies beside the image, sums, fills and clamps.
 */
#ifndef TS_ROW_H
#define TS_ROW_H

#include "ts_vec.h"

/* Outputs first <= o < end of one axis. */
struct ts_span {
    int32_t first, end;
};

/* Outputs o of 0 .. outputs-1 whose input o*stride + offset lies in 0 .. extent-1; offset is tap*dilation - pad. */
static inline struct ts_span ts_tap_span(int32_t outputs, int32_t stride, int32_t offset, int32_t extent)
{
    struct ts_span span;
    span.first = offset < 0 ? (stride - 1 - offset) / stride : 0;
    span.end = offset < extent ? (extent - offset + stride - 1) / stride : 0;
    span.end = span.end < outputs ? span.end : outputs;
    span.first = span.first < span.end ? span.first : span.end;
    return span;
}

/* Where kernel tap number `index`, counted along rows first, touches the image. */
struct ts_tap {
    int32_t top, left;          /* input row and column of output (0, 0) */
    struct ts_span row, column; /* outputs it reaches */
};

static inline struct ts_tap ts_tap_at(const struct ts_shape *s, int32_t index)
{
    struct ts_tap tap;
    tap.top = index / s->kw * s->dilation_h - s->pad_t;
    tap.left = index % s->kw * s->dilation_w - s->pad_l;
    tap.row = ts_tap_span(s->oh, s->stride_h, tap.top, s->h);
    tap.column = ts_tap_span(s->ow, s->stride_w, tap.left, s->w);
    return tap;
}

/* An unpadded 1x1 kernel of stride 1: the patch under every output is the input pixel itself. */
static inline int ts_patches_are_input(const struct ts_shape *s)
{
    return s->kh == 1 && s->kw == 1 && s->stride_h == 1 && s->stride_w == 1 && s->oh == s->h && s->ow == s->w &&
           s->pad_t == 0 && s->pad_l == 0;
}

static inline void ts_row_fill(float *y, ptrdiff_t n, float value)
{
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] = value;
}

/* y[o] = x[o*stride + offset] inside the span, zero in the rest of 0 .. outputs-1. */
static inline void ts_row_gather(float *y, const float *x, int32_t outputs, struct ts_span span, int32_t stride,
                                 int32_t offset)
{
    ts_row_fill(y, span.first, 0.0f);
    if (stride == 1 && span.first < span.end)
        memcpy(y + span.first, x + span.first + offset, (size_t)(span.end - span.first) * sizeof(float));
    else
        for (int32_t o = span.first; o < span.end; o++)
            y[o] = x[o * stride + offset];
    ts_row_fill(y + span.end, outputs - span.end, 0.0f);
}

static inline void ts_row_add(float *y, const float *x, ptrdiff_t n)
{
    ptrdiff_t i = 0;
    for (; i + TS_VL <= n; i += TS_VL)
        ts_store(y + i, ts_load(y + i) + ts_load(x + i));
    for (; i < n; i++)
        y[i] += x[i];
}

static inline void ts_row_clamp(float *y, ptrdiff_t n, float lo, float hi)
{
    const ts_vec los = ts_splat(lo), his = ts_splat(hi);
    ptrdiff_t i = 0;
    for (; i + TS_VL <= n; i += TS_VL)
        ts_store(y + i, ts_clamp_vec(ts_load(y + i), los, his));
    for (; i < n; i++)
        y[i] = ts_clamp(y[i], lo, hi);
}

#endif
