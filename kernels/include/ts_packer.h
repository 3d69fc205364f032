/* SPDX-License-Identifier: MIT-0
 *
 * Packing where the network runs: what a packer writes is, byte for byte, what the export would have stored.
 *
 *   plain    the operator's own weights, for a conv [m][c/group][kh][kw]
 *   packed   exactly as many floats as the packing has
 *
 * Of the shape only what weights depend on counts: c, m, kh, kw and group.
 */
#ifndef TS_PACKER_H
#define TS_PACKER_H

#include "ts.h"

typedef void ts_packer(const struct ts_shape *s, const float *plain, float *packed);

/* Declared first, so that no firmware's -Wmissing-prototypes objects. */
#define TS_PACKER(name)                                                                                                \
    ts_packer TS_SYMBOL(name);                                                                                         \
    void TS_SYMBOL(name)(const struct ts_shape *s, const float *plain, float *packed)

#endif
