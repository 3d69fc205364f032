/* SPDX-License-Identifier: MIT-0
 *
 * Pointwise convolution of planar tensors: the image is one row of h*w columns.
 */
#include "ts_planar.h"

TS_ROUTINE(conv_pointwise_planar_chw_chw_f32)
{
    (void)workspace;
    struct ts_shape row = *s;
    row.w = row.ow = s->h * s->w;
    row.h = row.oh = 1;
    ts_planar(&row, x[0], weights, bias, y);
}
