/* SPDX-License-Identifier: MIT-0
 *
 * Depthwise convolution (group = c = m), vectors along channels, for hwc, chw8c and chw16c.
 *
 *   weights  [c rounded up to 16 / 16][kh][kw][16]; blocked: missing channels zero; hwc: the last block holds the last
 *            16 channels (with fewer than 16, those and zeros)
 *
 * Tiles and their loops are in ts_depthwise.h, once for whole vectors and, on AVX-512, once for half ones, which serve
 * the channels past a multiple of 16. Zhang et al. 2020, High performance depthwise and pointwise convolutions.
 */
#include "ts_vec.h"

#define DW_BLOCK 16
#define DW_FEWEST 4                     /* blocks of neighbouring channels in a strip, for the sake of prefetching */
#define DW_CACHE_FLOATS (24 * 1024 / 4) /* rows that stay in the nearest cache while the kernel slides down */

#define DW_HALF (TS_HALF_VL < TS_VL)

/* A call at some neighbouring vectors of channels. */
struct dw {
    const struct ts_shape *s;
    const float *x, *weights, *bias, *residual; /* first of the channels; bias may be zeros with bias_next = 0 */
    float *y;
    ptrdiff_t x_pixel, x_row, x_step;  /* floats to the next column, row, row of the kernel */
    ptrdiff_t y_pixel, y_row, w_block; /* likewise; to the next 16 channels of the weights */
    ptrdiff_t x_block, y_block;        /* floats from behind a block of neighbouring channels to the next; hwc: none */
    int32_t block;                     /* channels that are neighbours in memory; hwc: any number will do */
    int32_t by_rows;                   /* a strip is rather fewer channels than fewer columns: they are far apart */
    int32_t vectors, bias_next;
    int32_t rows, outside; /* of a tile: rows of the kernel inside the image; bit i, 8 + i: column i from the left,
                              right is not */
    int32_t fill, fill_at; /* zeros to store behind the last vector, and where */
    int32_t clear;         /* as many zeros as a vector has floats follow the only one */
    float lo[DW_BLOCK], hi[DW_BLOCK]; /* both zero at missing channels, whose sums so become zero */
};

typedef void dw_tile(const struct dw *d, const float *x, ptrdiff_t left, const float *weights, float *to);

/* Keeps a vector in its register: gcc loads it again for each of its uses otherwise. */
#if defined(__AVX512F__) && TS_VL > 1
#define DW_KEEP(v) __asm__("" : "+v"(v)) /* any of 32 registers; x is the first 16 */
#elif defined(__SSE2__) && TS_VL > 1
#define DW_KEEP(v) __asm__("" : "+x"(v))
#elif defined(__ARM_NEON) && TS_VL > 1
#define DW_KEEP(v) __asm__("" : "+w"(v))
#else
#define DW_KEEP(v) (void)(v)
#endif

static const float dw_zeros[DW_BLOCK] = {0};

/* Rows of the kernel that meet the image: `count` from `first` on, the first at row `top`. */
struct dw_rows {
    int32_t first, count;
    ptrdiff_t top;
};

TS_INLINE struct dw_rows dw_rows(const struct ts_shape *s, int32_t oy)
{
    const int32_t top = oy * s->stride_h - s->pad_t;
    int32_t first = 0, end = s->kh;
    while (first < end && top + first * s->dilation_h < 0)
        first++;
    while (end > first && top + (end - 1) * s->dilation_h >= s->h)
        end--;
    return (struct dw_rows){first, end - first, end > first ? top + first * s->dilation_h : 0};
}

/* Taps [first, end) of a row that starts at column `left` are inside the image; all: every one. */
struct dw_taps {
    int32_t first, end, all;
};

TS_INLINE struct dw_taps dw_taps(const struct ts_shape *s, int32_t left)
{
    int32_t first = 0, end = s->kw;
    while (first < end && left + first * s->dilation_w < 0)
        first++;
    while (end > first && left + (end - 1) * s->dilation_w >= s->w)
        end--;
    return (struct dw_taps){first, end, end - first == s->kw};
}

/* The missing channels of `pixels` pixels that no vector has covered. */
TS_ONCE void dw_fill(const struct dw *d, float *y, int32_t pixels)
{
    for (y += d->fill_at; pixels > 0; pixels--, y += d->y_pixel)
        if (d->fill == 8)
            memcpy(y, dw_zeros, 8 * sizeof(float));
        else
            ts_copy_few(y, dw_zeros, d->fill);
}

#define DW(name) dw_whole_##name
#define DW_VEC ts_vec
#define DW_LANES TS_VL
#define dw_whole_load ts_load
#define dw_whole_store ts_store
#define dw_whole_clamp ts_clamp_vec
#include "ts_depthwise.h"

#if DW_HALF
#define DW(name) dw_half_##name
#define DW_VEC ts_half
#define DW_LANES TS_HALF_VL
#define dw_half_load ts_load_half
#define dw_half_store ts_store_half
#define dw_half_clamp ts_clamp_half
#include "ts_depthwise.h"
#endif

/* The routine has tiles for this kernel, and no tile has more than kw / 2 columns outside the image on a side. */
static int dw_is_tiled(const struct ts_shape *s)
{
    return (s->kw == 3 || s->kw == 5 || s->kw == 7) && s->stride_w <= 2 && s->dilation_w == 1 &&
           s->pad_l <= s->kw / 2 && (s->ow - 1) * s->stride_w + s->kw - s->pad_l - s->w <= s->kw / 2;
}

/* `tiles` tiles of every row from output column ox on, at every vector of d. */
static void dw_strip(struct dw *d, dw_tile *tile, int32_t outputs, int32_t ox, int32_t tiles)
{
    const struct ts_shape *s = d->s;
    const int32_t columns = (outputs - 1) * s->stride_w + s->kw;
    const ptrdiff_t x_next = (ptrdiff_t)outputs * s->stride_w * d->x_pixel, y_next = outputs * d->y_pixel;
    for (int32_t oy = 0; oy < s->oh; oy++) {
        const struct dw_rows rows = dw_rows(s, oy);
        const float *x = d->x + rows.top * d->x_row, *weights = d->weights + rows.first * s->kw * DW_BLOCK;
        float *y = d->y + (oy * d->y_row + ox * d->y_pixel);
        int32_t left = ox * s->stride_w - s->pad_l;
        ptrdiff_t at = left * d->x_pixel;
        d->rows = rows.count;
        for (int32_t n = 0; n < tiles; n++, left += outputs * s->stride_w, at += x_next, y += y_next) {
            const int32_t over = left + columns - s->w;
            d->outside = (left < 0 ? (1 << -left) - 1 : 0) | (over > 0 ? ((1 << over) - 1) << 8 : 0);
            tile(d, x, at, weights, y);
            if (d->fill)
                dw_fill(d, y, outputs);
        }
    }
}

/* Outputs of the widest tile for kernels of 3, 5 and 7 columns, strides 1 and 2; the tiles follow in that order. */
static const uint8_t dw_widest[] = {8, 8, 7, 7, 7, 4};

static int32_t dw_kernel(const struct ts_shape *s)
{
    return s->kw - 3 + s->stride_w - 1;
}

static dw_tile *dw_tile_for(const struct ts_shape *s, int half, int32_t outputs)
{
    int32_t i = outputs - 1;
    for (int32_t kernel = 0; kernel < dw_kernel(s); kernel++)
        i += dw_widest[kernel];
#if DW_HALF
    if (half)
        return dw_half_tiles[i];
#endif
    (void)half;
    return dw_whole_tiles[i];
}

/* Tiles of one width, in strips of columns and channels whose rows stay in the nearest cache. */
static void dw_region(struct dw d, int half, int32_t outputs, int32_t ox, int32_t tiles)
{
    const struct ts_shape *s = d.s;
    const int32_t lanes = half ? TS_HALF_VL : TS_VL;
    const int32_t column_floats = s->kh * outputs * s->stride_w + outputs, edge_floats = s->kh * (s->kw - s->stride_w);
    const int32_t row_floats = column_floats * tiles + edge_floats;
    int32_t vectors = d.vectors, strip = tiles;
    if ((int64_t)row_floats * vectors * lanes > DW_CACHE_FLOATS) {
        const int32_t blocks = DW_CACHE_FLOATS / DW_BLOCK / (d.by_rows ? row_floats : column_floats + edge_floats);
        const int32_t fewest = d.by_rows ? 1 : DW_FEWEST;
        vectors = (blocks < fewest ? fewest : blocks) * (DW_BLOCK / lanes);
        vectors = vectors < d.vectors ? vectors : d.vectors;
        strip = (DW_CACHE_FLOATS / (vectors * lanes) - edge_floats) / column_floats;
        strip = strip < 1 ? 1 : strip < tiles ? strip : tiles;
    }
    for (int32_t v = 0; v < d.vectors; v += vectors) {
        struct dw part = d;
        const ptrdiff_t c = v * lanes;
        part.vectors = vectors < d.vectors - v ? vectors : d.vectors - v;
        part.x += c + c / d.block * d.x_block;
        part.y += c + c / d.block * d.y_block;
        part.residual += d.residual ? c + c / d.block * d.y_block : 0;
        part.bias += v * d.bias_next;
        part.weights += c / DW_BLOCK * d.w_block + c % DW_BLOCK;
        for (int32_t t = 0; t < tiles; t += strip)
            dw_strip(&part, dw_tile_for(s, half, outputs), outputs, ox + t * outputs,
                     strip < tiles - t ? strip : tiles - t);
    }
}

/* All outputs of d's channels. The columns are shared as evenly as possible by the fewest tiles: no output is computed
 * twice, so y may be the residual. */
static void dw_channels(struct dw *d, int half)
{
    const struct ts_shape *s = d->s;
    if (!dw_is_tiled(s)) {
#if DW_HALF
        if (half)
            dw_half_any(d);
        else
#endif
            dw_whole_any(d);
        return;
    }
    const int32_t widest = dw_widest[dw_kernel(s)], tiles = (s->ow + widest - 1) / widest;
    const int32_t narrow = s->ow / tiles, wide = s->ow % tiles;
    if (wide > 0)
        dw_region(*d, half, narrow + 1, 0, wide);
    dw_region(*d, half, narrow, wide * (narrow + 1), tiles - wide);
}

/* Channels too few for a vector, one after the other. */
static void dw_singly(const struct dw *d, int32_t channels)
{
    const struct ts_shape *s = d->s;
    for (int32_t oy = 0; oy < s->oh; oy++) {
        const struct dw_rows rows = dw_rows(s, oy);
        for (int32_t ox = 0; ox < s->ow; ox++) {
            const int32_t left = ox * s->stride_w - s->pad_l;
            const struct dw_taps taps = dw_taps(s, left);
            const ptrdiff_t y_at = oy * d->y_row + ox * d->y_pixel;
            for (int32_t c = 0; c < channels; c++) {
                float sum = d->bias[d->bias_next ? c : 0];
                for (int32_t r = 0; r < rows.count; r++) {
                    const float *row = d->x + rows.top * d->x_row + r * d->x_step + c;
                    const float *w = d->weights + (rows.first + r) * s->kw * DW_BLOCK + c;
                    for (int32_t t = taps.first; t < taps.end; t++)
                        sum += w[t * DW_BLOCK] * row[(left + t * s->dilation_w) * d->x_pixel];
                }
                sum += d->residual ? d->residual[y_at + c] : 0.0f;
                d->y[y_at + c] = ts_clamp(sum, s->lo, s->hi);
            }
        }
    }
}

/* What does not change from channel to channel. `block` channels of a pixel are neighbours in memory. */
static struct dw dw_call(const struct ts_shape *s, int32_t block, ptrdiff_t x_pixel, ptrdiff_t y_pixel)
{
    struct dw d = {.s = s, .block = block};
    d.x_pixel = x_pixel;
    d.y_pixel = y_pixel;
    d.x_row = s->w * x_pixel;
    d.y_row = s->ow * y_pixel;
    d.x_step = s->dilation_h * d.x_row;
    d.w_block = (ptrdiff_t)s->kh * s->kw * DW_BLOCK;
    for (int32_t i = 0; i < DW_BLOCK; i++) {
        d.lo[i] = s->lo;
        d.hi[i] = s->hi;
    }
    return d;
}

TS_ROUTINE(conv_depthwise_hwc_hwc_f32)
{
    (void)workspace;
    struct dw d = dw_call(s, DW_BLOCK, s->x_pitch, s->y_pitch);
    /* Where the last vector would reach past the channels it starts earlier and repeats some of its neighbour's. A
     * residual forbids that: it may be y. */
    const int repeats = s->n_in == 1;
    const int32_t whole = s->c / DW_BLOCK * DW_BLOCK, last = whole == 0 ? 0 : s->c - DW_BLOCK;
    for (int32_t c = 0, next; c < s->c; c = next) {
        const int32_t left = (c < whole ? whole : s->c) - c;
        const int half = left < TS_VL && DW_HALF && (left <= TS_HALF_VL || s->c < TS_VL || !repeats);
        const int32_t lanes = half ? TS_HALF_VL : TS_VL;
        const int32_t at = left >= lanes || !repeats || s->c < lanes ? c : s->c - lanes;
        d.vectors = (c < whole ? left : s->c - at) / lanes;
        d.x = x[0] + at;
        d.y = y + at;
        d.residual = s->n_in == 2 ? x[1] + at : NULL;
        d.bias = bias ? bias + at : dw_zeros;
        d.bias_next = bias ? lanes : 0;
        d.weights = at < whole && c < whole ? weights : weights + (s->c - 1) / DW_BLOCK * d.w_block + (at - last);
        if (d.vectors > 0)
            dw_channels(&d, half);
        else
            dw_singly(&d, left);
        next = d.vectors > 0 ? at + d.vectors * lanes : s->c;
    }
}

static void dw_blocked(int32_t block, const struct ts_shape *s, const float *const *x, const float *weights,
                       const float *bias, float *y)
{
    struct dw d = dw_call(s, block, block, block);
    const ptrdiff_t x_plane = (ptrdiff_t)s->x_pitch * block, y_plane = (ptrdiff_t)s->y_pitch * block;
    const int32_t whole = s->c / block, used = s->c % block;
    d.by_rows = 1;
    d.x_block = x_plane - block;
    d.y_block = y_plane - block;
    d.x = x[0];
    d.y = y;
    d.residual = s->n_in == 2 ? x[1] : NULL;
    d.weights = weights;
    if (whole > 0) {
        const int half = block <= TS_HALF_VL && DW_HALF;
        const int32_t lanes = half ? TS_HALF_VL : TS_VL;
        d.vectors = whole * block / lanes;
        d.bias = bias ? bias : dw_zeros;
        d.bias_next = bias ? lanes : 0;
        dw_channels(&d, half);
    }
    if (used > 0) {
        const int half = used <= TS_HALF_VL && DW_HALF;
        const int32_t lanes = half ? TS_HALF_VL : TS_VL;
        float some[DW_BLOCK];
        for (int32_t i = 0; i < DW_BLOCK; i++) {
            some[i] = bias && i < used ? bias[whole * block + i] : 0.0f;
            d.lo[i] = i < used ? s->lo : 0.0f;
            d.hi[i] = i < used ? s->hi : 0.0f;
        }
        d.x += whole * x_plane;
        d.y += whole * y_plane;
        d.residual += d.residual ? whole * y_plane : 0;
        d.weights += whole * block / DW_BLOCK * d.w_block + whole * block % DW_BLOCK;
        d.bias = some;
        d.bias_next = lanes;
        d.vectors = (used + lanes - 1) / lanes;
        d.fill_at = d.vectors * lanes;
        d.clear = d.vectors == 1 && block == 2 * lanes;
        d.fill = d.clear ? 0 : block - d.fill_at;
        dw_channels(&d, half);
    }
}

TS_ROUTINE(conv_depthwise_chw8c_chw8c_f32)
{
    (void)workspace;
    dw_blocked(8, s, x, weights, bias, y);
}

TS_ROUTINE(conv_depthwise_chw16c_chw16c_f32)
{
    (void)workspace;
    dw_blocked(16, s, x, weights, bias, y);
}
