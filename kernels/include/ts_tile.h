/* SPDX-License-Identifier: MIT-0
 *
 * The one micro-kernel: a register tile of mr pixels x nv vectors of output channels.
 *
 *   acc[pixel][channel] = bias[channel] + sum over taps, input channels of  x[pixel, tap, c] * weights[tap][c][channel]
 *
 * Weights are streamed once per tile, inputs are broadcast in place through one pointer per pixel. Pixels outside
 * the image point at a block of zeros, so no padded copy of the input exists. Direct and pointwise convolution and
 * the products of Winograd are this kernel with other constants.
 *
 * Accumulators are named, not an array, because arrays stay in memory whenever a compiler declines to unroll.
 * nv, mr and mode are literals at every call of the always-inlined body: what they exclude is never compiled.
 */
#ifndef TS_TILE_H
#define TS_TILE_H

#include "ts_vec.h"

#define TS_BLOCK 16 /* output channels per packed block, on every target */
#define TS_TILE_PIXELS_MAX 12
#define TS_RUN 32        /* channels per run of a pixel outside the image */
#define TS_STEPS_MAX 384 /* 11 x 11 taps of 3 channels fit */

/* Vectors of one tile of mr pixels: with mr accumulators each, the weights and a broadcast they fill the registers
 * (32 on AVX-512 and AArch64, 16 on AVX, SSE and ARMv7; scalar targets have 32 or run from memory anyway). */
#if TS_VL == 16
#define TS_TILE_VECTORS(nb, mr) (nb)
#elif defined(__aarch64__) || TS_VL == 1
#define TS_TILE_VECTORS(nb, mr) ((mr) <= 6 ? 4 : 2)
#else
#define TS_TILE_VECTORS(nb, mr) ((mr) <= 6 ? 2 : 1)
#endif

enum { TS_PRODUCT = -1, TS_ONE_TAP = 0, TS_ALL_TAPS = 1 };

/* What stays the same from tile to tile of one group of one call. All strides in floats. */
struct ts_tile_conv {
    const float *x;      /* pixel (0, 0) of the block that holds the group's first channel */
    ptrdiff_t x_pixel;   /* to the next pixel of a row */
    ptrdiff_t x_row;     /* to the next row */
    ptrdiff_t x_channel; /* to the next channel of a block */
    ptrdiff_t x_next;    /* to the next block of channels */
    int32_t x_block;     /* channels per block */
    int32_t x_first;     /* position of the first channel in its block */
    int32_t channels;    /* input channels to sum over */
    int32_t h, w, kh, kw, dilation_h, dilation_w;
    ptrdiff_t y_pixel; /* to the next output pixel, rows included */
    ptrdiff_t y_block; /* to the next 16 output channels */
    int32_t y_fill;    /* 1: channels past the last are stored as zero, 0: they are not stored */
    int32_t y_scatter; /* 1: the group does not start on a block of y; y is pixel (0, 0) of channel 0 */
    int32_t y_first;   /* y_scatter: the output channel a panel starts with */
    float lo, hi;
    int32_t steps; /* few channels: entries of the table that replaces the loops over taps and channels; else 0 */
    int32_t step_at[TS_STEPS_MAX];                      /* tap and channel as an offset into x */
    int16_t step_y[TS_STEPS_MAX], step_x[TS_STEPS_MAX]; /* rows and columns from the window's corner */
};

/* The pixels of one tile: pixel k reads x + at[k] + tap, its window's corner is at (iy[k], ix[k]) of the image, it is
 * stored to[k] floats after the first pixel of y. */
struct ts_tile_pixels {
    ptrdiff_t at[TS_TILE_PIXELS_MAX], to[TS_TILE_PIXELS_MAX];
    int32_t iy[TS_TILE_PIXELS_MAX], ix[TS_TILE_PIXELS_MAX];
    int32_t count;  /* pixels to store; the others repeat the last one */
    int32_t inside; /* every tap of every pixel lies in the image */
};

static const float ts_zeros[TS_RUN] = {0};

/* Stores what a whole-tile store may not: part of the pixels, part of the channels, or channels across blocks. */
TS_ONCE void ts_tile_store_part(const struct ts_tile_conv *t, const struct ts_tile_pixels *px, const float *lanes,
                                int32_t nv, int32_t first, int32_t channels, float *y)
{
    for (int32_t k = 0; k < px->count; k++, lanes += nv * TS_VL) {
        float *pixel = y + px->to[k];
        if (t->y_scatter) {
            for (int32_t j = 0; j < nv * TS_VL && j < channels; j++) {
                int32_t m = t->y_first + first + j;
                pixel[m / TS_BLOCK * t->y_block + m % TS_BLOCK] = lanes[j];
            }
            continue;
        }
        for (int32_t v = 0; v < nv; v++) {
            int32_t lane = first + v * TS_VL, left = channels - v * TS_VL;
            float *to = pixel + lane / TS_BLOCK * t->y_block + lane % TS_BLOCK;
            if (left >= TS_VL) {
                ts_store(to, ts_load(lanes + v * TS_VL));
                continue;
            }
            if (t->y_fill)
                ts_store(to, ts_zero());
            if (left > 0)
                ts_store_part(to, ts_load(lanes + v * TS_VL), left);
        }
    }
}

/* Where each pixel's next `run` inputs lie, one after the other, when some pixel is outside the image at some tap:
 * in x or among the zeros if channels are neighbours in memory, else gathered into the patch.
 * table: inputs step .. step + run - 1 of the table; otherwise channels from `base` at tap (down, right). */
TS_INLINE void ts_tile_border(int32_t mr, int table, const struct ts_tile_conv *t, const struct ts_tile_pixels *px,
                              const float *base, ptrdiff_t tap, int32_t down, int32_t right, int32_t step, int32_t run,
                              float *patch, const float **at)
{
    TS_OPAQUE(mr); /* the border is rare: one loop, not a copy per pixel */
    TS_PLAIN_LOOP
    for (int32_t k = 0; k < mr; k++) {
        if (!table) {
            const int in =
                ((uint32_t)(px->iy[k] + down) < (uint32_t)t->h) & ((uint32_t)(px->ix[k] + right) < (uint32_t)t->w);
            at[k] = in ? base + (px->at[k] + tap) : ts_zeros;
            if (t->x_channel == 1)
                continue;
            const ptrdiff_t from = in ? t->x_channel : 0;
            TS_PLAIN_LOOP
            for (int32_t i = 0; i < run; i++)
                patch[k * TS_RUN + i] = at[k][i * from];
        } else {
            TS_PLAIN_LOOP
            for (int32_t i = 0; i < run; i++) {
                const int in = ((uint32_t)(px->iy[k] + t->step_y[step + i]) < (uint32_t)t->h) &
                               ((uint32_t)(px->ix[k] + t->step_x[step + i]) < (uint32_t)t->w);
                patch[k * TS_RUN + i] = *(in ? base + (px->at[k] + t->step_at[step + i]) : ts_zeros);
            }
        }
        at[k] = patch + k * TS_RUN;
    }
}

/* bias[first], bias[first + 1] ... below `channels`, zero where there are none. */
TS_ONCE void ts_tile_bias_part(const float *bias, int32_t first, int32_t channels, float *lanes)
{
    for (int32_t i = 0; i < TS_BLOCK; i++)
        lanes[i] = bias && first + i < channels ? bias[first + i] : 0.0f;
}

/* Biases of vector v of a tile that starts at bias[0] and has `channels` channels. */
TS_INLINE ts_vec ts_tile_bias(const float *bias, int32_t v, int32_t channels)
{
    float lanes[TS_BLOCK];
    if (bias && channels >= (v + 1) * TS_VL)
        return ts_load(bias + v * TS_VL);
    ts_tile_bias_part(bias, v * TS_VL, channels, lanes);
    return ts_load(lanes);
}

/* The pointers are opaque because gcc, seeing them, keeps their differences in vector registers and adds them up before
 * every load. */
#define TS_PIXELS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11)
#define TS_DECLARE(k)                                                                                                  \
    ts_vec a##k##_0 = b0, a##k##_1 = b1, a##k##_2 = b2, a##k##_3 = b3;                                                 \
    const float *p##k = t->x;
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
    if (mr > k) {                                                                                                      \
        const ts_vec b = ts_splat(p##k[i]);                                                                            \
        a##k##_0 = ts_fma(w0, b, a##k##_0);                                                                            \
        if (nv > 1)                                                                                                    \
            a##k##_1 = ts_fma(w1, b, a##k##_1);                                                                        \
        if (nv > 2)                                                                                                    \
            a##k##_2 = ts_fma(w2, b, a##k##_2);                                                                        \
        if (nv > 3)                                                                                                    \
            a##k##_3 = ts_fma(w3, b, a##k##_3);                                                                        \
    }
#define TS_STEP                                                                                                        \
    {                                                                                                                  \
        const ts_vec w0 = ts_load(weights);                                                                            \
        const ts_vec w1 = nv > 1 ? ts_load(weights + 1 * TS_VL) : w0;                                                  \
        const ts_vec w2 = nv > 2 ? ts_load(weights + 2 * TS_VL) : w0;                                                  \
        const ts_vec w3 = nv > 3 ? ts_load(weights + 3 * TS_VL) : w0;                                                  \
        TS_PIXELS(TS_FMA)                                                                                              \
    }
#define TS_FINISH(v) (mode == TS_PRODUCT ? (v) : ts_clamp_vec(v, lo, hi))
#define TS_PUT(k)                                                                                                      \
    if (mr > k) {                                                                                                      \
        float *to = out + TS_PUT_AT(k);                                                                                \
        ts_store(to, TS_FINISH(a##k##_0));                                                                             \
        if (nv > 1)                                                                                                    \
            ts_store(to + 1 * next, TS_FINISH(a##k##_1));                                                              \
        if (nv > 2)                                                                                                    \
            ts_store(to + 2 * next, TS_FINISH(a##k##_2));                                                              \
        if (nv > 3)                                                                                                    \
            ts_store(to + 3 * next, TS_FINISH(a##k##_3));                                                              \
    }

/* One tile. weights and bias start at output channel `first` of the panel, of which `channels` exist; w_step is the
 * floats per input channel of the panel. y is pixel 0 of the tile at the panel's first channel (y_scatter: channel 0).
 * mode: TS_ALL_TAPS; TS_ONE_TAP, inside the image; TS_PRODUCT, the same without bias and clamp. */
TS_INLINE void ts_tile(const int nv, const int mr, const int mode, const struct ts_tile_conv *t,
                       const struct ts_tile_pixels *px, const float *weights, ptrdiff_t w_step, const float *bias,
                       int32_t first, int32_t channels, float *y)
{
    const int taps = mode == TS_ALL_TAPS;
    const int biased = mode != TS_PRODUCT;
    const ts_vec b0 = biased ? ts_tile_bias(bias, 0, channels) : ts_zero();
    const ts_vec b1 = biased && nv > 1 ? ts_tile_bias(bias, 1, channels) : b0;
    const ts_vec b2 = biased && nv > 2 ? ts_tile_bias(bias, 2, channels) : b0;
    const ts_vec b3 = biased && nv > 3 ? ts_tile_bias(bias, 3, channels) : b0;
    TS_PIXELS(TS_DECLARE)
    float patch[TS_TILE_PIXELS_MAX * TS_RUN]; /* the channels of a tap, when some pixel is outside and x is planar */

    const int table = taps && t->steps;
    const int32_t kh = table ? !px->inside : taps ? t->kh : 1, kw = taps && !table ? t->kw : 1;
    if (table && px->inside) {
        /* Three channels per tap would spend more on loops than on products. */
        const float *base = t->x + t->x_first * t->x_channel;
        const ptrdiff_t tap = 0;
        TS_PIXELS(TS_POINT_AT)
        TS_NO_UNROLL
        for (int32_t n = 0; n < t->steps; n++, weights += w_step) {
            const ptrdiff_t i = t->step_at[n];
            TS_STEP
        }
    }
    for (int32_t r = 0; r < kh; r++)
        for (int32_t s = 0; s < kw; s++) {
            const int32_t down = r * t->dilation_h, right = s * t->dilation_w;
            const ptrdiff_t tap = taps ? down * t->x_row + right * t->x_pixel : 0;
            const float *block = t->x;
            int32_t position = t->x_first;
            for (int32_t left = table ? t->steps : t->channels; left > 0;) {
                int32_t run = table ? left : t->x_block - position < left ? t->x_block - position : left;
                const float *base = block + position * t->x_channel;
                ptrdiff_t x_step = t->x_channel;
                if (!taps || px->inside) {
                    TS_PIXELS(TS_POINT_AT)
                } else {
                    const float *at[TS_TILE_PIXELS_MAX];
                    run = run < TS_RUN ? run : TS_RUN;
                    ts_tile_border(mr, table, t, px, base, tap, down, right, t->steps - left, run, patch, at);
                    x_step = 1;
                    TS_PIXELS(TS_POINT)
                }
                TS_OPAQUE(x_step); /* one loop for all steps */
                ptrdiff_t i = 0;
                TS_NO_UNROLL
                for (int32_t n = run; n > 0; n--, i += x_step, weights += w_step)
                    TS_STEP
                left -= run;
                position += table ? 0 : run;
                if (position == t->x_block) {
                    position = 0;
                    block += t->x_next;
                }
            }
        }

    const ts_vec lo = ts_splat(t->lo), hi = ts_splat(t->hi);
    if (px->count == mr && channels >= nv * TS_VL && !t->y_scatter) {
        float *out = y + first / TS_BLOCK * t->y_block + first % TS_BLOCK;
        const ptrdiff_t next = TS_VL == TS_BLOCK ? t->y_block : TS_VL;
#define TS_PUT_AT(k) px->to[k]
        TS_PIXELS(TS_PUT)
#undef TS_PUT_AT
    } else {
        float out[TS_TILE_PIXELS_MAX * 4 * TS_VL];
        const ptrdiff_t next = TS_VL;
#define TS_PUT_AT(k) k * nv * TS_VL
        TS_PIXELS(TS_PUT)
#undef TS_PUT_AT
        ts_tile_store_part(t, px, out, nv, first, channels, y);
    }
}

/* The same tile over a panel of nb blocks, in as many rounds as the target's registers ask for. */
TS_INLINE void ts_tile_panel(const int nb_max, const int mr, const int mode, int32_t nb, const struct ts_tile_conv *t,
                             const struct ts_tile_pixels *px, const float *weights, const float *bias, int32_t first,
                             int32_t channels, float *y)
{
    const ptrdiff_t w_step = nb * TS_BLOCK;
#if TS_VL == TS_BLOCK
    /* A literal for every panel width, so that the tile is compiled for it. */
    if (nb == 1)
        ts_tile(1, mr, mode, t, px, weights, w_step, bias, first, channels, y);
    else if (nb_max >= 2 && nb == 2)
        ts_tile(2, mr, mode, t, px, weights, w_step, bias, first, channels, y);
    else if (nb_max >= 3 && nb == 3)
        ts_tile(3, mr, mode, t, px, weights, w_step, bias, first, channels, y);
    else if (nb_max >= 4)
        ts_tile(4, mr, mode, t, px, weights, w_step, bias, first, channels, y);
#else
    (void)nb_max;
    for (int32_t lane = 0; lane < nb * TS_BLOCK; lane += TS_TILE_VECTORS(nb, mr) * TS_VL) {
        if (lane >= channels && !t->y_fill)
            break;
        ts_tile(TS_TILE_VECTORS(nb, mr), mr, mode, t, px, weights + lane, w_step, bias ? bias + lane : bias,
                first + lane, channels - lane, y);
    }
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
