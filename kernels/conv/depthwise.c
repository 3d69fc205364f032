/* SPDX-License-Identifier: MIT-0
 *
 * Depthwise convolution (group = c = m), vectors along channels, for hwc and chw16c.
 *
 *   weights  [kh][kw][c rounded up to 16], missing channels zero
 *
 * A tile is 7 neighbouring outputs of a row at one vector of channels: a kernel row of weights and the columns it
 * needs are loaded once. Zhang et al. 2020, High performance depthwise and pointwise convolutions on mobile devices.
 */
#include "ts_vec.h"

#define DW_OUTPUTS 7
#define DW_BLOCK 16
#define DW_EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6)

/* Which columns a tile may load: all of them, those of the image, or those of the image and only d->lanes of each. */
enum dw_reach { DW_INSIDE, DW_BORDER, DW_PART };

struct dw {
    const struct ts_shape *s;
    const float *x, *weights;          /* first of the vector's channels */
    float *y;
    ptrdiff_t x_pixel, y_pixel, w_tap; /* floats to the next column, output column, tap */
    ts_vec bias, lo, hi;
    int32_t lanes;                     /* channels of the vector that exist */
    int32_t blocked;                   /* missing channels exist in memory and are zero */
};

/* Column ix of a row; zero outside. Part of a vector where the tensor has no more channels. */
TS_INLINE ts_vec dw_column(const enum dw_reach inside, const struct dw *d, const float *row, int32_t ix)
{
    if (inside == DW_INSIDE)
        return ts_load(row + ix * d->x_pixel);
    if (ix < 0 || ix >= d->s->w)
        return ts_zero();
    if (inside == DW_PART)
        return ts_load_part(row + ix * d->x_pixel, d->lanes);
    return ts_load(row + ix * d->x_pixel);
}

#define DW_DECLARE(o) ts_vec a##o = d->bias;
#define DW_TAP(o, t, w) a##o = ts_fma(w, dw_column(inside, d, row, ix + o * stride + t), a##o);
#define DW_ROW3(o) DW_TAP(o, 0, w0) DW_TAP(o, 1, w1) DW_TAP(o, 2, w2)
#define DW_ROW5(o) DW_ROW3(o) DW_TAP(o, 3, w3) DW_TAP(o, 4, w4)
#define DW_ANY(o) DW_TAP(o, 0, w0)
#define DW_KEEP(o) ts_store(out + o * TS_VL, ts_clamp_vec(a##o, d->lo, d->hi));

/* Outputs ox .. ox + count - 1 of row oy. kw and fixed_stride are literals, 0 for any. */
TS_INLINE void dw_tile(const int kw, const int fixed_stride, const enum dw_reach inside, const struct dw *d, int32_t oy, int32_t ox,
                       int32_t count)
{
    const struct ts_shape *s = d->s;
    const int32_t stride = fixed_stride ? fixed_stride : s->stride_w;
    const int32_t top = oy * s->stride_h - s->pad_t, left = ox * stride - s->pad_l;
    DW_EACH(DW_DECLARE)
    for (int32_t r = 0; r < s->kh; r++) {
        const int32_t iy = top + r * s->dilation_h;
        if (iy < 0 || iy >= s->h)
            continue;
        const float *row = d->x + (ptrdiff_t)iy * s->w * d->x_pixel;
        const float *w = d->weights + (ptrdiff_t)r * s->kw * d->w_tap;
        if (kw) {
            const int32_t ix = left;
            const ts_vec w0 = ts_load(w), w1 = ts_load(w + d->w_tap), w2 = ts_load(w + 2 * d->w_tap);
            const ts_vec w3 = kw == 5 ? ts_load(w + 3 * d->w_tap) : w0, w4 = kw == 5 ? ts_load(w + 4 * d->w_tap) : w0;
            if (kw == 3) {
                DW_EACH(DW_ROW3)
            } else {
                DW_EACH(DW_ROW5)
            }
        } else {
            for (int32_t t = 0; t < s->kw; t++, w += d->w_tap) {
                const int32_t ix = left + t * s->dilation_w;
                const ts_vec w0 = ts_load(w);
                DW_EACH(DW_ANY)
            }
        }
    }
    float *to = d->y + ((ptrdiff_t)oy * s->ow + ox) * d->y_pixel;
    float out[DW_OUTPUTS * TS_VL];
    DW_EACH(DW_KEEP)
    for (int32_t o = 0; o < count; o++, to += d->y_pixel) {
        if (d->lanes >= TS_VL) {
            ts_store(to, ts_load(out + o * TS_VL));
            continue;
        }
        if (d->blocked)
            ts_store(to, ts_zero());
        ts_store_part(to, ts_load(out + o * TS_VL), d->lanes);
    }
}

TS_INLINE void dw_columns(const int kw, const int fixed_stride, const int part, const struct dw *d, int32_t oy)
{
    const struct ts_shape *s = d->s;
    const int32_t stride = fixed_stride ? fixed_stride : s->stride_w;
    const int32_t reach = (DW_OUTPUTS - 1) * stride + (s->kw - 1) * s->dilation_w;
    for (int32_t ox = 0; ox < s->ow; ox += DW_OUTPUTS) {
        const int32_t left = ox * stride - s->pad_l, count = s->ow - ox < DW_OUTPUTS ? s->ow - ox : DW_OUTPUTS;
        if (part)
            dw_tile(0, 0, DW_PART, d, oy, ox, count);
        else if (left >= 0 && left + reach < s->w)
            dw_tile(kw, fixed_stride, DW_INSIDE, d, oy, ox, count);
        else
            dw_tile(kw, fixed_stride, DW_BORDER, d, oy, ox, count);
    }
}

/* One output row at one vector of channels. */
static void dw_row(const struct dw *d, int32_t oy)
{
    const int plain = d->s->dilation_w == 1;
    if (d->lanes < TS_VL && !d->blocked)
        dw_columns(0, 0, 1, d, oy);
    else if (plain && d->s->kw == 3 && d->s->stride_w == 1)
        dw_columns(3, 1, 0, d, oy);
    else if (plain && d->s->kw == 3 && d->s->stride_w == 2)
        dw_columns(3, 2, 0, d, oy);
    else if (plain && d->s->kw == 5 && d->s->stride_w == 1)
        dw_columns(5, 1, 0, d, oy);
    else if (plain && d->s->kw == 5 && d->s->stride_w == 2)
        dw_columns(5, 2, 0, d, oy);
    else
        dw_columns(0, 0, 0, d, oy);
}

static void depthwise(const struct ts_shape *s, const float *x, const float *weights, const float *bias, float *y,
                      int32_t blocked)
{
    struct dw d;
    d.s = s;
    d.blocked = blocked;
    d.x_pixel = d.y_pixel = blocked ? DW_BLOCK : s->c;
    d.w_tap = (s->c + DW_BLOCK - 1) / DW_BLOCK * DW_BLOCK;
    d.lo = ts_splat(s->lo);
    d.hi = ts_splat(s->hi);
    /* Blocked tensors are walked block by block, hwc row by row: both in the order of memory. */
    const int32_t end = blocked ? (int32_t)d.w_tap : s->c, span = blocked ? DW_BLOCK : end;
    for (int32_t c0 = 0; c0 < end; c0 += span)
        for (int32_t oy = 0; oy < s->oh; oy++)
            for (int32_t at = c0; at < c0 + span; at += TS_VL) {
                /* The last vector of hwc overlaps the one before, so that it is whole. */
                const int32_t c = blocked || at + TS_VL <= end || end < TS_VL ? at : end - TS_VL;
                const ptrdiff_t plane = blocked ? c / DW_BLOCK * DW_BLOCK : 0, lane = blocked ? c % DW_BLOCK : c;
                d.lanes = s->c - c < TS_VL ? (s->c > c ? s->c - c : 0) : TS_VL;
                d.x = x + plane * s->h * s->w + lane;
                d.y = y + plane * s->oh * s->ow + lane;
                d.weights = weights + c;
                d.bias = !bias || d.lanes == 0 ? ts_zero()
                         : d.lanes < TS_VL     ? ts_load_part(bias + c, d.lanes)
                                               : ts_load(bias + c);
                dw_row(&d, oy);
            }
}

TS_ROUTINE(conv_depthwise_hwc_hwc_f32)
{
    (void)workspace;
    depthwise(s, x[0], weights, bias, y, 0);
}

TS_ROUTINE(conv_depthwise_chw16c_chw16c_f32)
{
    (void)workspace;
    depthwise(s, x[0], weights, bias, y, 1);
}
