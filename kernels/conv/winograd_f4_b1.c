/* SPDX-License-Identifier: MIT-0
 *
 * Winograd F(4x4, 3x3) with products of 16 output channels by 12 tiles.
 */
#define TS_WM 4
#define TS_WR 3
#define TS_NB 1
#define TS_MR 12
#include "ts_winograd.h"

TS_WINOGRAD(conv_winograd_f4_b1t4_hwc_hwc_f32, TS_HWC, TS_HWC, 4)
TS_WINOGRAD(conv_winograd_f4_b1t4_chw16c_chw16c_f32, TS_CHW16C, TS_CHW16C, 4)
TS_WINOGRAD(conv_winograd_f4_full_hwc_hwc_f32, TS_HWC, TS_HWC, 0)
TS_WINOGRAD(conv_winograd_f4_full_chw16c_chw16c_f32, TS_CHW16C, TS_CHW16C, 0)
TS_WINOGRAD(conv_winograd_f4_full_chw_chw_f32, TS_CHW, TS_CHW, 0)
