/* SPDX-License-Identifier: MIT-0
 *
 * Dense layer y = clamp(W x + b) with W packed in panels of up to 8 x 16 outputs: one stream of weights, no sums
 * across lanes, each input broadcast. The better order where large pages or no prefetchers serve the weights.
 *
 *   x        k floats in the order of memory of the in-layout, padding channels included
 *   weights  [panel][k][16 * blocks of the panel]
 */
#define TS_MR 1 /* of the tile; no pixels here */
#include "ts_tile.h"

#define PANEL_BLOCKS 8
#define PANEL_VECTORS 8 /* in registers at a time */
#define PANEL_EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define PANEL_START(v) ts_vec a##v = ts_zero();
#define PANEL_STEP(v)                                                                                                  \
    if (vectors > v)                                                                                                   \
        a##v = ts_fma(ts_load(w + v * TS_VL), xi, a##v);
#define PANEL_KEEP(v)                                                                                                  \
    if (vectors > v)                                                                                                   \
        ts_store(sums + v * TS_VL, a##v);

/* sums of `vectors` (a literal) vectors of outputs; w steps `step` floats per input. */
TS_INLINE void panel_vectors(const int vectors, const float *w, ptrdiff_t step, const float *x, ptrdiff_t k,
                             float *sums)
{
    PANEL_EACH(PANEL_START)
    for (ptrdiff_t i = 0; i < k; i++, w += step) {
        const ts_vec xi = ts_splat(x[i]);
        PANEL_EACH(PANEL_STEP)
    }
    PANEL_EACH(PANEL_KEEP)
}

TS_ONCE void panel(const struct ts_shape *s, const float *x, const float *w, const float *bias, float *y, int32_t block)
{
    const ptrdiff_t k = (ptrdiff_t)(s->c + block - 1) / block * block * s->h * s->w;
    const int32_t blocks = (s->m + TS_BLOCK - 1) / TS_BLOCK, panels = ts_panels(blocks, PANEL_BLOCKS);
    for (int32_t p = 0, m = 0; p < panels; p++) {
        const int32_t lanes = ts_panel_blocks(blocks, panels, p) * TS_BLOCK;
        float sums[PANEL_BLOCKS * TS_BLOCK];
        int32_t at = 0;
        for (; lanes - at >= PANEL_VECTORS * TS_VL; at += PANEL_VECTORS * TS_VL)
            panel_vectors(PANEL_VECTORS, w + at, lanes, x, k, sums + at);
        for (; at < lanes; at += TS_VL)
            panel_vectors(1, w + at, lanes, x, k, sums + at);
        for (int32_t j = 0; j < lanes && m + j < s->m; j++)
            y[m + j] = ts_clamp(sums[j] + (bias ? bias[m + j] : 0.0f), s->lo, s->hi);
        w += k * lanes;
        m += lanes;
    }
}

#define PANEL(name, block)                                                                                             \
    TS_ROUTINE(name)                                                                                                   \
    {                                                                                                                  \
        (void)workspace;                                                                                               \
        panel(s, x[0], weights, bias, y, block);                                                                       \
    }

PANEL(dense_panel_chw_chw_f32, 1)
PANEL(dense_panel_hwc_chw_f32, 1)
PANEL(dense_panel_chw16c_chw_f32, 16)
