/* SPDX-License-Identifier: MIT-0
 *
 * Which outputs of a convolution see only the image and no padding, and which taps of the others do.
 */
#ifndef TS_WINDOW_H
#define TS_WINDOW_H

#include <stdint.h>

/* Output coordinates [*first, *end) of `out` whose windows lie inside n input coordinates. reach = (k - 1) * dilation.
 */
static inline void ts_window_inside(int32_t n, int32_t out, int32_t stride, int32_t pad, int32_t reach, int32_t *first,
                                    int32_t *end)
{
    const int32_t room = n - 1 - reach + pad; /* of the window's corner, in padded coordinates */
    *first = (pad + stride - 1) / stride;
    *first = *first < out ? *first : out;
    *end = room < 0 ? 0 : room / stride + 1;
    *end = *end < out ? *end : out;
    *end = *end > *first ? *end : *first;
}

/* Taps [*first, *end) of k that lie inside n input coordinates when the window starts at `corner`. */
static inline void ts_window_taps(int32_t n, int32_t k, int32_t dilation, int32_t corner, int32_t *first, int32_t *end)
{
    *first = corner < 0 ? (dilation - 1 - corner) / dilation : 0;
    *first = *first < k ? *first : k;
    *end = corner < n ? (n - 1 - corner) / dilation + 1 : 0;
    *end = *end < k ? *end : k;
    *end = *end > *first ? *end : *first;
}

#endif
