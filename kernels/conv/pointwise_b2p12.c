/* SPDX-License-Identifier: MIT-0
 *
 * Pointwise convolution, panels of 2 x 16 output channels by 12 pixels: one tap, never outside the image.
 */
#define TS_NB 2
#define TS_MR 12
#define TS_MODE TS_ONE_TAP
#include "ts_direct.h"

TS_DIRECT(conv_pointwise_b2p12_hwc_hwc_f32, TS_HWC, TS_HWC)
TS_DIRECT(conv_pointwise_b2p12_chw16c_chw16c_f32, TS_CHW16C, TS_CHW16C)
TS_DIRECT(conv_pointwise_b2p12_chw8c_chw8c_f32, TS_CHW8C, TS_CHW8C)
