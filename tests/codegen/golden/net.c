/* SPDX-License-Identifier: MIT-0
 *
 * net: the network tiny, exported by Tradespace 0.0.
 *
 *   model     tiny.onnx, SHA-256 0000000000000000000000000000000000000000000000000000000000000000
 *   measured  on host with gcc 12 -O3
 *   point     pt_1: proven fastest for its arena memory
 *   expected  2000 ns, of which layout changes 0 ns
 *   memory    arena 2 048 B (of it scratch at most 0 B), weights 2 356 B
 *
 * net_run is the schedule: it is executed from top to bottom. Each call's comment says which node it computes,
 * by which primitive, its measured time, and where its operands lie; `a` is the arena, `w` the packed weights,
 * both counted in floats. A blocked layout (chw8c, chw16c) stores channels in blocks, padded with zeros.
 */
#include "net.h"

#include <math.h> /* INFINITY */
#include <stdint.h>

#include "kernels/ts.h"

ts_routine net_conv_direct_plain_chw_chw_f32;

extern const float net_weights[NET_WEIGHTS_BYTES / sizeof(float)];

int net_init(struct net *n, void *arena, size_t arena_bytes)
{
    if (n == NULL || arena == NULL)
        return NET_ERROR_NULL;
    n->arena = NULL;
    if (arena_bytes < NET_ARENA_BYTES)
        return NET_ERROR_ARENA_SIZE;
    if ((uintptr_t)arena % NET_ARENA_ALIGN != 0)
        return NET_ERROR_ARENA_ALIGN;
    n->arena = arena;
    return NET_OK;
}

const char *net_strerror(int error)
{
    switch (error) {
    case NET_OK:
        return "no error";
    case NET_ERROR_NULL:
        return "a pointer is NULL";
    case NET_ERROR_ARENA_SIZE:
        return "the arena is smaller than NET_ARENA_BYTES";
    case NET_ERROR_ARENA_ALIGN:
        return "the arena is not aligned to NET_ARENA_ALIGN";
    default:
        return "unknown error";
    }
}

int net_run(const struct net *n, const float *image, float *scores)
{
    if (n == NULL || image == NULL || scores == NULL || n->arena == NULL)
        return NET_ERROR_NULL;
    float *const a = n->arena;
    const float *const w = net_weights;

    /* 1/2 hidden: conv 3x9x7 -> 8x9x7, kernel 3x3, pad 1
     *   conv_direct_plain_chw_chw_f32, expected 1000 ns
     *   in  image bytes 0..755: 3x9x7 chw
     *   out arena bytes 0..2015: 8x9x7 chw
     */
    {
        static const struct ts_shape s = {
            .c = 3, .h = 9, .w = 7, .m = 8, .oh = 9, .ow = 7,
            .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .pad_t = 1, .pad_l = 1, .pad_b = 1, .pad_r = 1,
            .dilation_h = 1, .dilation_w = 1, .group = 1, .n_in = 1, .x_pitch = 63, .y_pitch = 63,
            .lo = 0.0f, .hi = INFINITY,
        };
        const float *const x[] = {image};
        net_conv_direct_plain_chw_chw_f32(&s, x, w + 0, w + 216, a + 0, NULL);
    }

    /* 2/2 scores: conv 8x9x7 -> 5x5x4, kernel 3x3, stride 2, pad 1
     *   conv_direct_plain_chw_chw_f32, expected 1000 ns
     *   in  arena bytes 0..2015: 8x9x7 chw
     *   out scores bytes 0..399: 5x5x4 chw
     */
    {
        static const struct ts_shape s = {
            .c = 8, .h = 9, .w = 7, .m = 5, .oh = 5, .ow = 4,
            .kh = 3, .kw = 3, .stride_h = 2, .stride_w = 2, .pad_t = 1, .pad_l = 1, .pad_b = 1, .pad_r = 1,
            .dilation_h = 1, .dilation_w = 1, .group = 1, .n_in = 1, .x_pitch = 63, .y_pitch = 20,
            .lo = -INFINITY, .hi = INFINITY,
        };
        const float *const x[] = {a + 0};
        net_conv_direct_plain_chw_chw_f32(&s, x, w + 224, w + 584, scores, NULL);
    }

    return NET_OK;
}
