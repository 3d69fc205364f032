/* SPDX-License-Identifier: MIT-0
 *
 * The one micro-kernel: a register tile of mr pixels x vectors of output channels.
 *
 *   acc[pixel][channel] = bias[channel] + residual[pixel][channel]
 *                         + sum over taps, input channels of  x[pixel, tap, c] * weights[tap][c][channel]
 *
 * Weights are streamed once per tile, inputs are broadcast in place through one pointer per pixel, so no padded copy
 * of the input exists. Taps outside the image are left out where they are the same for all pixels of the tile;
 * otherwise a pixel outside points at a block of zeros. Direct and pointwise convolution and the products of Winograd
 * are this kernel with other constants.
 *
 * Accumulators are named, not an array, because arrays stay in memory whenever a compiler declines to unroll.
 * nv, half, mr and mode are literals at every call of the always-inlined body: what they exclude is never compiled.
 */
#ifndef TS_TILE_H
#define TS_TILE_H

#include "ts_tile_store.h"

/* 1: tiles of one block ask for weights that will be needed later (ts_wino_block.h, ts_direct.h). */
#ifndef TS_AHEAD
#define TS_AHEAD 0
#endif

/* Where pixel k reads the channels from `base` at tap (down, right): x or zeros. Returns how many pixels have it. */
TS_INLINE int32_t ts_tile_border(int32_t mr, const struct ts_tile_conv *t, const struct ts_tile_pixels *px,
                                 const float *base, ptrdiff_t tap, int32_t down, int32_t right, const float **at)
{
    int32_t inside = 0;
    TS_OPAQUE(mr); /* the border is rare: one loop, not a copy per pixel */
    TS_PLAIN_LOOP
    for (int32_t k = 0; k < mr; k++) {
        const int in = ((uint32_t)(px->iy + px->dy[k] + down) < (uint32_t)t->h) &
                       ((uint32_t)(px->ix + px->dx[k] + right) < (uint32_t)t->w);
        at[k] = in ? base + (px->at[k] + tap) : ts_zeros;
        inside += in;
    }
    return inside;
}

/* bias[0], bias[1] ... below `channels`, zero where there are none. */
TS_ONCE void ts_tile_bias_part(const float *bias, int32_t channels, float *lanes)
{
    for (int32_t i = 0; i < TS_BLOCK; i++)
        lanes[i] = bias && i < channels ? bias[i] : 0.0f;
}

/* Biases of vector v of a tile that starts at bias[0] and has `channels` channels. */
TS_INLINE ts_vec ts_tile_bias(const float *bias, int32_t v, int32_t channels)
{
    float lanes[TS_BLOCK];
    if (bias && channels >= (v + 1) * TS_VL)
        return ts_load(bias + v * TS_VL);
    ts_tile_bias_part(bias ? bias + v * TS_VL : NULL, channels - v * TS_VL, lanes);
    return ts_load(lanes);
}

/* Of the half vector after v vectors. */
TS_INLINE ts_half ts_tile_bias_half(const float *bias, int32_t v, int32_t channels)
{
    float lanes[TS_BLOCK];
    if (bias && channels >= v * TS_VL + TS_HALF_VL)
        return ts_load_half(bias + v * TS_VL);
    ts_tile_bias_part(bias ? bias + v * TS_VL : NULL, channels - v * TS_VL, lanes);
    return ts_load_half(lanes);
}

/* Keeps a variable of an outer loop out of the registers of the inner one, where gcc would move others through vector
 * registers to make room. */
#if defined(__GNUC__) && !defined(__clang__)
#define TS_IN_MEMORY(v) __asm__("" : "+m"(v))
#else
#define TS_IN_MEMORY(v) (void)(v)
#endif

/* The pointers are opaque because gcc, seeing them, keeps their differences in vector registers and adds them up before
 * every load. */
#define TS_PIXELS_6(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5)
#define TS_PIXELS_8(OP) TS_PIXELS_6(OP) OP(6) OP(7)
#if TS_MR <= 6 /* what no tile of the file has would only take time to compile */
#define TS_PIXELS TS_PIXELS_6
#elif TS_MR <= 8
#define TS_PIXELS TS_PIXELS_8
#else
#define TS_PIXELS(OP) TS_PIXELS_8(OP) OP(8) OP(9) OP(10) OP(11)
#endif
#define TS_DECLARE(k)                                                                                                  \
    ts_vec a##k##_0 = b0, a##k##_1 = b1, a##k##_2 = b2, a##k##_3 = b3;                                                 \
    ts_half h##k = bh;                                                                                                 \
    const float *p##k = t->x;
#define TS_ADD(k)                                                                                                      \
    if (mr > k) {                                                                                                      \
        const float *from = residual + px->to[k];                                                                      \
        if (nv > 0)                                                                                                    \
            a##k##_0 += ts_load(from);                                                                                 \
        if (nv > 1)                                                                                                    \
            a##k##_1 += ts_load(from + 1 * next);                                                                      \
        if (nv > 2)                                                                                                    \
            a##k##_2 += ts_load(from + 2 * next);                                                                      \
        if (nv > 3)                                                                                                    \
            a##k##_3 += ts_load(from + 3 * next);                                                                      \
        if (half)                                                                                                      \
            h##k += ts_load_half(from + nv * next);                                                                    \
    }
#define TS_POINT_AT(k)                                                                                                 \
    if (mr > k) {                                                                                                      \
        p##k = base + (px->at[k] + tap);                                                                               \
        TS_OPAQUE(p##k);                                                                                               \
    }
#define TS_POINT(k)                                                                                                    \
    if (mr > k) {                                                                                                      \
        p##k = at[k];                                                                                                  \
        TS_OPAQUE(p##k);                                                                                               \
    }
#define TS_FMA(k)                                                                                                      \
    if (mr > k && nv > 0) {                                                                                            \
        const ts_vec b = ts_splat(p##k[i]);                                                                            \
        a##k##_0 = ts_fma(w0, b, a##k##_0);                                                                            \
        if (nv > 1)                                                                                                    \
            a##k##_1 = ts_fma(w1, b, a##k##_1);                                                                        \
        if (nv > 2)                                                                                                    \
            a##k##_2 = ts_fma(w2, b, a##k##_2);                                                                        \
        if (nv > 3)                                                                                                    \
            a##k##_3 = ts_fma(w3, b, a##k##_3);                                                                        \
    }
#define TS_FMA_HALF(k)                                                                                                 \
    if (mr > k)                                                                                                        \
        h##k = ts_fma_half(wh, ts_splat_half(p##k[i]), h##k);
#define TS_STEP                                                                                                        \
    {                                                                                                                  \
        const ts_vec w0 = nv > 0 ? ts_load(weights) : ts_zero();                                                       \
        const ts_vec w1 = nv > 1 ? ts_load(weights + 1 * TS_VL) : w0;                                                  \
        const ts_vec w2 = nv > 2 ? ts_load(weights + 2 * TS_VL) : w0;                                                  \
        const ts_vec w3 = nv > 3 ? ts_load(weights + 3 * TS_VL) : w0;                                                  \
        TS_PIXELS(TS_FMA)                                                                                              \
        if (half) {                                                                                                    \
            const ts_half wh = ts_load_half(weights + nv * TS_VL);                                                     \
            TS_PIXELS(TS_FMA_HALF)                                                                                     \
        }                                                                                                              \
    }
#define TS_FINISH(v) (mode == TS_PRODUCT ? (v) : ts_clamp_vec(v, lo, hi))
#define TS_FINISH_HALF(v) (mode == TS_PRODUCT ? (v) : ts_clamp_half(v, half_lo, half_hi))
#define TS_PUT(k)                                                                                                      \
    if (mr > k) {                                                                                                      \
        float *to = out + px->to[k];                                                                                   \
        if (nv > 0)                                                                                                    \
            ts_store(to, TS_FINISH(a##k##_0));                                                                         \
        if (nv > 1)                                                                                                    \
            ts_store(to + 1 * next, TS_FINISH(a##k##_1));                                                              \
        if (nv > 2)                                                                                                    \
            ts_store(to + 2 * next, TS_FINISH(a##k##_2));                                                              \
        if (nv > 3)                                                                                                    \
            ts_store(to + 3 * next, TS_FINISH(a##k##_3));                                                              \
        if (half)                                                                                                      \
            ts_store_half(to + nv * next, TS_FINISH_HALF(h##k));                                                       \
    }
#define TS_KEEP(k)                                                                                                     \
    if (mr > k) {                                                                                                      \
        float *to = lanes + k * width;                                                                                 \
        if (nv > 0)                                                                                                    \
            ts_store(to, a##k##_0);                                                                                    \
        if (nv > 1)                                                                                                    \
            ts_store(to + 1 * TS_VL, a##k##_1);                                                                        \
        if (nv > 2)                                                                                                    \
            ts_store(to + 2 * TS_VL, a##k##_2);                                                                        \
        if (nv > 3)                                                                                                    \
            ts_store(to + 3 * TS_VL, a##k##_3);                                                                        \
        if (half)                                                                                                      \
            ts_store_half(to + nv * TS_VL, h##k);                                                                      \
    }

/* One tile of nv vectors and, if half, a half vector. weights and bias start at lane `first` of the panel, of which
 * `channels` exist; w_step is the floats per input channel of the panel. y is pixel 0 of the tile at the panel's first
 * channel (y_scatter: channel 0).
 * mode: TS_ALL_TAPS; TS_ONE_TAP, inside the image; TS_PRODUCT, the same without bias, residual and clamp, of whole
 * tiles or of whole pixels, to y_block floats per block. */
TS_INLINE void ts_tile(const int nv, const int half, const int mr, const int mode, const struct ts_tile_conv *t,
                       const struct ts_tile_pixels *px, const float *weights, ptrdiff_t w_step, const float *bias,
                       int32_t first, int32_t channels, float *y)
{
    const int taps = mode == TS_ALL_TAPS, biased = mode != TS_PRODUCT, width = nv * TS_VL + half * TS_HALF_VL;
    const ts_vec b0 = biased && nv > 0 ? ts_tile_bias(bias, 0, channels) : ts_zero();
    const ts_vec b1 = biased && nv > 1 ? ts_tile_bias(bias, 1, channels) : b0;
    const ts_vec b2 = biased && nv > 2 ? ts_tile_bias(bias, 2, channels) : b0;
    const ts_vec b3 = biased && nv > 3 ? ts_tile_bias(bias, 3, channels) : b0;
    const ts_half bh = biased && half ? ts_tile_bias_half(bias, nv, channels) : ts_splat_half(0.0f);
    TS_PIXELS(TS_DECLARE)

    /* Whole pixels of channels that exist are stored at once, unless a vector or the tile's lanes straddle blocks. */
    const int straddles = biased && t->y_lanes == TS_HALF_BLOCK && width > TS_HALF_BLOCK && TS_VL != TS_HALF_BLOCK;
    const int whole = px->count == mr && (!biased || (channels >= width && !t->y_scatter && !straddles));
    const int32_t y_lanes = biased ? t->y_lanes : TS_BLOCK;
    const ptrdiff_t next = TS_VL >= y_lanes ? t->y_block : TS_VL;
    float *out = y + (biased ? ts_tile_lane(t, first) : first / TS_BLOCK * t->y_block + first % TS_BLOCK);
    if (biased && t->residual && whole) {
        const float *residual = t->residual + (out - t->y_start);
        TS_PIXELS(TS_ADD)
    }

    if (taps && t->steps) {
        /* Three channels per tap would spend more on loops than on products. */
        const float *base = t->x + t->x_first * t->x_channel;
        const ptrdiff_t tap = 0;
        const float *panel = weights;
        int32_t row = t->kw * t->channels, rows = px->bottom - px->top;
        ptrdiff_t length = (px->right - px->left) * t->channels;
        const int32_t *first_step = t->step_at + px->top * row + px->left * t->channels;
        if (length == row) {
            length *= rows;
            rows = rows > 0;
        }
        TS_PIXELS(TS_POINT_AT)
        for (; rows > 0; rows--, first_step += row) {
            const int32_t *step = first_step;
            weights = panel + (first_step - t->step_at) * w_step;
            const float *end = weights + length * w_step;
            TS_IN_MEMORY(rows);
            TS_IN_MEMORY(row);
            TS_IN_MEMORY(length);
            TS_IN_MEMORY(first_step);
            TS_IN_MEMORY(panel);
            TS_NO_UNROLL
            for (; weights != end; weights += w_step, step++) {
                const ptrdiff_t i = *step;
                TS_STEP
            }
        }
    } else {
        const int border = taps && !px->inside;
        const int32_t top = taps ? px->top : 0, bottom = taps ? px->bottom : 1;
        const int32_t left = taps ? px->left : 0, right = taps ? px->right : 1;
        const float *panel = weights;
        for (int32_t r = top; r < bottom; r++)
            for (int32_t s = left; s < right; s++) {
                const ptrdiff_t tap = taps ? r * t->dilation_h * t->x_row + s * t->dilation_w * t->x_pixel : 0;
                const float *block = t->x;
                int32_t position = t->x_first;
                if (taps)
                    weights = panel + (ptrdiff_t)(r * t->kw + s) * t->channels * w_step;
                for (int32_t left_over = t->channels; left_over > 0;) {
                    int32_t run = t->x_block - position < left_over ? t->x_block - position : left_over;
                    const float *base = block + position * t->x_channel;
                    if (!border) {
                        TS_PIXELS(TS_POINT_AT)
                    } else {
                        const float *at[TS_TILE_PIXELS_MAX];
                        run = run < TS_RUN ? run : TS_RUN;
                        if (!ts_tile_border(mr, t, px, base, tap, r * t->dilation_h, s * t->dilation_w, at))
                            break; /* the tap lies beside the image for all */
                        TS_PIXELS(TS_POINT)
                    }
                    ptrdiff_t i = 0;
                    const ptrdiff_t ahead = TS_AHEAD ? t->ahead : 0;
                    (void)ahead;
                    TS_NO_UNROLL
                    for (int32_t n = run; n > 0; n--, weights += w_step) {
                        TS_STEP
                        if (TS_AHEAD)
                            TS_PREFETCH(weights, ahead);
                        i += taps ? t->x_channel : 1;
                        if (taps)
                            TS_OPAQUE_INDEX(i); /* gcc would add a loop for steps of 1 */
                    }
                    left_over -= run;
                    position += run;
                    if (position == t->x_block) {
                        position = 0;
                        block += t->x_next;
                    }
                }
            }
    }

    const ts_vec lo = ts_splat(biased ? t->lo : 0.0f), hi = ts_splat(biased ? t->hi : 0.0f);
    const ts_half half_lo = ts_splat_half(biased ? t->lo : 0.0f), half_hi = ts_splat_half(biased ? t->hi : 0.0f);
    if (whole) {
        TS_PIXELS(TS_PUT)
    } else if (!biased) {
        float lanes[TS_TILE_PIXELS_MAX * 4 * TS_VL];
        TS_PIXELS(TS_KEEP)
        for (int32_t k = 0; k < px->count; k++)
            for (int32_t v = 0; v < nv; v++)
                ts_store(out + px->to[k] + v * next, ts_load(lanes + k * width + v * TS_VL));
    } else {
        float lanes[TS_TILE_PIXELS_MAX * 4 * TS_VL];
        TS_PIXELS(TS_KEEP)
        ts_tile_store_part(t, px, lanes, width, first, channels, y);
    }
    (void)half_lo, (void)half_hi, (void)lo, (void)hi;
}

/* The same tile over a panel of `lanes` output channels, in as many rounds as the target's registers ask for. lanes is
 * a multiple of 16 up to nb_max blocks, or (not of a TS_PRODUCT) 8, or, if nb_max > 1, 24. */
TS_INLINE void ts_tile_lanes(const int nb_max, const int mr, const int mode, int32_t lanes,
                             const struct ts_tile_conv *t, const struct ts_tile_pixels *px, const float *weights,
                             const float *bias, int32_t channels, float *y)
{
#if TS_VL == TS_BLOCK
    /* Literals for every panel width, so that the tile is compiled for it. */
    if (mode != TS_PRODUCT && lanes == 8)
        ts_tile(0, 1, mr, mode, t, px, weights, 8, bias, 0, channels, y);
    else if (lanes == 16)
        ts_tile(1, 0, mr, mode, t, px, weights, 16, bias, 0, channels, y);
    else if (mode != TS_PRODUCT && nb_max >= 2 && lanes == 24)
        ts_tile(1, 1, mr, mode, t, px, weights, 24, bias, 0, channels, y);
    else if (nb_max >= 2 && lanes == 32)
        ts_tile(2, 0, mr, mode, t, px, weights, 32, bias, 0, channels, y);
    else if (nb_max >= 3 && lanes == 48)
        ts_tile(3, 0, mr, mode, t, px, weights, 48, bias, 0, channels, y);
    else if (nb_max >= 4)
        ts_tile(4, 0, mr, mode, t, px, weights, 64, bias, 0, channels, y);
#else
    (void)nb_max;
    const int vectors = TS_TILE_VECTORS(4, mr), width = vectors * TS_VL;
    int32_t lane = 0;
    for (; lane + width <= lanes && (lane < channels || t->y_fill); lane += width)
        ts_tile(vectors, 0, mr, mode, t, px, weights + lane, lanes, bias ? bias + lane : bias, lane, channels - lane,
                y);
    if (width > TS_HALF_BLOCK && mode != TS_PRODUCT && lane < lanes && (lane < channels || t->y_fill))
        ts_tile(TS_HALF_BLOCK / TS_VL, 0, mr, mode, t, px, weights + lane, lanes, bias ? bias + lane : bias, lane,
                channels - lane, y);
#endif
    if (mode != TS_PRODUCT && t->y_fill && t->y_lanes == TS_BLOCK && lanes % TS_BLOCK)
        ts_tile_fill(t, px, lanes, y);
}

/* The products (TS_PRODUCT) of a panel of nb whole blocks. Not by way of ts_tile_lanes: compilers would copy its tiles
 * of half blocks for every literal mr, only to drop them. */
TS_INLINE void ts_product_panel(const int nb_max, const int mr, int32_t nb, const struct ts_tile_conv *t,
                                const struct ts_tile_pixels *px, const float *weights, float *y)
{
    const int32_t lanes = nb * TS_BLOCK;
#if TS_VL == TS_BLOCK
    if (nb == 1)
        ts_tile(1, 0, mr, TS_PRODUCT, t, px, weights, 16, NULL, 0, lanes, y);
    else if (nb_max >= 2 && nb == 2)
        ts_tile(2, 0, mr, TS_PRODUCT, t, px, weights, 32, NULL, 0, lanes, y);
    else if (nb_max >= 3 && nb == 3)
        ts_tile(3, 0, mr, TS_PRODUCT, t, px, weights, 48, NULL, 0, lanes, y);
    else if (nb_max >= 4)
        ts_tile(4, 0, mr, TS_PRODUCT, t, px, weights, 64, NULL, 0, lanes, y);
#else
    (void)nb_max;
    const int vectors = TS_TILE_VECTORS(4, mr);
    for (int32_t lane = 0; lane < lanes; lane += vectors * TS_VL)
        ts_tile(vectors, 0, mr, TS_PRODUCT, t, px, weights + lane, lanes, NULL, lane, lanes - lane, y);
#endif
}

/* Panels of up to nb_max blocks that share `blocks` as evenly as possible; panel i has ts_panel_blocks of them. */
TS_INLINE int32_t ts_panels(int32_t blocks, int32_t nb_max)
{
    return (blocks + nb_max - 1) / nb_max;
}

TS_INLINE int32_t ts_panel_blocks(int32_t blocks, int32_t panels, int32_t i)
{
    return blocks / panels + (i < blocks % panels);
}

/* First block of panel i. */
TS_INLINE int32_t ts_panel_start(int32_t blocks, int32_t panels, int32_t i)
{
    const int32_t wide = blocks % panels;
    return blocks / panels * i + (i < wide ? i : wide);
}

#endif
