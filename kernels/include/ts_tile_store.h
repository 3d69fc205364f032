/* SPDX-License-Identifier: MIT-0
 *
 * What a register tile (ts_tile.h) reads and writes: its geometry, and the stores that are not whole tiles.
 */
#ifndef TS_TILE_STORE_H
#define TS_TILE_STORE_H

#include "ts_vec.h"

#define TS_BLOCK 16     /* output channels per packed block, on every target */
#define TS_HALF_BLOCK 8 /* of the last block of a conv, if that is enough */
#define TS_TILE_PIXELS_MAX 12
#define TS_RUN 32        /* zeros that a pixel outside the image points at */
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

/* What stays the same from tile to tile of one panel. All strides in floats. TS_PRODUCT reads x, x_channel, x_next,
 * x_block, x_first, channels, y_block and ahead only. */
struct ts_tile_conv {
    const float *x;      /* pixel 0 of the tile, in the block that holds the group's first channel */
    ptrdiff_t x_pixel;   /* to the next pixel of a row */
    ptrdiff_t x_row;     /* to the next row */
    ptrdiff_t x_channel; /* to the next channel of a block */
    ptrdiff_t x_next;    /* to the next block of channels */
    int32_t x_block;     /* channels per block */
    int32_t x_first;     /* position of the first channel in its block */
    int32_t channels;    /* input channels to sum over */
    int32_t h, w, kh, kw, dilation_h, dilation_w;
    ptrdiff_t y_pixel; /* to the next output pixel, rows included */
    ptrdiff_t y_block; /* to the next y_lanes output channels */
    int32_t y_lanes;   /* channels per block of y: 8 or 16; 16 where all channels are neighbours in memory */
    int32_t y_fill;    /* 1: channels past the last are stored as zero, 0: they are not stored */
    int32_t y_scatter; /* 1: the group does not start on a block of y; y is pixel 0 of channel 0 */
    int32_t y_first;   /* y_scatter: the output channel a panel starts with */
    const float *y_start, *residual; /* element y - y_start of the residual belongs to y; NULL for none */
    ptrdiff_t ahead;                 /* TS_AHEAD: of every weight, the one so many floats later is asked for */
    float lo, hi;
    int32_t steps; /* few channels: entries of the table that replaces the loops over taps and channels; else 0 */
    int32_t step_at[TS_STEPS_MAX]; /* tap and channel as an offset into x */
};

/* The pixels of one tile, as they differ from its pixel 0: pixel k reads x + at[k] + tap, the corner of its window is
 * dy[k] rows and dx[k] columns away, it is stored to[k] floats after pixel 0. */
struct ts_tile_pixels {
    ptrdiff_t at[TS_TILE_PIXELS_MAX], to[TS_TILE_PIXELS_MAX];
    int32_t dy[TS_TILE_PIXELS_MAX], dx[TS_TILE_PIXELS_MAX];
    int32_t iy, ix; /* corner of pixel 0's window in the image */
    int32_t count;  /* pixels to store; the others repeat the last one */
    int32_t inside; /* 1: of every pixel the taps [top, bottom) x [left, right) lie in the image, and no others.
                       0: some pixel lacks some tap, and x_channel is 1 */
    int32_t top, bottom, left, right;
};

static const float ts_zeros[TS_RUN] = {0};

/* Where lane `lane` of a panel is stored. */
TS_INLINE ptrdiff_t ts_tile_lane(const struct ts_tile_conv *t, int32_t lane)
{
    return t->y_lanes == TS_BLOCK ? lane / TS_BLOCK * t->y_block + lane % TS_BLOCK
                                  : lane / TS_HALF_BLOCK * t->y_block + lane % TS_HALF_BLOCK;
}

/* Stores what a whole-tile store may not: part of the pixels, part of the channels, or channels across blocks.
 * lanes: `width` sums per pixel, of which `channels` exist, without residual; the first is lane `first` of the panel.
 */
TS_ONCE void ts_tile_store_part(const struct ts_tile_conv *t, const struct ts_tile_pixels *px, const float *lanes,
                                int32_t width, int32_t first, int32_t channels, float *y)
{
    enum { PIECE = TS_HALF_VL < TS_HALF_BLOCK ? TS_HALF_VL : TS_HALF_BLOCK }; /* never across blocks */
    const ts_half lo = ts_splat_half(t->lo), hi = ts_splat_half(t->hi);
    for (int32_t k = 0; k < px->count; k++, lanes += width) {
        float *pixel = y + px->to[k];
        const float *residual = t->residual ? t->residual + (pixel - t->y_start) : NULL;
        if (t->y_scatter) {
            for (int32_t j = 0; j < width && j < channels; j++) {
                const ptrdiff_t at = ts_tile_lane(t, t->y_first + first + j);
                pixel[at] = ts_clamp(residual ? lanes[j] + residual[at] : lanes[j], t->lo, t->hi);
            }
            continue;
        }
        for (int32_t j = 0; j < width; j += PIECE) {
            const ptrdiff_t at = ts_tile_lane(t, first + j);
            const int32_t left = channels - j;
            if (left >= PIECE) {
                ts_half sum = ts_load_half(lanes + j);
                if (residual)
                    sum = sum + ts_load_half(residual + at);
                ts_store_half(pixel + at, ts_clamp_half(sum, lo, hi));
                continue;
            }
            if (left <= 0 && !t->y_fill)
                break;
            /* Part of a piece: its other lanes are zero or not stored. */
            float piece[16] = {0}, clamped[16]; /* all that ts_copy_few could write, as in ts_load_part */
            const int32_t known = left > 0 ? left & (PIECE - 1) : 0;
            if (residual)
                ts_copy_few(piece, residual + at, known);
            ts_store_half(clamped, ts_clamp_half(ts_load_half(lanes + j) + ts_load_half(piece), lo, hi));
            if (!t->y_fill) {
                ts_copy_few(pixel + at, clamped, known);
                continue;
            }
            ts_store_half(piece, ts_splat_half(0.0f));
            ts_copy_few(piece, clamped, known);
            ts_store_half(pixel + at, ts_load_half(piece));
        }
    }
}

/* Zeros in the second half of the block whose first half ends at lane `lane` of the panel. */
TS_ONCE void ts_tile_fill(const struct ts_tile_conv *t, const struct ts_tile_pixels *px, int32_t lane, float *y)
{
    y += ts_tile_lane(t, lane);
    for (int32_t k = 0; k < px->count; k++)
        for (int32_t j = 0; j < TS_HALF_BLOCK; j += TS_HALF_VL)
            ts_store_half(y + px->to[k] + j, ts_splat_half(0.0f));
}

#endif
