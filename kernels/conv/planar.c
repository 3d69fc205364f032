/* SPDX-License-Identifier: MIT-0
 *
 * Convolutions of planar tensors (chw to chw): vectors along output columns, as ts_planar.h describes.
 */
#include "ts_planar.h"

TS_ROUTINE(conv_direct_planar_chw_chw_f32)
{
    (void)workspace;
    ts_planar(s, x, weights, bias, y);
}

/* The image is one row of h*w columns. */
TS_ROUTINE(conv_pointwise_planar_chw_chw_f32)
{
    (void)workspace;
    struct ts_shape row = *s;
    row.w = row.ow = s->h * s->w;
    row.h = row.oh = 1;
    ts_planar(&row, x, weights, bias, y);
}
