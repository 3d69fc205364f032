/* SPDX-License-Identifier: MIT-0
 *
 * Direct convolution with channel-blocked weights, instantiated by a file that defines TS_NB (blocks of 16 output
 * channels per panel), TS_MR (output pixels per tile) and TS_MODE (of ts_tile).
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
#include "ts_window.h"

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

#define TS_HALF ((TS_MR + 1) / 2) /* pixels of the half tile */

#ifndef TS_WM

/* Below this many channels per tap the loops over taps cost more than their products. */
#define TS_FEW_CHANNELS 12

/* The table of steps in the order of the weights, for shapes of few channels. */
static inline void ts_conv_steps(struct ts_tile_conv *t)
{
    const int32_t steps = t->kh * t->kw * t->channels;
    t->steps = 0;
    if (TS_MODE != TS_ALL_TAPS || t->channels > TS_FEW_CHANNELS || t->dilation_h > TS_FEW_CHANNELS ||
        t->dilation_w > TS_FEW_CHANNELS || t->kh * t->kw > TS_STEPS_MAX || steps > TS_STEPS_MAX ||
        t->x_first + t->channels > t->x_block)
        return;
    for (int32_t r = 0; r < t->kh; r++)
        for (int32_t s = 0; s < t->kw; s++)
            for (int32_t c = 0; c < t->channels; c++) {
                const int32_t down = r * t->dilation_h, right = s * t->dilation_w;
                t->step_y[t->steps] = (int16_t)down;
                t->step_x[t->steps] = (int16_t)right;
                t->step_at[t->steps++] = (int32_t)(down * t->x_row + right * t->x_pixel + c * t->x_channel);
            }
}

/* Output rows [top, bottom) and columns [left, right), walked row by row: (oy, ox) is the next pixel. */
struct ts_conv_region {
    int32_t top, bottom, left, right, oy, ox;
};

static inline struct ts_conv_region ts_conv_rows(int32_t top, int32_t bottom, int32_t left, int32_t right)
{
    return (struct ts_conv_region){top, bottom, left, right, top, left};
}

/* The next mr pixels of the region as the tile reads and writes them; the last of `count` is repeated. Moves on. */
TS_ONCE void ts_conv_pixels(struct ts_tile_pixels *px, const struct ts_shape *s, const struct ts_tile_conv *t,
                            struct ts_conv_region *region, int32_t mr, int32_t count)
{
    const int32_t bottom = s->h - (s->kh - 1) * s->dilation_h, right = s->w - (s->kw - 1) * s->dilation_w;
    const ptrdiff_t step = s->stride_w * t->x_pixel;
    int32_t oy = region->oy, ox = region->ox, inside = 1;
    for (int32_t k = 0; k < count;) {
        /* The pixels of one row. */
        int32_t end = k + region->right - ox;
        end = end < count ? end : count;
        const int32_t iy = oy * s->stride_h - s->pad_t;
        int32_t ix = ox * s->stride_w - s->pad_l;
        ptrdiff_t at = iy * t->x_row + ix * t->x_pixel, to = ((ptrdiff_t)oy * s->ow + ox) * t->y_pixel;
        inside &= (iy >= 0) & (iy < bottom) & (ix >= 0) & (ix + (end - k - 1) * s->stride_w < right);
        ox += end - k;
        for (; k < end; k++, ix += s->stride_w, at += step, to += t->y_pixel) {
            px->at[k] = at;
            px->to[k] = to;
            px->iy[k] = iy;
            px->ix[k] = ix;
        }
        if (ox == region->right) {
            ox = region->left;
            oy++;
        }
    }
    for (int32_t k = count; k < mr; k++) {
        px->at[k] = px->at[count - 1];
        px->iy[k] = px->iy[count - 1];
        px->ix[k] = px->ix[count - 1];
    }
    px->count = count;
    px->inside = inside;
    region->oy = oy;
    region->ox = ox;
}

/* Panels of a group up to this size are all run on a tile before the next tile, which reads the input and writes whole
 * pixels once; larger ones are run panel by panel, so that a panel stays in the cache. Half of a 1 MiB L2. */
#define TS_WEIGHTS_IN_CACHE (512 * 1024)

struct ts_direct_group {
    const float *weights, *bias;
    float *y;
    int32_t g, blocks, panels;
    ptrdiff_t k; /* weights per output channel */
};

/* Panels first .. last - 1 of the group on one tile of output pixels. */
TS_INLINE void ts_direct_panels(const int mr, struct ts_conv_region *region, int32_t count, int32_t first, int32_t last,
                                const struct ts_shape *s, struct ts_tile_conv *t, const struct ts_direct_group *d,
                                enum ts_order out)
{
    const int32_t mg = s->m / s->group;
    struct ts_tile_pixels px;
    ts_conv_pixels(&px, s, t, region, mr, count);
    for (int32_t i = first; i < last; i++) {
        const int32_t nb = ts_panel_blocks(d->blocks, d->panels, i);
        const int32_t m = ts_panel_start(d->blocks, d->panels, i) * TS_BLOCK;
        float *to = ts_conv_output(t, s, d->y, out, d->g, m);
        ts_tile_panel(TS_NB, mr, TS_MODE, nb, t, &px, d->weights + m * d->k, d->bias ? d->bias + m : NULL, 0, mg - m,
                      to);
    }
}

/* Tiles of TS_MR pixels, then a half tile, then single pixels, with repeated pixels where that is cheaper. */
TS_ONCE void ts_direct_region(struct ts_conv_region region, int32_t first, int32_t last, const struct ts_shape *s,
                              struct ts_tile_conv *t, const struct ts_direct_group *d, enum ts_order out)
{
    int32_t left = (region.bottom - region.top) * (region.right - region.left);
    for (; left > TS_HALF + 1; left -= TS_MR)
        ts_direct_panels(TS_MR, &region, left < TS_MR ? left : TS_MR, first, last, s, t, d, out);
    for (; left > 1; left -= TS_HALF)
        ts_direct_panels(TS_HALF, &region, left < TS_HALF ? left : TS_HALF, first, last, s, t, d, out);
    if (left == 1)
        ts_direct_panels(1, &region, 1, first, last, s, t, d, out);
}

TS_ONCE void ts_direct(const struct ts_shape *s, const float *x, const float *weights, const float *bias, float *y,
                       enum ts_order in, enum ts_order out)
{
    struct ts_tile_conv t;
    t.h = s->h;
    t.w = s->w;
    t.kh = s->kh;
    t.kw = s->kw;
    t.dilation_h = s->dilation_h;
    t.dilation_w = s->dilation_w;
    t.lo = s->lo;
    t.hi = s->hi;
    const int32_t mg = s->m / s->group;
    const int32_t blocks = (mg + TS_BLOCK - 1) / TS_BLOCK;
    struct ts_direct_group d = {
        weights, bias, y, 0, blocks, ts_panels(blocks, TS_NB), (ptrdiff_t)s->kh * s->kw * (s->c / s->group)};
    const ptrdiff_t group_elems = d.k * blocks * TS_BLOCK;
    const int32_t together = group_elems <= TS_WEIGHTS_IN_CACHE / (ptrdiff_t)sizeof(float) ? d.panels : 1;
    for (; d.g < s->group; d.g++) {
        ts_conv_input(&t, s, x, in, d.g);
        ts_conv_output(&t, s, y, out, d.g, 0);
        ts_conv_steps(&t);
        for (int32_t i = 0; i < d.panels; i += together) {
            const struct ts_conv_region image = ts_conv_rows(0, s->oh, 0, s->ow);
            if (!t.steps) {
                ts_direct_region(image, i, i + together, s, &t, &d, out);
                continue;
            }
            /* With few channels a pixel at the border costs several inside: tiles of the one kind or the other. */
            int32_t top, bottom, left, right;
            ts_window_inside(s->h, s->oh, s->stride_h, s->pad_t, (s->kh - 1) * s->dilation_h, &top, &bottom);
            ts_window_inside(s->w, s->ow, s->stride_w, s->pad_l, (s->kw - 1) * s->dilation_w, &left, &right);
            const struct ts_conv_region regions[] = {ts_conv_rows(0, top, 0, s->ow), ts_conv_rows(top, bottom, 0, left),
                                                     ts_conv_rows(top, bottom, left, right),
                                                     ts_conv_rows(top, bottom, right, s->ow),
                                                     ts_conv_rows(bottom, s->oh, 0, s->ow)};
            for (size_t n = 0; n < sizeof regions / sizeof regions[0]; n++)
                ts_direct_region(regions[n], i, i + together, s, &t, &d, out);
        }
        d.weights += group_elems;
        if (bias)
            d.bias += mg;
    }
    ts_conv_zero_tail(&t, s, y);
}

#define TS_DIRECT(name, in, out)                                                                                       \
    TS_ROUTINE(name)                                                                                                   \
    {                                                                                                                  \
        (void)workspace;                                                                                               \
        ts_direct(s, x[0], weights, bias, y, in, out);                                                                 \
    }

#endif
#endif
