/* SPDX-License-Identifier: MIT-0
 *
 * Winograd F(4x4, 3x3) with products of 3 x 16 output channels by 8 tiles.
 */
#define TS_WM 4
#define TS_WR 3
#define TS_NB 3
#define TS_MR 8
#include "ts_winograd.h"

TS_WINOGRAD(conv_winograd_f4_b3t8_hwc_hwc_f32, TS_HWC, TS_HWC, 8)
TS_WINOGRAD(conv_winograd_f4_b3t8_chw16c_chw16c_f32, TS_CHW16C, TS_CHW16C, 8)
TS_WINOGRAD(conv_winograd_f4_b3t8_chw_chw_f32, TS_CHW, TS_CHW, 8)
TS_WINOGRAD(conv_winograd_f4_b3t8_chw8c_chw8c_f32, TS_CHW8C, TS_CHW8C, 8)
TS_WINOGRAD(conv_winograd_f4_b3t16_hwc_hwc_f32, TS_HWC, TS_HWC, 16)
TS_WINOGRAD(conv_winograd_f4_b3t16_chw16c_chw16c_f32, TS_CHW16C, TS_CHW16C, 16)
