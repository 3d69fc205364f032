/* SPDX-License-Identifier: MIT-0
 *
 * Winograd F(5x5, 3x3) with products of 3 x 16 output channels by 8 tiles.
 */
#define TS_WM 5
#define TS_WR 3
#define TS_NB 3
#define TS_MR 8
#include "ts_winograd.h"

TS_WINOGRAD(conv_winograd_f5_b3t8_hwc_hwc_f32, TS_HWC, TS_HWC, 8)
TS_WINOGRAD(conv_winograd_f5_b3t8_chw16c_chw16c_f32, TS_CHW16C, TS_CHW16C, 8)
