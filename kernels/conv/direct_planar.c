/* SPDX-License-Identifier: MIT-0
 *
 * Direct convolution of planar tensors: vectors along output columns.
 */
#include "ts_planar.h"

TS_ROUTINE(conv_direct_planar_chw_chw_f32)
{
    (void)workspace;
    ts_planar(s, x[0], weights, bias, y);
}
