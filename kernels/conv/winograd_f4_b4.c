/* SPDX-License-Identifier: MIT-0
 *
 * Winograd F(4x4, 3x3) with products of 4 x 16 output channels by 6 tiles.
 */
#define TS_WM 4
#define TS_WR 3
#define TS_NB 4
#define TS_MR 6
#include "ts_winograd.h"

TS_WINOGRAD(conv_winograd_f4_b4t6_hwc_hwc_f32, TS_HWC, TS_HWC, 6)
TS_WINOGRAD(conv_winograd_f4_b4t6_chw16c_chw16c_f32, TS_CHW16C, TS_CHW16C, 6)
