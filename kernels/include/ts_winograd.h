/* SPDX-License-Identifier: MIT-0
 *
 * Winograd convolution F(m x m, r x r), instantiated by a file that defines TS_WM (m), TS_WR (r), TS_NB and TS_MR.
 *
 *   y tile = A^T [ sum over c of (G w G^T) . (B^T x B) ] A,  a = m + r - 1, tiles of a x a inputs and m x m outputs
 *
 *   weights    [group][panel][a*a][c][16 * blocks of the panel]: G w G^T, transformed at export
 *   workspace  V [a*a][tiles][c] then M [a*a][tiles][16 * blocks of the widest panel], for the tiles of one block.
 *              Between the a*a planes lie 16 unused floats: planes a power of two apart would share cache sets.
 *
 * The a*a products of a block of tiles are the register tile of direct convolution with one tap.
 * Points 0, infinity and pairs +-p, so that sums of even and odd terms are shared. Lavin & Gray 2016; points and
 * their rounding errors: docs/decisions/010-winograd-points.md.
 */
#ifndef TS_WINOGRAD_H
#define TS_WINOGRAD_H

#include "ts_direct.h"

#define TS_WA (TS_WM + TS_WR - 1)
#define TS_XI (TS_WA * TS_WA)
#define TS_PLANE_GAP 16

/* The finite points besides 0. */
#if TS_WA == 4
#define TS_P1 1.0f
#define TS_P2 0.0f
#define TS_P3 0.0f
#elif TS_WA == 6
#define TS_P1 0.75f
#define TS_P2 1.5f
#define TS_P3 0.0f
#elif TS_WA == 8
#define TS_P1 0.5f
#define TS_P2 1.0f
#define TS_P3 1.75f
#else
#error "no interpolation points for this tile"
#endif

struct ts_wino {
    const struct ts_shape *s;
    struct ts_tile_conv t; /* strides of x and y */
    int32_t in_planar, out_planar, tiles, tiles_x;
    ptrdiff_t v_plane, m_plane;
    const float *bias;
    float *y, *v, *m;
    int32_t group;
    enum ts_order out;
};

/* v = B^T d for one column: the polynomials prod (t - point) without one point, at the coefficients d. */
TS_INLINE void ts_wino_bt(const float *d, ptrdiff_t step, float *v, ptrdiff_t to)
{
    const float p = TS_P1 * TS_P1;
    const ts_vec d0 = ts_load(d), d1 = ts_load(d + step), d2 = ts_load(d + 2 * step), d3 = ts_load(d + 3 * step);
#if TS_WA == 4
    ts_store(v, d2 - d0 * ts_splat(p));
    ts_store(v + to, d2 + ts_splat(TS_P1) * d1);
    ts_store(v + 2 * to, d2 - ts_splat(TS_P1) * d1);
    ts_store(v + 3 * to, d3 - ts_splat(p) * d1);
#elif TS_WA == 6
    const float q = TS_P2 * TS_P2;
    const ts_vec d4 = ts_load(d + 4 * step), d5 = ts_load(d + 5 * step);
    const ts_vec even_p = d4 - ts_splat(q) * d2, odd_p = ts_splat(TS_P1) * (d3 - ts_splat(q) * d1);
    const ts_vec even_q = d4 - ts_splat(p) * d2, odd_q = ts_splat(TS_P2) * (d3 - ts_splat(p) * d1);
    ts_store(v, d4 - ts_splat(p + q) * d2 + ts_splat(p * q) * d0);
    ts_store(v + to, even_p + odd_p);
    ts_store(v + 2 * to, even_p - odd_p);
    ts_store(v + 3 * to, even_q + odd_q);
    ts_store(v + 4 * to, even_q - odd_q);
    ts_store(v + 5 * to, d5 - ts_splat(p + q) * d3 + ts_splat(p * q) * d1);
#else
    const float q = TS_P2 * TS_P2, r = TS_P3 * TS_P3;
    const ts_vec d4 = ts_load(d + 4 * step), d5 = ts_load(d + 5 * step);
    const ts_vec d6 = ts_load(d + 6 * step), d7 = ts_load(d + 7 * step);
    const ts_vec even_p = d6 - ts_splat(q + r) * d4 + ts_splat(q * r) * d2;
    const ts_vec even_q = d6 - ts_splat(p + r) * d4 + ts_splat(p * r) * d2;
    const ts_vec even_r = d6 - ts_splat(p + q) * d4 + ts_splat(p * q) * d2;
    const ts_vec odd_p = ts_splat(TS_P1) * (d5 - ts_splat(q + r) * d3 + ts_splat(q * r) * d1);
    const ts_vec odd_q = ts_splat(TS_P2) * (d5 - ts_splat(p + r) * d3 + ts_splat(p * r) * d1);
    const ts_vec odd_r = ts_splat(TS_P3) * (d5 - ts_splat(p + q) * d3 + ts_splat(p * q) * d1);
    const ts_vec e1 = ts_splat(p + q + r), e2 = ts_splat(p * q + p * r + q * r), e3 = ts_splat(p * q * r);
    ts_store(v, d6 - e1 * d4 + e2 * d2 - e3 * d0);
    ts_store(v + to, even_p + odd_p);
    ts_store(v + 2 * to, even_p - odd_p);
    ts_store(v + 3 * to, even_q + odd_q);
    ts_store(v + 4 * to, even_q - odd_q);
    ts_store(v + 5 * to, even_r + odd_r);
    ts_store(v + 6 * to, even_r - odd_r);
    ts_store(v + 7 * to, d7 - e1 * d5 + e2 * d3 - e3 * d1);
#endif
}

/* y = A^T d for one column: y_j = sum over points of point^j d, infinity adding to the last. */
TS_INLINE void ts_wino_at(const float *d, ptrdiff_t step, float *y, ptrdiff_t to)
{
    const ts_vec zero = ts_load(d), p = ts_load(d + step), minus_p = ts_load(d + 2 * step);
    const ts_vec last = ts_load(d + (TS_WA - 1) * step);
    const ts_vec even_p = p + minus_p, odd_p = p - minus_p;
#if TS_WA >= 6
    const ts_vec q = ts_load(d + 3 * step), minus_q = ts_load(d + 4 * step);
    const ts_vec even_q = q + minus_q, odd_q = q - minus_q;
#else
    const ts_vec even_q = ts_zero(), odd_q = ts_zero();
#endif
#if TS_WA >= 8
    const ts_vec r = ts_load(d + 5 * step), minus_r = ts_load(d + 6 * step);
    const ts_vec even_r = r + minus_r, odd_r = r - minus_r;
#else
    const ts_vec even_r = ts_zero(), odd_r = ts_zero();
#endif
    float pj = 1.0f, qj = 1.0f, rj = 1.0f;
#define TS_POWER(j)                                                                                                    \
    if (TS_WM > j) {                                                                                                   \
        ts_vec sum = ts_splat(pj) * (j % 2 ? odd_p : even_p);                                                          \
        if (TS_WA >= 6)                                                                                                \
            sum = ts_fma(ts_splat(qj), j % 2 ? odd_q : even_q, sum);                                                   \
        if (TS_WA >= 8)                                                                                                \
            sum = ts_fma(ts_splat(rj), j % 2 ? odd_r : even_r, sum);                                                   \
        if (j == 0)                                                                                                    \
            sum = sum + zero;                                                                                          \
        if (j == TS_WM - 1)                                                                                            \
            sum = sum + last;                                                                                          \
        ts_store(y + j * to, sum);                                                                                     \
        pj *= TS_P1;                                                                                                   \
        qj *= TS_P2;                                                                                                   \
        rj *= TS_P3;                                                                                                   \
    }
    TS_POWER(0) TS_POWER(1) TS_POWER(2) TS_POWER(3) TS_POWER(4) TS_POWER(5)
#undef TS_POWER
}

/* The a x a inputs of a tile at n channels from `from`, zero outside the image, as [a][a][TS_VL]. */
TS_ONCE void ts_wino_patch(const struct ts_wino *g, const float *from, int32_t iy, int32_t ix, int32_t n, float *patch)
{
    for (int32_t i = 0; i < TS_WA; i++)
        for (int32_t j = 0; j < TS_WA; j++, patch += TS_VL) {
            ts_store(patch, ts_zero());
            if (iy + i < 0 || iy + i >= g->t.h || ix + j < 0 || ix + j >= g->t.w)
                continue;
            const float *at = from + (iy + i) * g->t.x_row + (ix + j) * g->t.x_pixel;
            if (g->in_planar)
                for (int32_t lane = 0; lane < n; lane++)
                    patch[lane] = at[lane * g->t.x_channel];
            else if (n < TS_VL)
                ts_store(patch, ts_load_part(at, n));
            else
                ts_store(patch, ts_load(at));
        }
}

/* V of tile `tile` of the image, tile `slot` of the block. */
TS_ONCE void ts_wino_input(const struct ts_wino *g, int32_t tile, int32_t slot)
{
    const int32_t iy = tile / g->tiles_x * TS_WM - g->s->pad_t, ix = tile % g->tiles_x * TS_WM - g->s->pad_l;
    const int inside = iy >= 0 && ix >= 0 && iy + TS_WA <= g->t.h && ix + TS_WA <= g->t.w && !g->in_planar;
    const int32_t channels = g->t.channels;
    float patch[TS_XI * TS_VL], rows[TS_XI * TS_VL], last[TS_WA * TS_VL];
    for (int32_t c = 0; c < channels; c += TS_VL) {
        const int32_t n = channels - c < TS_VL ? channels - c : TS_VL;
        const int32_t position = g->t.x_first + c;
        const float *from = g->t.x + position / g->t.x_block * g->t.x_next + position % g->t.x_block * g->t.x_channel;
        const float *d = patch;
        ptrdiff_t row = TS_WA * TS_VL, column = TS_VL;
        if (inside && n == TS_VL) {
            d = from + iy * g->t.x_row + ix * g->t.x_pixel;
            row = g->t.x_row;
            column = g->t.x_pixel;
        } else {
            ts_wino_patch(g, from, iy, ix, n, patch);
        }
        for (int32_t j = 0; j < TS_WA; j++)
            ts_wino_bt(d + j * column, row, rows + j * TS_VL, TS_WA * TS_VL);
        float *v = g->v + (ptrdiff_t)slot * channels + c;
        for (int32_t i = 0; i < TS_WA; i++, v += TS_WA * g->v_plane) {
            if (n == TS_VL) {
                ts_wino_bt(rows + i * TS_WA * TS_VL, TS_VL, v, g->v_plane);
                continue;
            }
            ts_wino_bt(rows + i * TS_WA * TS_VL, TS_VL, last, TS_VL);
            for (int32_t j = 0; j < TS_WA; j++)
                ts_store_part(v + j * g->v_plane, ts_load(last + j * TS_VL), n);
        }
    }
}

/* Output vector at lane `lane` of panel channel m, n of its channels existing (n <= 0: none), pixel (oy, ox). */
TS_INLINE void ts_wino_store(const struct ts_wino *g, int32_t m, int32_t n, int32_t oy, int32_t ox, ts_vec value)
{
    const ptrdiff_t area = (ptrdiff_t)g->s->oh * g->s->ow, pixel = (ptrdiff_t)oy * g->s->ow + ox;
    if (g->out_planar) {
        float lanes[TS_VL];
        ts_store(lanes, value);
        for (int32_t lane = 0; lane < n && lane < TS_VL; lane++)
            g->y[(m + lane) * area + pixel] = lanes[lane];
        return;
    }
    float *to =
        g->out == TS_HWC ? g->y + pixel * g->s->m + m : g->y + (m / TS_BLOCK * area + pixel) * TS_BLOCK + m % TS_BLOCK;
    if (n >= TS_VL) {
        ts_store(to, value);
        return;
    }
    if (g->out == TS_CHW16C)
        ts_store(to, ts_zero());
    if (n > 0)
        ts_store_part(to, value, n);
}

/* A^T M A, bias and clamp of one tile for the panel that starts at channel m of the group. */
TS_ONCE void ts_wino_output(const struct ts_wino *g, int32_t tile, int32_t slot, int32_t m, int32_t nb)
{
    const int32_t oy = tile / g->tiles_x * TS_WM, ox = tile % g->tiles_x * TS_WM;
    const int32_t rows = g->s->oh - oy < TS_WM ? g->s->oh - oy : TS_WM;
    const int32_t columns = g->s->ow - ox < TS_WM ? g->s->ow - ox : TS_WM;
    const int32_t mg = g->s->m / g->s->group;
    const ts_vec lo = ts_splat(g->s->lo), hi = ts_splat(g->s->hi);
    float half[TS_WM * TS_WA * TS_VL], line[TS_WM * TS_VL];
    for (int32_t lane = 0; lane < nb * TS_BLOCK; lane += TS_VL) {
        const int32_t n = mg - m - lane;
        if (n <= 0 && g->out != TS_CHW16C)
            break;
        const float *from = g->m + (ptrdiff_t)slot * nb * TS_BLOCK + lane;
        const ts_vec bias = ts_tile_bias(g->bias ? g->bias + m + lane : NULL, 0, n);
        for (int32_t j = 0; j < TS_WA; j++)
            ts_wino_at(from + j * g->m_plane, TS_WA * g->m_plane, half + j * TS_VL, TS_WA * TS_VL);
        for (int32_t i = 0; i < rows; i++) {
            ts_wino_at(half + i * TS_WA * TS_VL, TS_VL, line, TS_VL);
            for (int32_t j = 0; j < columns; j++)
                ts_wino_store(g, g->group * mg + m + lane, n, oy + i, ox + j,
                              ts_clamp_vec(ts_load(line + j * TS_VL) + bias, lo, hi));
        }
    }
}

/* Tiles k .. k + mr - 1 of the block through all a*a products of a panel. */
TS_INLINE void ts_wino_rows(const int mr, const struct ts_wino *g, int32_t k, int32_t count, int32_t nb,
                            const float *weights)
{
    struct ts_tile_conv t;
    struct ts_tile_pixels px;
    t.channels = g->t.channels;
    px.count = count;
    px.inside = 1;
    for (int32_t i = 0; i < mr; i++) {
        const int32_t slot = k + (i < count ? i : count - 1);
        px.at[i] = (ptrdiff_t)slot * t.channels;
        px.to[i] = (ptrdiff_t)slot * nb * TS_BLOCK;
    }
    t.x_channel = 1;
    t.x_first = 0;
    t.x_block = t.channels;
    t.x_next = 0; /* one block; the walk steps past it */
    t.y_block = TS_BLOCK;
    t.y_fill = 0;
    t.y_scatter = 0;
    for (int32_t xi = 0; xi < TS_XI; xi++) {
        t.x = g->v + xi * g->v_plane;
        ts_tile_panel(TS_NB, mr, TS_PRODUCT, nb, &t, &px, weights, NULL, 0, nb * TS_BLOCK, g->m + xi * g->m_plane);
        weights += (ptrdiff_t)t.channels * nb * TS_BLOCK;
    }
}

/* One block of tiles: V once, then for each panel its products and outputs. */
static void ts_wino_block(const struct ts_wino *g, const float *weights, int32_t first, int32_t tiles)
{
    const int32_t blocks = (g->s->m / g->s->group + TS_BLOCK - 1) / TS_BLOCK, panels = ts_panels(blocks, TS_NB);
    for (int32_t slot = 0; slot < tiles; slot++)
        ts_wino_input(g, first + slot, slot);
    for (int32_t i = 0; i < panels; i++) {
        const int32_t nb = ts_panel_blocks(blocks, panels, i), m = ts_panel_start(blocks, panels, i) * TS_BLOCK;
        int32_t k = 0;
        for (; tiles - k > TS_HALF + 1; k += TS_MR)
            ts_wino_rows(TS_MR, g, k, tiles - k < TS_MR ? tiles - k : TS_MR, nb, weights);
        for (; tiles - k > 1; k += TS_HALF)
            ts_wino_rows(TS_HALF, g, k, tiles - k < TS_HALF ? tiles - k : TS_HALF, nb, weights);
        if (tiles - k == 1)
            ts_wino_rows(1, g, k, 1, nb, weights);
        for (int32_t slot = 0; slot < tiles; slot++)
            ts_wino_output(g, first + slot, slot, m, nb);
        weights += (ptrdiff_t)TS_XI * g->t.channels * nb * TS_BLOCK;
    }
}

/* block_tiles = 0: all tiles of the image in one block. */
TS_ONCE void ts_winograd(const struct ts_shape *s, const float *x, const float *weights, const float *bias, float *y,
                         float *workspace, enum ts_order in, enum ts_order out, int32_t block_tiles)
{
    struct ts_wino g;
    g.s = s;
    g.in_planar = in == TS_CHW;
    g.out_planar = out == TS_CHW;
    g.out = out;
    g.tiles_x = (s->ow + TS_WM - 1) / TS_WM;
    g.tiles = g.tiles_x * ((s->oh + TS_WM - 1) / TS_WM);
    g.y = y;
    g.t.h = s->h;
    g.t.w = s->w;
    const int32_t mg = s->m / s->group, blocks = (mg + TS_BLOCK - 1) / TS_BLOCK;
    const int32_t nb_max = ts_panel_blocks(blocks, ts_panels(blocks, TS_NB), 0);
    const int32_t step = block_tiles && block_tiles < g.tiles ? block_tiles : g.tiles;
    g.v_plane = (ptrdiff_t)step * (s->c / s->group) + TS_PLANE_GAP;
    g.m_plane = (ptrdiff_t)step * nb_max * TS_BLOCK + TS_PLANE_GAP;
    g.v = workspace;
    g.m = workspace + TS_XI * g.v_plane;
    for (g.group = 0; g.group < s->group; g.group++) {
        g.bias = bias ? bias + g.group * mg : NULL;
        ts_conv_input(&g.t, s, x, in, g.group);
        for (int32_t first = 0; first < g.tiles; first += step)
            ts_wino_block(&g, weights, first, g.tiles - first < step ? g.tiles - first : step);
        weights += (ptrdiff_t)TS_XI * g.t.channels * blocks * TS_BLOCK;
    }
}

#define TS_WINOGRAD(name, in, out, block_tiles)                                                                        \
    TS_ROUTINE(name)                                                                                                   \
    {                                                                                                                  \
        ts_winograd(s, x[0], weights, bias, y, workspace, in, out, block_tiles);                                       \
    }

#endif
