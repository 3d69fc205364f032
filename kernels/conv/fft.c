/* SPDX-License-Identifier: MIT-0
 *
 * FFT: circular correlation by products of spectra, over tiles that overlap (overlap-save) or over the whole plane.
 *
 *   x          [c][h][w]
 *   y          [m][oh][ow]
 *   packed     cos, sin of 2 pi j/nh, then of 2 pi j/nw; then [m][c of a group][re, im][nw][nh/2 + 1]: conjugate
 *              spectra of the kernels, divided by nh*nw, nw in the scrambled order of the forward transform
 *   workspace  spectra of the input [tiles][c of a group][re, im][nw][nh/2 + 1], of one output channel
 *              [tiles][re, im][nw][nh/2 + 1], and one tile [re, im][nh][nw]
 *
 * A tile of nh x nw inputs gives the nh - (kh-1)*dilation_h rows of outputs that nothing wraps into, of which every
 * stride_h-th is kept; columns likewise. Columns are transformed first; their input is real, so nh/2 + 1 of the nh
 * frequencies say all. The forward transform leaves frequencies in digit-reversed order, the inverse one takes them
 * so, hence nothing is ever sorted along w. Mathieu, Henaff & LeCun 2014; Gentleman & Sande 1966 (the transform).
 */
#include "ts_row.h"

#define MAX_STAGES 16

/* Loops below run over rows that never overlap. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

static int32_t first_factor(int32_t n)
{
    return n % 4 == 0 ? 4 : n % 2 == 0 ? 2 : n % 3 == 0 ? 3 : 5;
}

/* Where the forward transform of length n leaves frequency f. */
static int32_t position(int32_t n, int32_t f)
{
    int32_t at = 0;
    while (n > 1) {
        const int32_t radix = first_factor(n);
        n /= radix;
        at += f % radix * n;
        f /= radix;
    }
    return at;
}

/* Smallest length >= n with no prime factor above 5. */
static int32_t smooth_length(int32_t n)
{
    for (;; n++) {
        int32_t rest = n;
        while (rest % 2 == 0)
            rest /= 2;
        while (rest % 3 == 0)
            rest /= 3;
        while (rest % 5 == 0)
            rest /= 5;
        if (rest == 1)
            return n;
    }
}

struct complex {
    float re, im;
};

TS_INLINE struct complex sum(struct complex a, struct complex b)
{
    return (struct complex){a.re + b.re, a.im + b.im};
}

TS_INLINE struct complex difference(struct complex a, struct complex b)
{
    return (struct complex){a.re - b.re, a.im - b.im};
}

TS_INLINE struct complex scaled(struct complex a, float by)
{
    return (struct complex){a.re * by, a.im * by};
}

/* a - sign*i*b */
TS_INLINE struct complex turned(struct complex a, struct complex b, float sign)
{
    return (struct complex){a.re + sign * b.im, a.im - sign * b.re};
}

/* a * (cos - sign*i*sin) */
TS_INLINE struct complex rotated(struct complex a, const float *cosine, const float *sine, float sign)
{
    return (struct complex){a.re * *cosine + sign * a.im * *sine, a.im * *cosine - sign * a.re * *sine};
}

/* Column i of `radix` rows at distance `row`: DFT across them, rotated by the angles j, 2j, .. after it (forward,
 * sign 1) or before it (inverse, sign -1). */
TS_INLINE void butterfly(int radix, float sign, float *re, float *im, ptrdiff_t row, ptrdiff_t i, const float *cosine,
                         const float *sine, ptrdiff_t j)
{
    struct complex a0 = {re[i], im[i]}, a1 = {re[i + row], im[i + row]}, a2 = a0, a3 = a0, a4 = a0;
    if (radix > 2)
        a2 = (struct complex){re[i + 2 * row], im[i + 2 * row]};
    if (radix > 3)
        a3 = (struct complex){re[i + 3 * row], im[i + 3 * row]};
    if (radix > 4)
        a4 = (struct complex){re[i + 4 * row], im[i + 4 * row]};
    if (sign < 0) {
        a1 = rotated(a1, cosine + j, sine + j, sign);
        if (radix > 2)
            a2 = rotated(a2, cosine + 2 * j, sine + 2 * j, sign);
        if (radix > 3)
            a3 = rotated(a3, cosine + 3 * j, sine + 3 * j, sign);
        if (radix > 4)
            a4 = rotated(a4, cosine + 4 * j, sine + 4 * j, sign);
    }
    if (radix == 2) {
        const struct complex d = difference(a0, a1);
        a0 = sum(a0, a1);
        a1 = d;
    } else if (radix == 3) {
        const struct complex s = sum(a1, a2), d = scaled(difference(a1, a2), 0.866025403784438647f);
        const struct complex u = sum(a0, scaled(s, -0.5f));
        a0 = sum(a0, s);
        a1 = turned(u, d, sign);
        a2 = turned(u, d, -sign);
    } else if (radix == 4) {
        const struct complex s02 = sum(a0, a2), d02 = difference(a0, a2), s13 = sum(a1, a3), d13 = difference(a1, a3);
        a0 = sum(s02, s13);
        a2 = difference(s02, s13);
        a1 = turned(d02, d13, sign);
        a3 = turned(d02, d13, -sign);
    } else {
        const float c1 = 0.309016994374947424f, c2 = -0.809016994374947424f; /* cos, sin of 72 and 144 degrees */
        const float s1 = 0.951056516295153572f, s2 = 0.587785252292473129f;
        const struct complex s14 = sum(a1, a4), d14 = difference(a1, a4), s23 = sum(a2, a3), d23 = difference(a2, a3);
        const struct complex u1 = sum(a0, sum(scaled(s14, c1), scaled(s23, c2)));
        const struct complex u2 = sum(a0, sum(scaled(s14, c2), scaled(s23, c1)));
        const struct complex v1 = sum(scaled(d14, s1), scaled(d23, s2));
        const struct complex v2 = difference(scaled(d14, s2), scaled(d23, s1));
        a0 = sum(a0, sum(s14, s23));
        a1 = turned(u1, v1, sign);
        a4 = turned(u1, v1, -sign);
        a2 = turned(u2, v2, sign);
        a3 = turned(u2, v2, -sign);
    }
    if (sign > 0) {
        a1 = rotated(a1, cosine + j, sine + j, sign);
        if (radix > 2)
            a2 = rotated(a2, cosine + 2 * j, sine + 2 * j, sign);
        if (radix > 3)
            a3 = rotated(a3, cosine + 3 * j, sine + 3 * j, sign);
        if (radix > 4)
            a4 = rotated(a4, cosine + 4 * j, sine + 4 * j, sign);
    }
    re[i] = a0.re, im[i] = a0.im;
    re[i + row] = a1.re, im[i + row] = a1.im;
    if (radix > 2)
        re[i + 2 * row] = a2.re, im[i + 2 * row] = a2.im;
    if (radix > 3)
        re[i + 3 * row] = a3.re, im[i + 3 * row] = a3.im;
    if (radix > 4)
        re[i + 4 * row] = a4.re, im[i + 4 * row] = a4.im;
}

/* One stage over n rows of `width` columns in blocks of `length` rows; cosine and sine are tables of n. */
TS_INLINE void stage(int radix, float sign, float *re, float *im, int32_t n, int32_t length, int32_t width,
                     const float *cosine, const float *sine)
{
    const int32_t step = length / radix;
    const ptrdiff_t row = (ptrdiff_t)step * width;
    for (int32_t block = 0; block < n; block += length)
        for (int32_t j = 0; j < step; j++) {
            float *at_re = re + (ptrdiff_t)(block + j) * width, *at_im = im + (ptrdiff_t)(block + j) * width;
            const ptrdiff_t angle = (ptrdiff_t)j * (n / length);
            INDEPENDENT
            for (int32_t i = 0; i < width; i++)
                butterfly(radix, sign, at_re, at_im, row, i, cosine, sine, angle);
        }
}

/* Transform of each column of re, im [n][width] in place. table: cosines, then sines. */
TS_INLINE void transform(float sign, float *re, float *im, int32_t n, int32_t width, const float *table)
{
    int32_t lengths[MAX_STAGES], stages = 0;
    for (int32_t length = n; length > 1; length /= first_factor(length))
        lengths[stages++] = length;
    for (int32_t i = 0; i < stages; i++) {
        const int32_t length = lengths[sign > 0 ? i : stages - 1 - i];
        switch (first_factor(length)) {
        case 2:
            stage(2, sign, re, im, n, length, width, table, table + n);
            break;
        case 3:
            stage(3, sign, re, im, n, length, width, table, table + n);
            break;
        case 4:
            stage(4, sign, re, im, n, length, width, table, table + n);
            break;
        default:
            stage(5, sign, re, im, n, length, width, table, table + n);
            break;
        }
    }
}

static void transform_forward(float *re, float *im, int32_t n, int32_t width, const float *table)
{
    transform(1.0f, re, im, n, width, table);
}

static void transform_back(float *re, float *im, int32_t n, int32_t width, const float *table)
{
    transform(-1.0f, re, im, n, width, table);
}

struct plan {
    int32_t nh, nw;        /* transform lengths */
    int32_t half;          /* nh/2 + 1 */
    ptrdiff_t points;      /* nw * half: re of a spectrum; im follows */
    int32_t rows, columns; /* outputs of a tile */
    const float *table_h, *table_w;
};

/* Spectrum of the nh x nw inputs from row `top`, column `left` of one channel. tile: [re, im][nh][nw]. */
static void input_spectrum(const struct ts_shape *s, const struct plan *p, const float *x, int32_t top, int32_t left,
                           float *tile, float *spectrum)
{
    const ptrdiff_t elems = (ptrdiff_t)p->nh * p->nw;
    const struct ts_span span = ts_tap_span(p->nw, 1, left, s->w);
    for (int32_t i = 0; i < p->nh; i++) {
        if (top + i < 0 || top + i >= s->h)
            ts_row_fill(tile + (ptrdiff_t)i * p->nw, p->nw, 0.0f);
        else
            ts_row_gather(tile + (ptrdiff_t)i * p->nw, x + (ptrdiff_t)(top + i) * s->w, p->nw, span, 1, left);
    }
    ts_row_fill(tile + elems, elems, 0.0f);
    transform_forward(tile, tile + elems, p->nh, p->nw, p->table_h);
    for (int32_t f = 0; f < p->half; f++) {
        const float *from = tile + (ptrdiff_t)position(p->nh, f) * p->nw;
        for (int32_t i = 0; i < p->nw; i++) {
            spectrum[(ptrdiff_t)i * p->half + f] = from[i];
            spectrum[(ptrdiff_t)i * p->half + f + p->points] = from[i + elems];
        }
    }
    transform_forward(spectrum, spectrum + p->points, p->nw, p->half, p->table_w);
}

/* Inverse of input_spectrum, in place in `spectrum`; the result is re of `tile`. */
static void output_tile(const struct plan *p, float *spectrum, float *tile)
{
    const ptrdiff_t elems = (ptrdiff_t)p->nh * p->nw;
    transform_back(spectrum, spectrum + p->points, p->nw, p->half, p->table_w);
    for (int32_t f = 0; f < p->nh; f++) {
        /* The output is real: frequency nh - f is the conjugate of f. */
        const int32_t known = f < p->half ? f : p->nh - f;
        const float sign = f < p->half ? 1.0f : -1.0f;
        float *to = tile + (ptrdiff_t)position(p->nh, f) * p->nw;
        for (int32_t i = 0; i < p->nw; i++) {
            to[i] = spectrum[(ptrdiff_t)i * p->half + known];
            to[i + elems] = sign * spectrum[(ptrdiff_t)i * p->half + known + p->points];
        }
    }
    transform_back(tile, tile + elems, p->nh, p->nw, p->table_h);
}

/* sums[t] += x[t][channel] * kernel[channel] for `channels` channels of `tiles` tiles, all of them spectra; `tile` is
 * the distance of x[t]. The kernels stream by once for all tiles. */
TS_INLINE void add_products(int tiles, int channels, ptrdiff_t points, const float *x, ptrdiff_t tile,
                            const float *kernel, float *sums)
{
    ptrdiff_t i = 0;
    for (; i + TS_VL <= points; i += TS_VL)
        for (int t = 0; t < tiles; t++) {
            float *to = sums + t * 2 * points + i;
            ts_vec re = ts_load(to), im = ts_load(to + points);
            for (int c = 0; c < channels; c++) {
                const float *at = x + t * tile + c * 2 * points + i, *k = kernel + c * 2 * points + i;
                const ts_vec xr = ts_load(at), xi = ts_load(at + points), kr = ts_load(k), ki = ts_load(k + points);
                re = ts_fma(xr, kr, re) - xi * ki;
                im = ts_fma(xr, ki, ts_fma(xi, kr, im));
            }
            ts_store(to, re);
            ts_store(to + points, im);
        }
    for (; i < points; i++)
        for (int t = 0; t < tiles; t++)
            for (int c = 0; c < channels; c++) {
                const float *at = x + t * tile + c * 2 * points + i, *k = kernel + c * 2 * points + i;
                float *to = sums + t * 2 * points + i;
                to[0] += at[0] * k[0] - at[points] * k[points];
                to[points] += at[0] * k[points] + at[points] * k[0];
            }
}

/* Adds the products of all c channels for `count` tiles: four tiles at a time where there are four. */
static void multiply(const struct plan *p, int32_t c, int32_t count, const float *x, const float *kernel, float *sums)
{
    const ptrdiff_t spectrum = 2 * p->points;
    int32_t t = 0;
    for (; t + 4 <= count; t += 4)
        for (int32_t ic = 0; ic < c; ic++)
            add_products(4, 1, p->points, x + (t * c + ic) * spectrum, c * spectrum, kernel + ic * spectrum,
                         sums + t * spectrum);
    for (; t < count; t++) {
        int32_t ic = 0;
        for (; ic + 4 <= c; ic += 4)
            add_products(1, 4, p->points, x + (t * c + ic) * spectrum, 0, kernel + ic * spectrum, sums + t * spectrum);
        for (; ic < c; ic++)
            add_products(1, 1, p->points, x + (t * c + ic) * spectrum, 0, kernel + ic * spectrum, sums + t * spectrum);
    }
}

static void store_tile(const struct ts_shape *s, const struct plan *p, const float *tile, int32_t oy0, int32_t ox0,
                       float bias, float *y)
{
    const int32_t rows = s->oh - oy0 < p->rows ? s->oh - oy0 : p->rows;
    const int32_t columns = s->ow - ox0 < p->columns ? s->ow - ox0 : p->columns;
    for (int32_t oy = 0; oy < rows; oy++)
        for (int32_t ox = 0; ox < columns; ox++) {
            const float value = tile[(ptrdiff_t)oy * s->stride_h * p->nw + ox * s->stride_w];
            y[(ptrdiff_t)(oy0 + oy) * s->ow + ox0 + ox] = ts_clamp(value + bias, s->lo, s->hi);
        }
}

/* Tiles of `length` in both directions, `batch` of them at a time; the whole plane at once if length is 0. */
static void fft(const struct ts_shape *s, const float *x, const float *weights, const float *bias, float *y,
                float *workspace, int32_t length, int32_t batch)
{
    const int32_t reach_h = (s->kh - 1) * s->dilation_h + 1, reach_w = (s->kw - 1) * s->dilation_w + 1;
    struct plan p;
    p.nh = length ? length : smooth_length((s->oh - 1) * s->stride_h + reach_h);
    p.nw = length ? length : smooth_length((s->ow - 1) * s->stride_w + reach_w);
    p.half = p.nh / 2 + 1;
    p.points = (ptrdiff_t)p.nw * p.half;
    p.rows = (p.nh - reach_h) / s->stride_h + 1;
    p.columns = (p.nw - reach_w) / s->stride_w + 1;
    p.table_h = weights;
    p.table_w = weights + 2 * p.nh;

    const int32_t m = s->m / s->group, c = s->c / s->group;
    const int32_t across = (s->ow + p.columns - 1) / p.columns, tiles = (s->oh + p.rows - 1) / p.rows * across;
    const ptrdiff_t spectrum = 2 * p.points, plane = (ptrdiff_t)s->h * s->w;
    float *sums = workspace + batch * c * spectrum, *tile = sums + batch * spectrum;
    for (int32_t g = 0; g < s->group; g++)
        for (int32_t first = 0; first < tiles; first += batch) {
            const int32_t count = tiles - first < batch ? tiles - first : batch;
            for (int32_t t = 0; t < count; t++)
                for (int32_t ic = 0; ic < c; ic++)
                    input_spectrum(s, &p, x + (g * c + ic) * plane,
                                   (first + t) / across * p.rows * s->stride_h - s->pad_t,
                                   (first + t) % across * p.columns * s->stride_w - s->pad_l, tile,
                                   workspace + (t * c + ic) * spectrum);
            for (int32_t om = g * m; om < (g + 1) * m; om++) {
                const float *kernel = p.table_w + 2 * p.nw + (ptrdiff_t)om * c * spectrum;
                ts_row_fill(sums, count * spectrum, 0.0f);
                multiply(&p, c, count, workspace, kernel, sums);
                for (int32_t t = 0; t < count; t++) {
                    output_tile(&p, sums + t * spectrum, tile);
                    store_tile(s, &p, tile, (first + t) / across * p.rows, (first + t) % across * p.columns, bias[om],
                               y + (ptrdiff_t)om * s->oh * s->ow);
                }
            }
        }
}

TS_ROUTINE(conv_fft_chw_chw_f32)
{
    fft(s, x[0], weights, bias, y, workspace, 0, 1);
}

TS_ROUTINE(conv_fft_tile16_chw_chw_f32)
{
    fft(s, x[0], weights, bias, y, workspace, 16, 1);
}

TS_ROUTINE(conv_fft_tile16x4_chw_chw_f32)
{
    fft(s, x[0], weights, bias, y, workspace, 16, 4);
}

TS_ROUTINE(conv_fft_tile32_chw_chw_f32)
{
    fft(s, x[0], weights, bias, y, workspace, 32, 1);
}
