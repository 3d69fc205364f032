/* SPDX-License-Identifier: MIT-0
 *
 * Direct convolution with channel-blocked weights, instantiated by a file that defines TS_NB (blocks of 16 output
 * channels per panel), TS_MR (output pixels per tile) and TS_MODE (of ts_tile).
 *
 *   y[m][oy][ox] = clamp(residual[m][oy][ox] + bias[m]
 *                        + sum over c, r, s of w[m][c][r][s] x[c][oy*stride + r*dilation - pad][...])
 *
 *   weights  [group][panel][r][s][c][lanes of the panel], output channels rounded up to 8 with zeros. Panels are 16 *
 *            blocks wide; 8 channels that remain join the last panel if that has one block and may have two, else they
 *            are a panel of their own.
 *
 * The output is cut into regions of pixels that have the same taps inside the image: the middle, and around it rows
 * and columns one pixel wide. Their tiles leave out the other taps and run through the ends of rows, so only the last
 * tile of a region is not full. A tiny image is one region instead: its pixels read zeros where a tap lies outside.
 * Method: Georganas et al. 2018 (register blocking), Dukhan 2019 (input pointers instead of padded copies).
 */
#ifndef TS_DIRECT_H
#define TS_DIRECT_H

#define TS_AHEAD (TS_NB == 1) /* ts_direct_image */

#include "ts_tile.h"
#include "ts_window.h"

enum ts_order { TS_CHW, TS_HWC, TS_CHW16C, TS_CHW8C };

/* Input strides of group g. */
static inline void ts_conv_input(struct ts_tile_conv *t, const struct ts_shape *s, const float *x, enum ts_order order,
                                 int32_t g)
{
    const int32_t c0 = s->c / s->group * g;
    t->x_block = order == TS_CHW16C ? TS_BLOCK : order == TS_CHW8C ? TS_HALF_BLOCK : s->c;
    t->x_pixel = order == TS_CHW ? 1 : order == TS_HWC ? s->x_pitch : t->x_block;
    t->x_row = t->x_pixel * s->w;
    t->x_channel = order == TS_CHW ? s->x_pitch : 1;
    t->x_next = order == TS_CHW || order == TS_HWC ? 0 : (ptrdiff_t)t->x_block * s->x_pitch;
    t->x_first = c0 % t->x_block;
    t->x = x + c0 / t->x_block * t->x_next;
    t->channels = s->c / s->group;
}

#define TS_HALF ((TS_MR + 1) / 2) /* pixels of the half tile */

#ifndef TS_WM

/* Output strides. */
static inline void ts_conv_output(struct ts_tile_conv *t, const struct ts_shape *s, enum ts_order order)
{
    t->y_lanes = order == TS_CHW8C ? TS_HALF_BLOCK : TS_BLOCK;
    t->y_pixel = order == TS_HWC ? s->y_pitch : t->y_lanes;
    t->y_block = order == TS_HWC ? TS_BLOCK : (ptrdiff_t)t->y_lanes * s->y_pitch;
    t->y_scatter = order != TS_HWC && s->group > 1 && s->m / s->group % t->y_lanes != 0;
    t->y_fill = order != TS_HWC && !t->y_scatter;
}

/* Scattered stores never write the missing channels of the last block, which the layout wants zero. */
static inline void ts_conv_zero_tail(const struct ts_tile_conv *t, const struct ts_shape *s, float *y)
{
    const int32_t tail = s->m % t->y_lanes;
    if (!t->y_scatter || !tail)
        return;
    float *last = y + s->m / t->y_lanes * t->y_block;
    for (ptrdiff_t q = 0; q < (ptrdiff_t)s->oh * s->ow; q++)
        for (int32_t j = tail; j < t->y_lanes; j++)
            last[q * t->y_lanes + j] = 0.0f;
}

/* Below this many channels per tap the loops over taps cost more than their products. */
#define TS_FEW_CHANNELS 12

/* The table of steps in the order of the weights, for shapes of few channels. */
static inline void ts_conv_steps(struct ts_tile_conv *t)
{
    const int32_t steps = t->kh * t->kw * t->channels;
    t->steps = 0;
    if (TS_MODE != TS_ALL_TAPS || t->channels > TS_FEW_CHANNELS || t->kh * t->kw > TS_STEPS_MAX ||
        steps > TS_STEPS_MAX || t->x_first + t->channels > t->x_block)
        return;
    for (int32_t r = 0; r < t->kh; r++)
        for (int32_t s = 0; s < t->kw; s++)
            for (int32_t c = 0; c < t->channels; c++)
                t->step_at[t->steps++] =
                    (int32_t)(r * t->dilation_h * t->x_row + s * t->dilation_w * t->x_pixel + c * t->x_channel);
}

/* Output rows [top, bottom) and columns [left, right), walked row by row: (oy, ox) is the next pixel. */
struct ts_conv_walk {
    int32_t top, bottom, left, right, oy, ox;
    int32_t taps_top, taps_bottom, taps_left, taps_right; /* inside the image, for all pixels unless mixed */
    int32_t mixed;                                        /* 1: the pixels differ in the taps that lie inside */
    int32_t straight_pixels;                              /* `straight` holds this many pixels of one row */
    ptrdiff_t from, to;                                   /* pixel 0 of the tile in x and y */
    struct ts_tile_pixels straight, bent;                 /* pixels of one row; others */
};

/* The next `count` pixels as a tile of mr pixels reads and writes them; the last is repeated. */
TS_ONCE void ts_conv_pixels(struct ts_tile_pixels *px, const struct ts_conv_walk *walk, const struct ts_shape *s,
                            const struct ts_tile_conv *t, int32_t mr, int32_t count)
{
    const ptrdiff_t row = (ptrdiff_t)s->stride_h * t->x_row, column = s->stride_w * t->x_pixel;
    int32_t down = 0, right = 0; /* in outputs, from pixel 0 */
    px->inside = 1;
    px->count = count;
    px->top = walk->taps_top;
    px->bottom = walk->taps_bottom;
    px->left = walk->taps_left;
    px->right = walk->taps_right;
    TS_PLAIN_LOOP
    for (int32_t k = 0; k < mr; k++) {
        px->at[k] = down * row + right * column;
        px->to[k] = ((ptrdiff_t)down * s->ow + right) * t->y_pixel;
        px->dy[k] = down * s->stride_h;
        px->dx[k] = right * s->stride_w;
        if (k >= count - 1)
            continue;
        right++;
        if (walk->ox + right == walk->right) {
            right = walk->left - walk->ox;
            down++;
        }
    }
}

/* Whether every tap of every pixel lies in the image. */
TS_ONCE int32_t ts_conv_inside(const struct ts_tile_pixels *px, const struct ts_shape *s)
{
    const int32_t bottom = s->h - (s->kh - 1) * s->dilation_h, right = s->w - (s->kw - 1) * s->dilation_w;
    int32_t inside = 1;
    for (int32_t k = 0; k < px->count; k++) {
        const int32_t iy = px->iy + px->dy[k], ix = px->ix + px->dx[k];
        inside &= (iy >= 0) & (iy < bottom) & (ix >= 0) & (ix < right);
    }
    return inside;
}

/* The next tile; moves on. */
TS_INLINE const struct ts_tile_pixels *ts_conv_next(struct ts_conv_walk *walk, const struct ts_shape *s,
                                                    const struct ts_tile_conv *t, int32_t mr, int32_t count)
{
    const int32_t iy = walk->oy * s->stride_h - s->pad_t, ix = walk->ox * s->stride_w - s->pad_l;
    struct ts_tile_pixels *px = &walk->bent;
    walk->from = iy * t->x_row + ix * t->x_pixel;
    walk->to = ((ptrdiff_t)walk->oy * s->ow + walk->ox) * t->y_pixel;
    if (count < mr || walk->ox + mr > walk->right) {
        ts_conv_pixels(px, walk, s, t, mr, count);
    } else {
        px = &walk->straight;
        if (walk->straight_pixels < mr) {
            ts_conv_pixels(px, walk, s, t, mr, mr);
            walk->straight_pixels = mr;
        }
        px->count = mr;
    }
    px->iy = iy;
    px->ix = ix;
    if (walk->mixed)
        px->inside = ts_conv_inside(px, s);
    walk->ox += count;
    while (walk->ox >= walk->right) {
        walk->ox -= walk->right - walk->left;
        walk->oy++;
    }
    return px;
}

/* Panels of a group up to this size are all run on a tile before the next tile, which reads the input and writes whole
 * pixels once; larger ones are run panel by panel, so that a panel stays in the cache. Half of a 1 MiB L2. */
#define TS_WEIGHTS_IN_CACHE (512 * 1024)

/* Images with fewer pixels in the middle are one region: the others would be many and each of less than a tile. */
#define TS_MIDDLE_PIXELS 20

struct ts_direct_group {
    const float *x, *weights, *bias;
    float *y;
    int32_t first_m;      /* output channel the group starts with */
    int32_t m;            /* output channels of the group */
    int32_t panels, wide; /* the first `wide` panels have 16 lanes more */
    int32_t lanes, last;  /* of a narrow panel, of the last one */
    ptrdiff_t k;          /* weights per output channel */
    ptrdiff_t ahead;      /* to the weights of the next panel, if one at a time is streamed, else 0 */
};

static inline void ts_direct_cut(struct ts_direct_group *d)
{
    const int32_t eighths = (d->m + TS_HALF_BLOCK - 1) / TS_HALF_BLOCK, blocks = eighths / 2;
    d->panels = ts_panels(blocks, TS_NB);
    d->wide = d->panels ? blocks % d->panels : 0;
    d->lanes = d->panels ? blocks / d->panels * TS_BLOCK : 0;
    d->last = d->lanes;
    if (eighths % 2 == 0)
        return;
    if (TS_NB > 1 && d->lanes == TS_BLOCK) {
        d->last += TS_HALF_BLOCK;
    } else {
        d->panels++;
        d->last = TS_HALF_BLOCK;
    }
}

/* Lanes of panel i. */
TS_INLINE int32_t ts_direct_lanes(const struct ts_direct_group *d, int32_t i)
{
    return i == d->panels - 1 ? d->last : d->lanes + (i < d->wide ? TS_BLOCK : 0);
}

/* Panels first .. last - 1 of the group on the next tile of output pixels; m is the channel panel `first` starts with.
 */
TS_INLINE void ts_direct_panels(const int mr, struct ts_conv_walk *walk, int32_t count, int32_t first, int32_t last,
                                int32_t m, const struct ts_shape *s, struct ts_tile_conv *t,
                                const struct ts_direct_group *d)
{
    const struct ts_tile_pixels *px = ts_conv_next(walk, s, t, mr, count);
    t->x = d->x + walk->from;
    for (int32_t i = first, lanes; i < last; i++, m += lanes) {
        lanes = ts_direct_lanes(d, i);
        t->y_first = d->first_m + m;
        ts_tile_lanes(TS_NB, mr, TS_MODE, lanes, t, px, d->weights + m * d->k, d->bias ? d->bias + m : NULL, d->m - m,
                      d->y + walk->to + (t->y_scatter ? 0 : ts_tile_lane(t, t->y_first)));
    }
    t->ahead = 0;
}

/* Tiles of TS_MR pixels, then a half tile, then single pixels, with repeated pixels where that is cheaper. */
TS_ONCE void ts_direct_region(struct ts_conv_walk *walk, int32_t first, int32_t last, int32_t m,
                              const struct ts_shape *s, struct ts_tile_conv *t, const struct ts_direct_group *d)
{
    int32_t left = (walk->bottom - walk->top) * (walk->right - walk->left);
    walk->oy = walk->top;
    walk->ox = walk->left;
    walk->straight_pixels = 0;
    for (; left > TS_HALF + 1; left -= TS_MR)
        ts_direct_panels(TS_MR, walk, left < TS_MR ? left : TS_MR, first, last, m, s, t, d);
    for (; left > 1; left -= TS_HALF)
        ts_direct_panels(TS_HALF, walk, left < TS_HALF ? left : TS_HALF, first, last, m, s, t, d);
    if (left == 1)
        ts_direct_panels(1, walk, 1, first, last, m, s, t, d);
}

/* Panels first .. last - 1 of the group on the image. The first tile with all taps asks for the weights of the panel
 * after them: small images are done with a panel before memory has delivered the next. */
static inline void ts_direct_image(int32_t first, int32_t last, int32_t m, const struct ts_shape *s,
                                   struct ts_tile_conv *t, const struct ts_direct_group *d)
{
    int32_t top, bottom, left, right; /* of the middle */
    struct ts_conv_walk walk;
    ts_window_inside(s->h, s->oh, s->stride_h, s->pad_t, (s->kh - 1) * s->dilation_h, &top, &bottom);
    ts_window_inside(s->w, s->ow, s->stride_w, s->pad_l, (s->kw - 1) * s->dilation_w, &left, &right);
    walk.mixed = t->x_channel == 1 && !t->steps && (bottom - top) * (right - left) < TS_MIDDLE_PIXELS;
    t->ahead = 0;
    if (TS_MODE == TS_ONE_TAP || walk.mixed) {
        t->ahead = d->ahead;
        walk.top = walk.left = walk.taps_top = walk.taps_left = 0;
        walk.bottom = s->oh;
        walk.right = s->ow;
        walk.taps_bottom = s->kh;
        walk.taps_right = s->kw;
        ts_direct_region(&walk, first, last, m, s, t, d);
        return;
    }
    for (walk.top = 0; walk.top < s->oh; walk.top = walk.bottom) {
        walk.bottom = walk.top == top && bottom > top ? bottom : walk.top + 1;
        ts_window_taps(s->h, s->kh, s->dilation_h, walk.top * s->stride_h - s->pad_t, &walk.taps_top,
                       &walk.taps_bottom);
        for (walk.left = 0; walk.left < s->ow; walk.left = walk.right) {
            walk.right = walk.left == left && right > left ? right : walk.left + 1;
            ts_window_taps(s->w, s->kw, s->dilation_w, walk.left * s->stride_w - s->pad_l, &walk.taps_left,
                           &walk.taps_right);
            if (walk.top == top && walk.left == left)
                t->ahead = d->ahead;
            ts_direct_region(&walk, first, last, m, s, t, d);
        }
    }
}

TS_ONCE void ts_direct(const struct ts_shape *shape, const float *const *x, const float *weights, const float *bias,
                       float *y, enum ts_order in, enum ts_order out)
{
    struct ts_shape s = *shape;
    if (s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && s.oh == s.h && s.ow == s.w && !s.pad_t &&
        !s.pad_l) { /* one row of pixels */
        s.ow = s.w = s.h * s.w;
        s.oh = s.h = 1;
    }
    struct ts_tile_conv t;
    t.h = s.h;
    t.w = s.w;
    t.kh = s.kh;
    t.kw = s.kw;
    t.dilation_h = s.dilation_h;
    t.dilation_w = s.dilation_w;
    t.lo = s.lo;
    t.hi = s.hi;
    t.y_start = y;
    t.residual = s.n_in == 2 ? x[1] : NULL;
    ts_conv_output(&t, &s, out);
    struct ts_direct_group d;
    d.m = s.m / s.group;
    d.k = (ptrdiff_t)s.kh * s.kw * (s.c / s.group);
    d.weights = weights;
    d.bias = bias;
    d.y = y;
    ts_direct_cut(&d);
    const ptrdiff_t group_elems = d.k * ((d.m + TS_HALF_BLOCK - 1) / TS_HALF_BLOCK * TS_HALF_BLOCK);
    const int32_t together = group_elems <= TS_WEIGHTS_IN_CACHE / (ptrdiff_t)sizeof(float) ? d.panels : 1;
    for (int32_t g = 0; g < s.group; g++) {
        ts_conv_input(&t, &s, x[0], in, g);
        d.x = t.x;
        d.first_m = g * d.m;
        ts_conv_steps(&t);
        for (int32_t i = 0, m = 0; i < d.panels; i += together) {
            const ptrdiff_t panel = d.k * ts_direct_lanes(&d, i);
            d.ahead = i + together < d.panels && panel <= TS_WEIGHTS_IN_CACHE / (ptrdiff_t)sizeof(float) ? panel : 0;
            ts_direct_image(i, i + together, m, &s, &t, &d);
            m += ts_direct_lanes(&d, i);
        }
        d.weights += group_elems;
        if (bias)
            d.bias += d.m;
    }
    ts_conv_zero_tail(&t, &s, y);
}

#define TS_DIRECT(name, in, out)                                                                                       \
    TS_ROUTINE(name)                                                                                                   \
    {                                                                                                                  \
        (void)workspace;                                                                                               \
        ts_direct(s, x, weights, bias, y, in, out);                                                                    \
    }

#endif
#endif
