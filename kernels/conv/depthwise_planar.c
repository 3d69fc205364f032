/* SPDX-License-Identifier: MIT-0
 *
 * Depthwise convolution (group = c = m) of planar tensors: vectors run along output columns, weights are broadcast.
 *
 *   weights  [c][kh][kw] as the operator has them
 *
 * A tile is up to DWP_VECTORS vectors of one output row. Where a tap reaches past the image or the stride is not 1, the
 * tile reads copies of the rows it needs, one line per column modulo the stride, zero outside the image. Lines stay
 * valid while the kernel slides down, so that each row is copied once per strip of columns.
 */
#include "ts_vec.h"

#define DWP_VECTORS (TS_VL == 16 ? 2 : 4)
#define DWP_COLUMNS (DWP_VECTORS * TS_VL)
#define DWP_STRIDE_MAX 4
#define DWP_REACH_MAX 32 /* (kw - 1) * dilation_w */
#define DWP_LINES 8      /* rows held; a taller kernel copies them again */
#define DWP_LINE (DWP_STRIDE_MAX * (DWP_COLUMNS + 1) + DWP_REACH_MAX)

/* One strip of columns of one channel. */
struct dwp {
    const struct ts_shape *s;
    const float *x, *residual; /* pixel (0, 0); the strip's first output column in row 0, or NULL */
    float *y;                  /* likewise */
    int32_t left;              /* input column of the first output's first tap */
    int32_t columns;           /* outputs per row */
    int32_t in_place;          /* no line is needed */
    int32_t length;            /* floats of one line: a tile's columns of one remainder modulo the stride */
    int32_t first[DWP_STRIDE_MAX], end[DWP_STRIDE_MAX]; /* part of a line inside the image; the rest is zero */
    int32_t tap[DWP_REACH_MAX + 1];                     /* where a tap's columns begin, from the first tap's */
    int32_t row[DWP_LINES];                             /* row of the image each line holds */
    float line[DWP_LINES][DWP_LINE];
};

/* What is the same for all rows and channels of a strip whose tiles have `outputs` columns. */
static void dwp_begin(struct dwp *d, int32_t outputs)
{
    const struct ts_shape *s = d->s;
    const int32_t stride = s->stride_w, reach = (s->kw - 1) * s->dilation_w;
    d->in_place = stride == 1 && d->left >= 0 && d->left + outputs + reach <= s->w;
    d->length = outputs + reach / stride;
    for (int32_t t = 0, right = 0; t < s->kw; t++, right += s->dilation_w)
        d->tap[t] = stride == 1 ? right : right % stride * d->length + right / stride;
    for (int32_t p = 0; p < stride; p++) {
        const int32_t at = d->left + p, end = at < s->w ? (s->w - at + stride - 1) / stride : 0;
        d->first[p] = at < 0 ? (stride - 1 - at) / stride : 0;
        d->end[p] = end < d->length ? end : d->length;
    }
    for (int32_t i = 0; i < DWP_LINES && i < s->h; i++)
        memset(d->line[i], 0, (size_t)(stride * d->length) * sizeof(float));
}

/* The line of row iy: line[p * length + i] is column left + i * stride_w + p. */
TS_INLINE const float *dwp_line(struct dwp *d, int32_t iy)
{
    const struct ts_shape *s = d->s;
    const int32_t slot = (int32_t)((uint32_t)iy % DWP_LINES), stride = s->stride_w;
    float *line = d->line[slot];
    if (d->row[slot] == iy)
        return line;
    d->row[slot] = iy;
    const float *from = d->x + (ptrdiff_t)iy * s->w + d->left;
    if (stride == 1) {
        const int32_t end = d->end[0];
        int32_t i = d->first[0];
        for (; i + TS_VL <= end; i += TS_VL)
            ts_store(line + i, ts_load(from + i));
        if (i < end)
            ts_copy_few(line + i, from + i, end - i);
    } else {
        float *to = line;
        for (int32_t p = 0; p < stride; p++, to += d->length)
            for (int32_t i = d->first[p], end = d->end[p]; i < end; i++)
                to[i] = from[i * stride + p];
    }
    return line;
}

#define DWP_EACH(OP) OP(0) OP(1) OP(2) OP(3)
#define DWP_DECLARE(v) ts_vec a##v = start;
#define DWP_ADD(v)                                                                                                     \
    if (v < nv)                                                                                                        \
        a##v = ts_fma(w, ts_load(from + v * TS_VL), a##v);
#define DWP_TAP(t)                                                                                                     \
    {                                                                                                                  \
        const float *from = line + d->tap[t];                                                                          \
        const ts_vec w = ts_splat(k[t]);                                                                               \
        DWP_EACH(DWP_ADD)                                                                                              \
    }
#define DWP_RESIDUAL(v)                                                                                                \
    if (v < nv && d->columns > v * TS_VL) {                                                                            \
        const int32_t n = d->columns - v * TS_VL;                                                                      \
        a##v = a##v + (n >= TS_VL ? ts_load(add + v * TS_VL) : ts_load_part(add + v * TS_VL, n));                      \
    }
#define DWP_PUT(v)                                                                                                     \
    if (v < nv && columns > v * TS_VL) {                                                                               \
        const ts_vec out = ts_clamp_vec(a##v, lo, hi);                                                                 \
        if (columns >= (v + 1) * TS_VL)                                                                                \
            ts_store(to + v * TS_VL, out);                                                                             \
        else                                                                                                           \
            ts_store_part(to + v * TS_VL, out, columns - v * TS_VL);                                                   \
    }

/* All rows of a strip of more than (nv - 1) * TS_VL columns. nv is a literal, and so is kw: 3, or 0 for any. */
TS_INLINE void dwp_strip(const int nv, const int kw, struct dwp *d, const float *weights, float bias)
{
    const struct ts_shape *s = d->s;
    const int32_t span = (s->kh - 1) * s->dilation_h + 1;
    /* Rows copied ahead of their use: loads so soon after narrower stores would wait for them. */
    const int32_t ahead = span < DWP_LINES ? DWP_LINES - span : 0;
    const ts_vec start = ts_splat(bias), lo = ts_splat(s->lo), hi = ts_splat(s->hi);
    for (int32_t i = 0; i < DWP_LINES; i++)
        d->row[i] = -1;
    int32_t copied = 0;
    for (int32_t oy = 0; oy < s->oh; oy++) {
        const float *k = weights;
        const int32_t top = oy * s->stride_h - s->pad_t, below = top + span + ahead < s->h ? top + span + ahead : s->h;
        copied = copied < top ? top : copied;
        for (; ahead > 0 && !d->in_place && copied < below; copied++)
            dwp_line(d, copied);
        DWP_EACH(DWP_DECLARE)
        for (int32_t r = 0, iy = top; r < s->kh; r++, iy += s->dilation_h, k += s->kw) {
            if (iy < 0 || iy >= s->h)
                continue;
            const float *line = d->in_place ? d->x + ((ptrdiff_t)iy * s->w + d->left) : dwp_line(d, iy);
            if (kw == 3) {
                DWP_TAP(0)
                DWP_TAP(1)
                DWP_TAP(2)
            } else {
                TS_NO_UNROLL
                for (int32_t t = 0; t < s->kw; t++)
                    DWP_TAP(t)
            }
        }
        if (d->residual) {
            const float *add = d->residual + (ptrdiff_t)oy * s->ow;
            DWP_EACH(DWP_RESIDUAL)
        }
        float *to = d->y + (ptrdiff_t)oy * s->ow;
        /* What a whole vector writes behind the row is the next rows' and still to come, if there is no other strip. */
        const int behind =
            !d->residual && s->ow == d->columns && (oy + 1) * s->ow - d->columns + nv * TS_VL <= s->oh * s->ow;
        const int32_t columns = behind ? nv * TS_VL : d->columns;
        DWP_EACH(DWP_PUT)
    }
}

#define DWP_STRIP(nv)                                                                                                  \
    TS_ONCE void dwp_strip_##nv(struct dwp *d, const float *weights, float bias)                                       \
    {                                                                                                                  \
        if (d->s->kw == 3)                                                                                             \
            dwp_strip(nv, 3, d, weights, bias);                                                                        \
        else                                                                                                           \
            dwp_strip(nv, 0, d, weights, bias);                                                                        \
    }

DWP_STRIP(1)
DWP_STRIP(2)
#if TS_VL < 16
DWP_STRIP(4)
#endif

TS_ROUTINE(conv_depthwise_planar_chw_chw_f32)
{
    (void)workspace;
    struct dwp d;
    d.s = s;
    for (int32_t ox = 0; ox < s->ow; ox += DWP_COLUMNS) {
        d.left = ox * s->stride_w - s->pad_l;
        d.columns = s->ow - ox < DWP_COLUMNS ? s->ow - ox : DWP_COLUMNS;
        const int32_t vectors = d.columns > 2 * TS_VL ? 4 : d.columns > TS_VL ? 2 : 1;
        dwp_begin(&d, vectors * TS_VL);
        for (int32_t c = 0; c < s->c; c++) {
            const float b = bias ? bias[c] : 0.0f, *w = weights + (ptrdiff_t)c * s->kh * s->kw;
            const ptrdiff_t at = (ptrdiff_t)c * s->y_pitch + ox;
            d.x = x[0] + (ptrdiff_t)c * s->x_pitch;
            d.y = y + at;
            d.residual = s->n_in == 2 ? x[1] + at : NULL;
            if (vectors == 1)
                dwp_strip_1(&d, w, b);
            else if (vectors == 2)
                dwp_strip_2(&d, w, b);
#if TS_VL < 16
            else
                dwp_strip_4(&d, w, b);
#endif
        }
    }
}
