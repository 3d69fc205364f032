/* SPDX-License-Identifier: MIT-0
 *
 * Local response normalisation across channels: y = x * (gamma + alpha/size * sum x^2)^-beta, the sum over channels
 * k - (size-1)/2 .. k + size/2 on the image (Krizhevsky et al. 2012, sec. 3.3; ONNX LRN-13).
 *
 *   x, y       the same layout, each with its pitch
 *
 * Each sum is taken afresh: a sliding sum would keep the rounding errors of large values it has left behind.
 * beta = 3/4, the published value, needs no power function: t^(-1/4) by Newton's iteration, then its cube.
 */
#include <math.h>

#include "ts_blocks.h"

/* t^(-3/4) for normal t > 0. The first guess halves the exponent twice in the integer view of a float (as the
 * inverse square root of Lomont 2003 does once); it is within 5 %, and u += u (1 - t u^4) / 4 takes the relative
 * error e to 2.5 e^2, so three steps reach float precision. */
TS_INLINE ts_vec power_minus_three_quarters(ts_vec t)
{
    const ts_vec quarter = ts_splat(0.25f), five_quarters = ts_splat(1.25f);
    ts_vec u;
#if TS_VL > 1
    u = (ts_vec)(0x4F57BD00 - ((ts_veci)t >> 2));
#else
    int32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = 0x4F57BD00 - (bits >> 2);
    memcpy(&u, &bits, sizeof u);
#endif
    for (int i = 0; i < 3; i++) {
        ts_vec square = u * u;
        u = u * (five_quarters - quarter * t * square * square);
    }
    return u * u * u;
}

struct lrn {
    ts_vec gamma, ratio;
    float beta;
};

/* `sum` is never negative, so t is at least gamma. */
TS_INLINE ts_vec normalised(ts_vec x, ts_vec sum, struct lrn lrn, int published_beta)
{
    ts_vec t = ts_fma(lrn.ratio, sum, lrn.gamma);
    if (published_beta)
        return x * power_minus_three_quarters(t);
    float lanes[TS_VL];
    ts_store(lanes, t);
    for (int i = 0; i < TS_VL; i++)
        lanes[i] = powf(lanes[i], -lrn.beta);
    return x * ts_load(lanes);
}

/* One vector of pixels of one lane: the neighbours are a plane apart. */
TS_INLINE void lrn_planes(const struct ts_shape *s, const float *x, float *y, struct lrn lrn, int published_beta)
{
    enum { STRIP = 512 }; /* pixels: the planes of one window stay in the first-level cache */
    ptrdiff_t pixels = (ptrdiff_t)s->h * s->w;
    int32_t below = (s->kh - 1) / 2, above = s->kh / 2;
    for (ptrdiff_t strip = 0; strip < pixels; strip += STRIP) {
        ptrdiff_t end = strip + STRIP < pixels ? strip + STRIP : pixels;
        for (int32_t k = 0; k < s->c; k++) {
            int32_t first = k - below < 0 ? 0 : k - below, last = k + above < s->c ? k + above : s->c - 1;
            for (ptrdiff_t p = strip; p < end; p += TS_VL) {
                int32_t n = end - p < TS_VL ? (int32_t)(end - p) : TS_VL;
                ts_vec sum = ts_zero();
                for (int32_t q = first; q <= last; q++) {
                    ts_vec v = ts_load_lanes(x + (ptrdiff_t)q * s->x_pitch + p, n);
                    sum = ts_fma(v, v, sum);
                }
                ts_vec v = ts_load_lanes(x + (ptrdiff_t)k * s->x_pitch + p, n);
                ts_store_lanes(y + (ptrdiff_t)k * s->y_pitch + p, normalised(v, sum, lrn, published_beta), n);
            }
        }
    }
}

enum { SPAN = 64, MARGIN = 16 }; /* channels of a pixel at a time, and the most a window reaches to either side */
enum { ROW = MARGIN + SPAN + MARGIN + 16, PIXELS = 8 };

/* squares[MARGIN + k] = x^2 of channel base + k of a pixel, -MARGIN <= k < SPAN + MARGIN; zeros where there is none.
 * Channels come in contiguous runs that begin at multiples of `run`. */
TS_INLINE void squares_of(float *squares, const float *x, ptrdiff_t base, int32_t c, ptrdiff_t lanes,
                          ptrdiff_t block_step, ptrdiff_t run)
{
    for (ptrdiff_t k = -MARGIN; k < SPAN + MARGIN; k += run < 16 ? run : 16) {
        ptrdiff_t q = base + k, width = run < 16 ? run : 16;
        const float *from = x + q / lanes * block_step + q % lanes;
        float *to = squares + MARGIN + k;
        if (q >= 0 && q + width <= c) {
            for (ptrdiff_t l = 0; l < width; l += TS_VL) {
                ts_vec v = ts_load_lanes(from + l, width < TS_VL ? width : TS_VL);
                ts_store_lanes(to + l, v * v, width < TS_VL ? width : TS_VL);
            }
            continue;
        }
        for (ptrdiff_t l = 0; l < width; l++)
            to[l] = q >= 0 && q + l < c ? from[l] * from[l] : 0.0f;
    }
}

/* Channels together in memory. The squares go through a local array in which windows run across blocks and meet zeros
 * beyond the first and last channel; several pixels at a time, so that no load overtakes the stores it depends on. */
TS_INLINE void lrn_pixels(const struct ts_shape *s, const float *x, float *y, enum ts_layout layout, struct lrn lrn,
                          int published_beta)
{
    ptrdiff_t pixels = (ptrdiff_t)s->h * s->w, lanes = ts_lanes(layout, s->c);
    ptrdiff_t x_step = ts_pixel_step(layout, s->x_pitch), x_block = ts_block_step(layout, s->x_pitch);
    ptrdiff_t y_step = ts_pixel_step(layout, s->y_pitch), y_block = ts_block_step(layout, s->y_pitch);
    ptrdiff_t run = layout == TS_HWC ? SPAN : (ptrdiff_t)layout;
    int32_t below = (s->kh - 1) / 2;
    float squares[PIXELS][ROW] = {{0}};
    for (ptrdiff_t first = 0; first < pixels; first += PIXELS)
        for (ptrdiff_t base = 0; base < s->c; base += SPAN) {
            ptrdiff_t span = s->c - base < SPAN ? s->c - base : SPAN;
            if (layout != TS_HWC)
                span = (span + run - 1) / run * run; /* the padding lanes of the last block too: 0 * anything */
            ptrdiff_t count = pixels - first < PIXELS ? pixels - first : PIXELS;
            for (ptrdiff_t p = 0; p < count; p++)
                squares_of(squares[p], x + (first + p) * x_step, base, s->c, lanes, x_block, run);
            for (ptrdiff_t p = 0; p < count; p++)
                for (ptrdiff_t k = 0; k < span; k += run < TS_VL ? run : TS_VL) {
                    const ptrdiff_t q = base + k;
                    const float *from = x + q / lanes * x_block + (first + p) * x_step + q % lanes;
                    float *to = y + q / lanes * y_block + (first + p) * y_step + q % lanes;
                    ptrdiff_t n = run < TS_VL ? run : TS_VL;
                    if (layout == TS_HWC)
                        n = span - k < n ? span - k : n;
                    ts_vec sum = ts_zero();
                    for (int32_t j = 0; j < s->kh; j++)
                        sum = sum + ts_load(squares[p] + MARGIN + k - below + j);
                    ts_store_lanes(to, normalised(ts_load_lanes(from, n), sum, lrn, published_beta), n);
                }
        }
}

TS_INLINE void lrn(const struct ts_shape *s, const float *x, float *y, enum ts_layout layout)
{
    struct lrn numbers = {ts_splat(s->gamma), ts_splat(s->alpha / (float)s->kh), s->beta};
    int published_beta = s->beta == 0.75f;
    if (layout == TS_CHW && published_beta)
        lrn_planes(s, x, y, numbers, 1);
    else if (layout == TS_CHW)
        lrn_planes(s, x, y, numbers, 0);
    else if (published_beta)
        lrn_pixels(s, x, y, layout, numbers, 1);
    else
        lrn_pixels(s, x, y, layout, numbers, 0);
}

#define EACH_LRN(name, layout)                                                                                         \
    TS_ROUTINE(lrn_across_##name##_##name##_f32)                                                                       \
    {                                                                                                                  \
        (void)weights, (void)bias, (void)workspace;                                                                    \
        lrn(s, x[0], y, layout);                                                                                       \
    }

TS_EACH_LAYOUT(EACH_LRN)
