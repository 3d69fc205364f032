/* SPDX-License-Identifier: MIT-0
 *
 * net: the network tiny, exported by Tradespace 0.0.
 *
 *   static _Alignas(NET_ARENA_ALIGN) float arena[NET_ARENA_BYTES / sizeof(float)];
 *   struct net n;
 *   if (net_init(&n, arena, sizeof arena) == 0)
 *       net_run(&n, image, scores);
 *
 * The arena is all the memory the network writes besides your output buffers. Several networks may share one
 * arena when they do not run at the same time; its contents need not survive between two runs.
 */
#ifndef NET_H
#define NET_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NET_ARENA_BYTES 2048u /* exact: the highest byte a run touches, in units of the alignment */
#define NET_ARENA_ALIGN 64u
#define NET_RESIDENT_BYTES 0u /* the beginning of the arena, which must survive between runs */
#define NET_WEIGHTS_BYTES 2356u /* constant data, read only */
#define NET_WORKSPACE_BYTES 0u /* part of the arena: the largest scratch of one node or chain */

#define NET_INPUT_0_ELEMS 189u /* image: 1x3x9x7, row-major (image) */
#define NET_OUTPUT_0_ELEMS 100u /* scores: 1x5x5x4, row-major (scores) */

enum {
    NET_OK = 0,
    NET_ERROR_NULL = 1,        /* a pointer is NULL */
    NET_ERROR_ARENA_SIZE = 2,  /* the arena is smaller than NET_ARENA_BYTES */
    NET_ERROR_ARENA_ALIGN = 3  /* the arena is not aligned to NET_ARENA_ALIGN */
};

struct net {
    float *arena;
};

/* Give the network its memory. Returns NET_OK or an error; on an error the network cannot run. */
int net_init(struct net *n, void *arena, size_t arena_bytes);

/* Run once. Inputs are read, outputs are written, neither may overlap the other or the arena. Returns NET_OK or an error. */
int net_run(const struct net *n, const float *image, float *scores);

/* A sentence for a return value of the functions above. */
const char *net_strerror(int error);

#ifdef __cplusplus
}
#endif

#endif
