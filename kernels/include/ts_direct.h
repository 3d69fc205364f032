/* SPDX-License-Identifier: MIT-0
 *
 * Direct convolution with channel-blocked weights, instantiated by a file that defines TS_NB (blocks of 16 output
 * channels per panel) and TS_MR (output pixels per tile).
 *
 *   y[m][oy][ox] = clamp(bias[m] + sum over c, r, s of w[m][c][r][s] x[c][oy*stride + r*dilation - pad][...])
 *
 *   weights  [group][panel][r][s][c][16 * blocks of the panel], output channels padded with zeros
 *
 * Output pixels are numbered through row ends, so only the last tile of an image is not full.
 * Method: Georganas et al. 2018 (register blocking), Dukhan 2019 (input pointers instead of padded copies).
 */
#ifndef TS_DIRECT_H
#define TS_DIRECT_H

#include "ts_tile.h"

enum ts_order { TS_CHW, TS_HWC, TS_CHW16C };

/* Input strides of group g. */
static inline void ts_conv_input(struct ts_tile_conv *t, const struct ts_shape *s, const float *x, enum ts_order order,
                                 int32_t g)
{
    const ptrdiff_t area = (ptrdiff_t)s->h * s->w;
    const int32_t c0 = s->c / s->group * g;
    t->x_block = order == TS_CHW16C ? TS_BLOCK : s->c;
    t->x_pixel = order == TS_CHW ? 1 : t->x_block;
    t->x_row = t->x_pixel * s->w;
    t->x_channel = order == TS_CHW ? area : 1;
    t->x_next = t->x_block * area;
    t->x_first = c0 % t->x_block;
    t->x = x + c0 / t->x_block * t->x_next;
    t->channels = s->c / s->group;
}

/* Output strides; returns where panel channel m of group g starts. */
static inline float *ts_conv_output(struct ts_tile_conv *t, const struct ts_shape *s, float *y, enum ts_order order,
                                    int32_t g, int32_t m)
{
    const ptrdiff_t area = (ptrdiff_t)s->oh * s->ow;
    const int32_t mg = s->m / s->group;
    t->y_pixel = order == TS_HWC ? s->m : TS_BLOCK;
    t->y_block = order == TS_HWC ? TS_BLOCK : TS_BLOCK * area;
    t->y_scatter = order == TS_CHW16C && s->group > 1 && mg % TS_BLOCK != 0;
    t->y_fill = order == TS_CHW16C && !t->y_scatter;
    t->y_first = g * mg + m;
    if (t->y_scatter)
        return y;
    return order == TS_HWC ? y + t->y_first : y + t->y_first / TS_BLOCK * t->y_block;
}

/* Scattered stores never write the missing channels of the last block, which the layout wants zero. */
static inline void ts_conv_zero_tail(const struct ts_tile_conv *t, const struct ts_shape *s, float *y)
{
    const int32_t tail = s->m % TS_BLOCK;
    if (!t->y_scatter || !tail)
        return;
    float *last = y + s->m / TS_BLOCK * t->y_block;
    for (ptrdiff_t q = 0; q < (ptrdiff_t)s->oh * s->ow; q++)
        for (int32_t j = tail; j < TS_BLOCK; j++)
            last[q * TS_BLOCK + j] = 0.0f;
}

/* The pixels q0 .. q0 + mr - 1 of the output, as the tile reads them. */
TS_INLINE void ts_conv_pixels(struct ts_tile_pixels *px, const struct ts_shape *s, const struct ts_tile_conv *t,
                              int32_t q0, int32_t mr, int32_t count)
{
    const int32_t reach_h = (s->kh - 1) * s->dilation_h, reach_w = (s->kw - 1) * s->dilation_w;
    int32_t oy = q0 / s->ow, ox = q0 % s->ow;
    px->count = count;
    px->inside = 1;
    for (int32_t k = 0; k < mr; k++) {
        const int32_t iy = oy * s->stride_h - s->pad_t, ix = ox * s->stride_w - s->pad_l;
        px->iy[k] = iy;
        px->ix[k] = ix;
        px->at[k] = iy * t->x_row + ix * t->x_pixel;
        px->inside &= (iy >= 0) & (ix >= 0) & (iy + reach_h < s->h) & (ix + reach_w < s->w);
        if (k + 1 < count && ++ox == s->ow) {
            ox = 0;
            oy++;
        }
    }
}

#ifdef TS_NB

#define TS_HALF ((TS_MR + 1) / 2)

/* Tiles of TS_MR pixels, then a half tile, then single pixels, with repeated pixels where that is cheaper. */
TS_ONCE int32_t ts_direct_tile(int32_t q0, int32_t pixels, int32_t nb, const struct ts_shape *s,
                              const struct ts_tile_conv *t, const float *weights, const float *bias, int32_t channels,
                              float *y)
{
    struct ts_tile_pixels px;
    y += q0 * t->y_pixel;
    if (pixels > TS_HALF + 1) {
        const int32_t count = pixels < TS_MR ? pixels : TS_MR;
        ts_conv_pixels(&px, s, t, q0, TS_MR, count);
        ts_tile_panel(TS_NB, TS_MR, TS_TAPS, nb, t, &px, weights, bias, 0, channels, y);
        return count;
    }
    if (pixels > 1) {
        const int32_t count = pixels < TS_HALF ? pixels : TS_HALF;
        ts_conv_pixels(&px, s, t, q0, TS_HALF, count);
        ts_tile_panel(TS_NB, TS_HALF, TS_TAPS, nb, t, &px, weights, bias, 0, channels, y);
        return count;
    }
    ts_conv_pixels(&px, s, t, q0, 1, 1);
    ts_tile_panel(TS_NB, 1, TS_TAPS, nb, t, &px, weights, bias, 0, channels, y);
    return 1;
}

TS_ONCE void ts_direct(const struct ts_shape *s, const float *x, const float *weights, const float *bias, float *y,
                      enum ts_order in, enum ts_order out)
{
    struct ts_tile_conv t = {.h = s->h, .w = s->w, .kh = s->kh, .kw = s->kw, .dilation_h = s->dilation_h,
                             .dilation_w = s->dilation_w, .lo = s->lo, .hi = s->hi};
    const int32_t mg = s->m / s->group, pixels = s->oh * s->ow;
    const int32_t blocks = (mg + TS_BLOCK - 1) / TS_BLOCK, panels = ts_panels(blocks, TS_NB);
    const ptrdiff_t k = (ptrdiff_t)s->kh * s->kw * (s->c / s->group);
    for (int32_t g = 0; g < s->group; g++) {
        ts_conv_input(&t, s, x, in, g);
        for (int32_t i = 0, m = 0; i < panels; i++) {
            const int32_t nb = ts_panel_blocks(blocks, panels, i);
            float *to = ts_conv_output(&t, s, y, out, g, m);
            for (int32_t q = 0; q < pixels;)
                q += ts_direct_tile(q, pixels - q, nb, s, &t, weights, bias ? bias + g * mg + m : bias, mg - m, to);
            weights += k * nb * TS_BLOCK;
            m += nb * TS_BLOCK;
        }
    }
    ts_conv_zero_tail(&t, s, y);
}

#define TS_DIRECT(name, in, out)                                                                      \
    TS_ROUTINE(name)                                                                                  \
    {                                                                                                 \
        (void)workspace;                                                                              \
        ts_direct(s, x[0], weights, bias, y, in, out);                                                \
    }

#endif
#endif
