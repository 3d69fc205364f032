/* SPDX-License-Identifier: MIT-0
 *
 * Winograd of 5x5 kernels with stride 2, 4x4 outputs per tile with products of 16 output channels by 12 tiles.
 */
#define TS_WM 4
#define TS_WR 3
#define TS_NB 1
#define TS_MR 12
#include "ts_wino_phase.h"

TS_WINOGRAD_STRIDE_2(conv_winograd_f4s2k5_b1t4_hwc_hwc_f32, TS_HWC, TS_HWC, 4)
TS_WINOGRAD_STRIDE_2(conv_winograd_f4s2k5_b1t4_chw16c_chw16c_f32, TS_CHW16C, TS_CHW16C, 4)
