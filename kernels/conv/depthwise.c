/* SPDX-License-Identifier: MIT-0
 *
 * Depthwise convolution (group = c = m), vectors along channels, for hwc and chw16c.
 *
 *   weights  [kh][kw][c rounded up to 16], missing channels zero
 *
 * A tile is 7, 4 or 1 neighbouring outputs of a row at one vector of channels. It walks the columns it needs once: each
 * is loaded once and multiplied into every output that sees it; rows and columns outside the image are skipped. The
 * last tile of a row overlaps the one before. Zhang et al. 2020, High performance depthwise and pointwise convolutions.
 */
#include "ts_vec.h"

#define DW_OUTPUTS 7
#define DW_FEW 4
#define DW_BLOCK 16
#define DW_EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6)

struct dw {
    const struct ts_shape *s;
    const float *x, *weights; /* first of the vector's channels */
    float *y;
    ptrdiff_t x_pixel, y_pixel, w_tap; /* floats to the next column, output column, tap */
    ts_vec bias, lo, hi;
    int32_t lanes;   /* channels of the vector that exist */
    int32_t blocked; /* missing channels exist in memory and are zero */
};

/* Outputs of a vector of which only d->lanes channels exist. */
TS_ONCE void dw_put_part(const struct dw *d, float *to, const float *part, int32_t outputs)
{
    for (int32_t o = 0; o < outputs; o++, to += d->y_pixel, part += TS_VL) {
        if (d->blocked)
            ts_store(to, ts_zero());
        ts_store_part(to, ts_load(part), d->lanes);
    }
}

#define DW_COLUMNS(OP)                                                                                                 \
    OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11) OP(12) OP(13) OP(14) OP(15) OP(16)
#define DW_DECLARE(o) ts_vec a##o = d->bias;
#define DW_WEIGHT(t) ((t) == 0 ? w0 : (t) == 1 ? w1 : (t) == 2 ? w2 : (t) == 3 ? w3 : w4)
#define DW_INPUT(j)                                                                                                    \
    ((j) == 0    ? x0                                                                                                  \
     : (j) == 1  ? x1                                                                                                  \
     : (j) == 2  ? x2                                                                                                  \
     : (j) == 3  ? x3                                                                                                  \
     : (j) == 4  ? x4                                                                                                  \
     : (j) == 5  ? x5                                                                                                  \
     : (j) == 6  ? x6                                                                                                  \
     : (j) == 7  ? x7                                                                                                  \
     : (j) == 8  ? x8                                                                                                  \
     : (j) == 9  ? x9                                                                                                  \
     : (j) == 10 ? x10                                                                                                 \
     : (j) == 11 ? x11                                                                                                 \
     : (j) == 12 ? x12                                                                                                 \
     : (j) == 13 ? x13                                                                                                 \
     : (j) == 14 ? x14                                                                                                 \
     : (j) == 15 ? x15                                                                                                 \
                 : x16)
#define DW_LOAD(j)                                                                                                     \
    ts_vec x##j = ts_zero();                                                                                           \
    if (j <= (outputs - 1) * stride + kw - 1) {                                                                        \
        if (inside || (uint32_t)(left + j) < (uint32_t)s->w)                                                           \
            x##j = ts_load(row + offset);                                                                              \
        offset += pixel;                                                                                               \
    }
#define DW_ADD(o)                                                                                                      \
    if (outputs > o && kw > tap)                                                                                       \
        a##o = ts_fma(DW_WEIGHT(tap), DW_INPUT(o * stride + tap), a##o);
#define DW_ANY(o)                                                                                                      \
    if (outputs > o && (uint32_t)(ix + o * step) < (uint32_t)s->w) {                                                   \
        const float *at = row + (ix + o * step) * x_pixel;                                                             \
        a##o = ts_fma(w0, part ? ts_load_part(at, d->lanes) : ts_load(at), a##o);                                      \
    }
#define DW_KEEP(o)                                                                                                     \
    if (outputs > o)                                                                                                   \
        ts_store(lanes + o * TS_VL, ts_clamp_vec(a##o, d->lo, d->hi));
#define DW_PUT(o)                                                                                                      \
    if (outputs > o)                                                                                                   \
        ts_store(to + o * d->y_pixel, ts_clamp_vec(a##o, d->lo, d->hi));

/* Outputs ox .. ox + outputs - 1 of row oy. outputs, kw, stride, inside and part are literals; kw = 0: any kernel and
 * stride. inside: no column is outside the image. part: only d->lanes channels exist in memory. */
TS_INLINE void dw_tile(const int outputs, const int kw, const int stride, const int inside, const int part,
                       const struct dw *d, int32_t oy, int32_t ox)
{
    const struct ts_shape *s = d->s;
    const int32_t step = kw ? stride : s->stride_w, top = oy * s->stride_h - s->pad_t, left = ox * step - s->pad_l;
    const ptrdiff_t x_pixel = d->x_pixel;
    DW_EACH(DW_DECLARE)
    for (int32_t r = 0; r < s->kh; r++) {
        const int32_t iy = top + r * s->dilation_h;
        if (iy < 0 || iy >= s->h)
            continue;
        const float *row = d->x + (ptrdiff_t)iy * s->w * x_pixel;
        const float *w = d->weights + (ptrdiff_t)r * s->kw * d->w_tap;
        if (kw) {
            const ts_vec w0 = ts_load(w), w1 = ts_load(w + d->w_tap), w2 = ts_load(w + 2 * d->w_tap);
            const ts_vec w3 = kw > 3 ? ts_load(w + 3 * d->w_tap) : w0, w4 = kw > 3 ? ts_load(w + 4 * d->w_tap) : w0;
            ptrdiff_t pixel = x_pixel, offset = left * x_pixel;
            TS_OPAQUE(pixel);
            DW_COLUMNS(DW_LOAD)
            /* Tap by tap: neighbouring products go to different sums. */
            {
                enum { tap = 0 };
                DW_EACH(DW_ADD)
            }
            {
                enum { tap = 1 };
                DW_EACH(DW_ADD)
            }
            {
                enum { tap = 2 };
                DW_EACH(DW_ADD)
            }
            {
                enum { tap = 3 };
                DW_EACH(DW_ADD)
            }
            {
                enum { tap = 4 };
                DW_EACH(DW_ADD)
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
    if (d->lanes >= TS_VL) {
        DW_EACH(DW_PUT)
    } else {
        float lanes[DW_OUTPUTS * TS_VL];
        DW_EACH(DW_KEEP)
        dw_put_part(d, to, lanes, outputs);
    }
}

#define DW_TILES(outputs, kw, stride, part)                                                                            \
    for (int32_t next = 0; next < ow; next += outputs) {                                                               \
        const int32_t ox = next + outputs <= ow ? next : ow - outputs, left = ox * stride - d->s->pad_l;               \
        if (kw && left >= 0 && left + (outputs - 1) * stride + kw <= d->s->w)                                          \
            dw_tile(outputs, kw, stride, 1, part, d, oy, ox);                                                          \
        else                                                                                                           \
            dw_tile(outputs, kw, stride, 0, part, d, oy, ox);                                                          \
    }

#define DW_ROW(kw, stride)                                                                                             \
    TS_ONCE void dw_row_##kw##_##stride(const struct dw *d, int32_t oy)                                                \
    {                                                                                                                  \
        const int32_t ow = d->s->ow;                                                                                   \
        if (ow >= DW_OUTPUTS) {                                                                                        \
            DW_TILES(DW_OUTPUTS, kw, stride, 0)                                                                        \
        } else if (ow >= DW_FEW) {                                                                                     \
            DW_TILES(DW_FEW, kw, stride, 0)                                                                            \
        } else {                                                                                                       \
            DW_TILES(1, kw, stride, 0)                                                                                 \
        }                                                                                                              \
    }

DW_ROW(0, 0)
DW_ROW(3, 1)
DW_ROW(3, 2)
DW_ROW(5, 1)
DW_ROW(5, 2)

TS_ONCE void dw_row_part(const struct dw *d, int32_t oy)
{
    const int32_t ow = d->s->ow;
    DW_TILES(1, 0, 0, 1)
}

/* One output row at one vector of channels. */
static void dw_row(const struct dw *d, int32_t oy)
{
    const struct ts_shape *s = d->s;
    if (d->lanes < TS_VL && !d->blocked)
        dw_row_part(d, oy);
    else if (s->dilation_w == 1 && s->kw == 3 && s->stride_w == 1)
        dw_row_3_1(d, oy);
    else if (s->dilation_w == 1 && s->kw == 3 && s->stride_w == 2)
        dw_row_3_2(d, oy);
    else if (s->dilation_w == 1 && s->kw == 5 && s->stride_w == 1)
        dw_row_5_1(d, oy);
    else if (s->dilation_w == 1 && s->kw == 5 && s->stride_w == 2)
        dw_row_5_2(d, oy);
    else
        dw_row_0_0(d, oy);
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
