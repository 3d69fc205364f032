/* SPDX-License-Identifier: MIT-0
 *
 * Depthwise convolution of planar tensors: groups of one channel, vectors along output columns.
 */
#include "ts_planar.h"

TS_ROUTINE(conv_depthwise_planar_chw_chw_f32)
{
    (void)workspace;
    ts_planar(s, x[0], weights, bias, y);
}
