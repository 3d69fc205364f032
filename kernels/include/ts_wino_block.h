/* SPDX-License-Identifier: MIT-0
 *
 * Winograd convolution, whatever the form; instantiated by a file that defines TS_NB, TS_MR and the form's parameters
 * and includes the form's header, which includes this.
 *
 * A form turns the inputs of a tile into TS_PLANES numbers per channel, V; V times the transformed weights, summed over
 * ts_wino_depth channels, is M; the form turns M of a tile into TS_OUTPUTS outputs. Tiles go through in blocks of
 * `held`, which share them as evenly as possible, so that the workspace holds one block:
 *
 *   weights    [group][panel][plane][channel][16 * blocks of the panel], transformed at export
 *   workspace  V [plane][held][channels], then M [plane][held][16 * blocks of the widest panel]
 *
 * Between planes lie 16 unused floats: planes a power of two apart would share cache sets, and the last vector of a
 * tile's channels may end among them. The products are the register tile of direct convolution with one tap.
 */
#ifndef TS_WINO_BLOCK_H
#define TS_WINO_BLOCK_H

#include "ts_tile.h"
#include "ts_wino_io.h"

#define TS_EACH_RUN_6(OP) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6)
#define TS_EACH_RUN_8(OP) TS_EACH_RUN_6(OP) OP(7) OP(8)
#if TS_MR == 5
#define TS_EACH_RUN(OP) OP(1) OP(2) OP(3) OP(4) OP(5)
#elif TS_MR == 6
#define TS_EACH_RUN TS_EACH_RUN_6
#elif TS_MR == 7
#define TS_EACH_RUN(OP) TS_EACH_RUN_6(OP) OP(7)
#elif TS_MR == 8
#define TS_EACH_RUN TS_EACH_RUN_8
#elif TS_MR == 12
#define TS_EACH_RUN(OP) TS_EACH_RUN_8(OP) OP(9) OP(10) OP(11) OP(12)
#else
#error "no register tile of that many tiles"
#endif

/* Outputs of one tile for the nb blocks of channels that start at channel m of the group. */
TS_ONCE void ts_wino_output(const struct ts_wino *g, int32_t tile, int32_t slot, int32_t m, int32_t nb)
{
    const int32_t oy = tile / g->tiles_x * g->tile_h, ox = tile % g->tiles_x * g->tile_w;
    float lanes[TS_OUTPUTS * TS_VL], residual[TS_OUTPUTS * TS_VL];
    struct ts_wino_target o;
    o.rows = g->s->oh - oy < g->tile_h ? g->s->oh - oy : g->tile_h;
    o.columns = g->s->ow - ox < g->tile_w ? g->s->ow - ox : g->tile_w;
    o.lo = ts_splat(g->s->lo);
    o.hi = ts_splat(g->s->hi);
    for (int32_t lane = 0; lane < nb * TS_BLOCK; lane += TS_VL) {
        const int32_t n = g->outputs - m - lane;
        if (n <= 0 && !(g->fill && lane % g->y_lanes))
            break;
        const ptrdiff_t at = ts_wino_y(g, m + lane) + oy * g->y_row + ox * g->y_pixel;
        const int whole = n >= TS_VL && g->y_lanes >= TS_VL;
        o.bias = ts_tile_bias(g->bias ? g->bias + m + lane : NULL, 0, n);
        o.to = whole ? g->y + at : lanes;
        o.residual = !g->residual ? NULL : whole ? g->residual + at : residual;
        o.row = whole ? g->y_row : g->tile_w * TS_VL;
        o.pixel = whole ? g->y_pixel : TS_VL;
        if (o.residual == residual)
            ts_wino_gather(&o, g->residual + at, g->y_block, n, g, residual);
        ts_wino_outputs(g, &o, g->m + (ptrdiff_t)slot * nb * TS_BLOCK + lane, g->m_plane);
        if (!whole)
            ts_wino_scatter(&o, n, g, g->y + at);
    }
}

#define TS_AHEAD_LEAST 2048 /* floats that memory takes about as long to deliver as to find */

/* M of the first `tiles` tiles of V for a panel of nb blocks: register tiles of TS_MR tiles or fewer, as even as
 * possible. Plane by plane, so that a plane's weights come from the nearest cache for all but the first of them. The
 * first asks for those of the plane after it, or further on where planes are short: large layers have their weights in
 * memory, and one line per step is a stream that memory can follow. Wider panels would ask for more, and lose. */
static void ts_wino_products(const struct ts_wino *g, int32_t tiles, int32_t nb, const float *weights)
{
    struct ts_tile_conv t;
    struct ts_tile_pixels px;
    const int32_t runs = (tiles + TS_MR - 1) / TS_MR;
    const float *v = g->v;
    px.inside = 1;
    t.x_channel = 1;
    t.x_first = 0;
    t.x_next = 0; /* one block; the walk steps past it */
    t.y_block = TS_BLOCK;
    t.y_fill = 0;
    t.y_scatter = 0;
    for (int32_t i = 0; i < TS_MR; i++)
        px.to[i] = (ptrdiff_t)i * nb * TS_BLOCK;
    for (int32_t plane = 0; plane < TS_PLANES; plane++) {
        const int32_t depth = ts_wino_depth(g, plane);
        const ptrdiff_t elems = (ptrdiff_t)depth * nb * TS_BLOCK;
        float *to = g->m + plane * g->m_plane;
        for (int32_t i = 0; i < TS_MR; i++)
            px.at[i] = (ptrdiff_t)i * depth;
        t.x = v;
        t.channels = depth;
        t.x_block = depth;
        for (int32_t i = 0; i < runs; i++) {
            const int32_t mr = tiles / runs + (i < tiles % runs);
            px.count = mr;
            t.ahead = i > 0 ? 0 : elems > TS_AHEAD_LEAST ? elems : TS_AHEAD_LEAST;
            switch (mr) {
#define TS_RUN_OF(k)                                                                                                   \
    case k:                                                                                                            \
        ts_product_panel(TS_NB, k, nb, &t, &px, weights, to);                                                          \
        break;
                TS_EACH_RUN(TS_RUN_OF)
#undef TS_RUN_OF
            }
            t.x += (ptrdiff_t)mr * depth;
            to += (ptrdiff_t)mr * nb * TS_BLOCK;
        }
        v += ts_wino_v_plane(g, depth);
        weights += elems;
    }
}

/* One block of tiles: V once, then for each panel its products and outputs. */
static void ts_wino_tiles(const struct ts_wino *g, const float *weights, int32_t first, int32_t tiles)
{
    const int32_t blocks = (g->outputs + TS_BLOCK - 1) / TS_BLOCK, panels = ts_panels(blocks, TS_NB);
    for (int32_t slot = 0; slot < tiles; slot++)
        ts_wino_input(g, first + slot, slot);
    for (int32_t i = 0; i < panels; i++) {
        const int32_t nb = ts_panel_blocks(blocks, panels, i), m = ts_panel_start(blocks, panels, i) * TS_BLOCK;
        ts_wino_products(g, tiles, nb, weights);
        for (int32_t slot = 0; slot < tiles; slot++)
            ts_wino_output(g, first + slot, slot, m, nb);
        weights += ts_wino_depths(g) * nb * TS_BLOCK;
    }
}

/* Strides of the tensors; the form has set the size of its tiles. most: tiles the workspace may hold, 0 for all. */
TS_ONCE void ts_wino_run(struct ts_wino *g, const struct ts_shape *s, const float *const *x, const float *weights,
                         const float *bias, float *y, float *workspace, enum ts_layout in, enum ts_layout out,
                         int32_t most)
{
    g->s = s;
    g->x = x[0];
    g->residual = s->n_in == 2 ? x[1] : NULL;
    g->y = y;
    g->x_lanes = (int32_t)ts_lanes(in, s->c);
    g->y_lanes = (int32_t)ts_lanes(out, s->m);
    g->x_pixel = in == TS_HWC ? s->x_pitch : g->x_lanes;
    g->y_pixel = out == TS_HWC ? s->y_pitch : g->y_lanes;
    g->x_row = g->x_pixel * s->w;
    g->y_row = g->y_pixel * s->ow;
    g->x_block = (ptrdiff_t)g->x_lanes * s->x_pitch;
    g->y_block = (ptrdiff_t)g->y_lanes * s->y_pitch;
    g->fill = out == TS_CHW8C || out == TS_CHW16C;
    g->channels = s->c / s->group;
    g->outputs = s->m / s->group;
    g->tiles_x = (s->ow + g->tile_w - 1) / g->tile_w;
    g->tiles = g->tiles_x * ((s->oh + g->tile_h - 1) / g->tile_h);
    const int32_t count = most ? (g->tiles + most - 1) / most : 1;
    g->held = (g->tiles + count - 1) / count;
    const int32_t blocks = (g->outputs + TS_BLOCK - 1) / TS_BLOCK;
    g->m_plane = (ptrdiff_t)g->held * ts_panel_blocks(blocks, ts_panels(blocks, TS_NB), 0) * TS_BLOCK + TS_PLANE_GAP;
    g->v = workspace;
    g->m = workspace + g->held * ts_wino_depths(g) + TS_PLANES * TS_PLANE_GAP;
    for (int32_t n = 0; n < s->group; n++) {
        g->x_first = n * g->channels;
        g->y_first = n * g->outputs;
        g->bias = bias ? bias + g->y_first : NULL;
        for (int32_t i = 0, first = 0; i < count; i++) {
            const int32_t tiles = g->tiles / count + (i < g->tiles % count);
            ts_wino_tiles(g, weights, first, tiles);
            first += tiles;
        }
        weights += ts_wino_depths(g) * blocks * TS_BLOCK;
    }
}

#endif
