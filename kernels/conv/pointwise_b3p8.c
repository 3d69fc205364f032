/* SPDX-License-Identifier: MIT-0
 *
 * Pointwise convolution, panels of 3 x 16 output channels by 8 pixels: one tap, never outside the image.
 */
#define TS_NB 3
#define TS_MR 8
#define TS_MODE TS_ONE_TAP
#include "ts_direct.h"

TS_DIRECT(conv_pointwise_b3p8_hwc_hwc_f32, TS_HWC, TS_HWC)
TS_DIRECT(conv_pointwise_b3p8_chw16c_chw16c_f32, TS_CHW16C, TS_CHW16C)
