/* SPDX-License-Identifier: MIT-0
 *
 * The tiles of a depthwise convolution for one vector type. kernels/conv/depthwise.c includes this once per type, with
 * DW(name) naming the type's functions, DW_VEC the type, DW_LANES its floats, and DW(load), DW(store), DW(clamp).
 *
 * A tile is up to 8 neighbouring outputs of a row at one vector of channels. Its columns are walked once: each is
 * loaded once and multiplied into every output that sees it. Rows outside the image are left out by the loop over rows.
 * Columns outside are skipped; only the first and last kw / 2 of a tile can be (dw_is_tiled), so only they are tested.
 */

#define DW_EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define DW_COLUMNS(OP)                                                                                                 \
    OP(0)                                                                                                              \
    OP(1)                                                                                                              \
    OP(2)                                                                                                              \
    OP(3)                                                                                                              \
    OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11) OP(12) OP(13) OP(14) OP(15) OP(16) OP(17) OP(18) OP(19) OP(20)
#define DW_DECLARE(o) DW_VEC a##o = start;
#define DW_WEIGHT(t)                                                                                                   \
    ((t) == 0 ? w0 : (t) == 1 ? w1 : (t) == 2 ? w2 : (t) == 3 ? w3 : (t) == 4 ? w4 : (t) == 5 ? w5 : w6)
#define DW_ADD(o)                                                                                                      \
    if (o < outputs && j >= o * stride && j < o * stride + kw)                                                         \
        a##o = in * DW_WEIGHT(j - o * stride) + a##o;

/* A column that is not outside the image. */
#define DW_COLUMN(column)                                                                                              \
    if (column < columns) {                                                                                            \
        enum { j = column };                                                                                           \
        if (!(j < kw / 2 && d->outside & 1 << j) &&                                                                    \
            !(j >= columns - kw / 2 && d->outside & 256 << (columns - 1 - j))) {                                       \
            DW_VEC in = DW(load)(from + j % 4 * pixel);                                                                \
            DW_KEEP(in);                                                                                               \
            DW_EACH(DW_ADD)                                                                                            \
        }                                                                                                              \
        if (j % 4 == 3)                                                                                                \
            from += 4 * pixel;                                                                                         \
    }
#define DW_RESIDUAL(o)                                                                                                 \
    if (o < outputs)                                                                                                   \
        a##o = a##o + DW(load)(residual + o * y_pixel);
#define DW_PUT(o)                                                                                                      \
    if (o < outputs)                                                                                                   \
        DW(store)(to + o * y_pixel, DW(clamp)(a##o, lo, hi));
#define DW_CLEAR(o)                                                                                                    \
    if (o < outputs)                                                                                                   \
        DW(store)(to + o * y_pixel + DW_LANES, DW(load)(dw_zeros));

/* One tile at every vector of d: outputs at `to`, columns `left` floats from `x`, a row of the image, d->rows rows of
 * the kernel from `weights` on. outputs, kw and stride are literals. */
TS_INLINE void DW(tile)(const int outputs, const int kw, const int stride, const struct dw *d, const float *x,
                        ptrdiff_t left, const float *weights, float *to)
{
    const int columns = (outputs - 1) * stride + kw;
    const float *bias = d->bias;
    x += left;
    for (int32_t c = 0, end = d->vectors * DW_LANES; c < end;) {
        const DW_VEC start = DW(load)(bias);
        DW_EACH(DW_DECLARE)
        const float *row = x, *w = weights;
        TS_NO_UNROLL
        for (int32_t r = d->rows; r > 0; r--, row += d->x_step, w += kw * DW_BLOCK) {
            const float *from = row;
            /* What follows is read from memory in every row, and columns are found by adding. gcc would otherwise
             * compute more ahead than there are registers, and keep it in vector registers. */
            TS_OPAQUE(d);
            const ptrdiff_t pixel = d->x_pixel;
            const DW_VEC w0 = DW(load)(w), w1 = DW(load)(w + DW_BLOCK), w2 = DW(load)(w + 2 * DW_BLOCK);
            const DW_VEC w3 = kw > 3 ? DW(load)(w + 3 * DW_BLOCK) : w0, w4 = kw > 3 ? DW(load)(w + 4 * DW_BLOCK) : w0;
            const DW_VEC w5 = kw > 5 ? DW(load)(w + 5 * DW_BLOCK) : w0, w6 = kw > 5 ? DW(load)(w + 6 * DW_BLOCK) : w0;
            DW_COLUMNS(DW_COLUMN)
        }
        const ptrdiff_t y_pixel = d->y_pixel;
        if (d->residual) {
            const float *residual = d->residual + (to - d->y);
            DW_EACH(DW_RESIDUAL)
        }
        const DW_VEC lo = DW(load)(d->lo + c % DW_BLOCK), hi = DW(load)(d->hi + c % DW_BLOCK);
        DW_EACH(DW_PUT)
        if (DW_LANES < DW_BLOCK && d->clear) {
            DW_EACH(DW_CLEAR)
        }
        c += DW_LANES;
        x += DW_LANES;
        to += DW_LANES;
        if (DW_LANES == DW_BLOCK || c % d->block == 0) {
            x += d->x_block;
            to += d->y_block;
        }
        bias += d->bias_next;
        weights += DW_LANES;
        if (c % DW_BLOCK == 0)
            weights += d->w_block - DW_BLOCK;
    }
}

#define DW_TILE(outputs, kw, stride)                                                                                   \
    TS_ONCE void DW(tile_##kw##_##stride##_##outputs)(const struct dw *d, const float *x, ptrdiff_t left,              \
                                                      const float *weights, float *to)                                 \
    {                                                                                                                  \
        DW(tile)(outputs, kw, stride, d, x, left, weights, to);                                                        \
    }
#define DW_NAME(outputs, kw, stride) DW(tile_##kw##_##stride##_##outputs),
#define DW_WIDTHS_4(OP, kw, stride) OP(1, kw, stride) OP(2, kw, stride) OP(3, kw, stride) OP(4, kw, stride)
#define DW_WIDTHS_7(OP, kw, stride) DW_WIDTHS_4(OP, kw, stride) OP(5, kw, stride) OP(6, kw, stride) OP(7, kw, stride)
#define DW_WIDTHS_8(OP, kw, stride) DW_WIDTHS_7(OP, kw, stride) OP(8, kw, stride)
#define DW_KERNELS(OP)                                                                                                 \
    DW_WIDTHS_8(OP, 3, 1)                                                                                              \
    DW_WIDTHS_8(OP, 3, 2) DW_WIDTHS_7(OP, 5, 1) DW_WIDTHS_7(OP, 5, 2) DW_WIDTHS_7(OP, 7, 1) DW_WIDTHS_4(OP, 7, 2)

DW_KERNELS(DW_TILE)
static dw_tile *const DW(tiles)[] = {DW_KERNELS(DW_NAME)};

#define DW_ANY_ADD(o)                                                                                                  \
    if (o < outputs)                                                                                                   \
        a##o = DW(load)(row + at + o * step) * w + a##o;

/* Any kernel at channels c ..: taps [first, end) of d->rows rows, all inside the image at each of the outputs. */
TS_INLINE void DW(any_tile)(const int outputs, const struct dw *d, int32_t c, const float *row, ptrdiff_t left,
                            int32_t first, int32_t end, const float *weights, float *to)
{
    const struct ts_shape *s = d->s;
    const ptrdiff_t step = s->stride_w * d->x_pixel, next = s->dilation_w * d->x_pixel, y_pixel = d->y_pixel;
    const DW_VEC start = DW(load)(d->bias + c / DW_LANES * d->bias_next);
    DW_EACH(DW_DECLARE)
    row += c + c / d->block * d->x_block;
    to += c + c / d->block * d->y_block;
    weights += c / DW_BLOCK * d->w_block + c % DW_BLOCK;
    for (int32_t r = d->rows; r > 0; r--, row += d->x_step, weights += s->kw * DW_BLOCK) {
        ptrdiff_t at = left + first * next;
        TS_NO_UNROLL
        for (int32_t t = first; t < end; t++, at += next) {
            const DW_VEC w = DW(load)(weights + t * DW_BLOCK);
            DW_EACH(DW_ANY_ADD)
        }
    }
    if (d->residual) {
        const float *residual = d->residual + (to - d->y);
        DW_EACH(DW_RESIDUAL)
    }
    const DW_VEC lo = DW(load)(d->lo + c % DW_BLOCK), hi = DW(load)(d->hi + c % DW_BLOCK);
    DW_EACH(DW_PUT)
    if (DW_LANES < DW_BLOCK && d->clear) {
        DW_EACH(DW_CLEAR)
    }
}

TS_ONCE void DW(any)(struct dw *d)
{
    enum { few = 4 };
    const struct ts_shape *s = d->s;
    const int32_t reach = (few - 1) * s->stride_w;
    for (int32_t oy = 0; oy < s->oh; oy++) {
        const struct dw_rows rows = dw_rows(s, oy);
        const float *x = d->x + rows.top * d->x_row, *weights = d->weights + rows.first * s->kw * DW_BLOCK;
        d->rows = rows.count;
        for (int32_t ox = 0, outputs; ox < s->ow; ox += outputs) {
            const int32_t left = ox * s->stride_w - s->pad_l;
            const struct dw_taps taps = dw_taps(s, left);
            float *y = d->y + (oy * d->y_row + ox * d->y_pixel);
            outputs = taps.all && ox + few <= s->ow && dw_taps(s, left + reach).all ? few : 1;
            for (int32_t c = 0; c < d->vectors * DW_LANES; c += DW_LANES)
                if (outputs == few)
                    DW(any_tile)(few, d, c, x, left * d->x_pixel, 0, s->kw, weights, y);
                else
                    DW(any_tile)(1, d, c, x, left * d->x_pixel, taps.first, taps.end, weights, y);
            if (d->fill)
                dw_fill(d, y, outputs);
        }
    }
}

#undef DW
#undef DW_VEC
#undef DW_LANES
