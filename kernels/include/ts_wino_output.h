/* SPDX-License-Identifier: MIT-0
 *
 * The output transform of the square Winograd tiles: y = A^T M A, a x a products to m x m outputs.
 */
#ifndef TS_WINO_OUTPUT_H
#define TS_WINO_OUTPUT_H

#include "ts_wino_io.h"

#define TS_PLANES (TS_WA * TS_WA)
#define TS_OUTPUTS (TS_WM * TS_WM)

/* A column of a tile: numbers `step` floats apart. What is not used is not loaded. */
TS_INLINE void ts_wino_column(const float *from, ptrdiff_t step, ts_vec *line)
{
#define TS_LOAD(i) line[i] = ts_load(from + (i) * step);
    TS_EACH_INPUT(TS_LOAD)
#undef TS_LOAD
}

/* Rows e, e + 2, e + 4 of the outputs: they share their sums over opposite points. */
TS_INLINE void ts_wino_parity(const int e, const struct ts_wino_target *o, const float *m, ptrdiff_t plane)
{
    ts_vec first[TS_WA], second[TS_WA], third[TS_WA], line[TS_WA];
#define TS_COLUMN(j)                                                                                                   \
    ts_wino_column(m + j * plane, TS_WA * plane, line);                                                                \
    first[j] = ts_wino_at(e, line, NULL);                                                                              \
    if (e + 2 < TS_WM)                                                                                                 \
        second[j] = ts_wino_at(e + 2, line, NULL);                                                                     \
    if (e + 4 < TS_WM)                                                                                                 \
        third[j] = ts_wino_at(e + 4, line, NULL);
    TS_EACH_INPUT(TS_COLUMN)
#undef TS_COLUMN
#define TS_PUT_ROW(i, j, sums)                                                                                         \
    if (j < o->columns)                                                                                                \
        ts_wino_put(o, (i) * o->row + j * o->pixel, ts_wino_at(j, sums, &o->bias));
#define TS_FIRST(j) TS_PUT_ROW(e, j, first)
#define TS_SECOND(j) TS_PUT_ROW(e + 2, j, second)
#define TS_THIRD(j) TS_PUT_ROW(e + 4, j, third)
    TS_EACH_OUTPUT(TS_FIRST)
    if (e + 2 < TS_WM && e + 2 < o->rows) {
        TS_EACH_OUTPUT(TS_SECOND)
    }
    if (e + 4 < TS_WM && e + 4 < o->rows) {
        TS_EACH_OUTPUT(TS_THIRD)
    }
#undef TS_FIRST
#undef TS_SECOND
#undef TS_THIRD
#undef TS_PUT_ROW
}

/* Outputs of one tile at one vector of channels, of M at `m`. */
TS_INLINE void ts_wino_outputs(const struct ts_wino *g, const struct ts_wino_target *o, const float *m, ptrdiff_t plane)
{
    (void)g;
    ts_wino_parity(0, o, m, plane);
    if (o->rows > 1)
        ts_wino_parity(1, o, m, plane);
}

#endif
