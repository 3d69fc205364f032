/* SPDX-License-Identifier: MIT-0
 *
 * Winograd of 3x3 kernels with stride 2, 4x4 outputs per tile with products of 3 x 16 output channels by 8 tiles.
 */
#define TS_WM 4
#define TS_WR 2
#define TS_NB 3
#define TS_MR 8
#include "ts_wino_phase.h"

TS_WINOGRAD_STRIDE_2(conv_winograd_f4s2_b3t8_hwc_hwc_f32, TS_HWC, TS_HWC, 8)
TS_WINOGRAD_STRIDE_2(conv_winograd_f4s2_b3t8_chw16c_chw16c_f32, TS_CHW16C, TS_CHW16C, 8)
