/* SPDX-License-Identifier: MIT-0
 *
 * Filters of every Winograd form to packed weights: (G w) G^T in float64, rounded once.
 *
 *   plain    [m][c/group][kh][kw]
 *   packed   [group][panel][plane, phase][c/group][16 * blocks of the panel], missing channels zero
 *
 * The bytes are those of kernels/conv/winograd_form.py: both add products by rising row, then by rising column, and
 * neither fuses an addition into a multiplication. Where a target computes float64 with more bits (x87) the last bit
 * of a weight may differ.
 */
#include "ts_packer.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#define BLOCK 16
#define LANES 8      /* filters transformed side by side */
#define MOST_A 8     /* products of a line */
#define MOST_TAPS 7  /* of a line */
#define MOST_AREA 25 /* taps of a filter */
#define MOST_PHASES 2

/* Rows of G; as in ts_wino_points.h: 0 where their number is even, then each point with its negative, then infinity. */
static int transform(int m, int r, double g[MOST_A][MOST_TAPS])
{
    static const double pairs[MOST_A + 1][3] = {
        [4] = {1.0}, [5] = {0.5, 1.25}, [6] = {0.75, 1.5}, [7] = {0.25, 1.0, 1.5}, [8] = {0.5, 1.0, 1.75},
    };
    const int a = m + r - 1;
    double points[MOST_A] = {0.0};
    int finite = 0;
    if (a % 2 == 0)
        points[finite++] = 0.0;
    for (int k = 0; k < (a - 1) / 2; k++) {
        points[finite++] = pairs[a][k];
        points[finite++] = -pairs[a][k];
    }
    for (int i = 0; i < finite; i++) {
        double power = 1.0, product = 1.0; /* exact: points have few bits */
        for (int k = 0; k < finite; k++)
            product *= k == i ? 1.0 : points[i] - points[k];
        for (int j = 0; j < r; j++) {
            g[i][j] = power / product;
            power *= points[i];
        }
    }
    for (int j = 0; j < r; j++)
        g[finite][j] = j == r - 1 ? 1.0 : 0.0;
    return a;
}

/* G of one axis of a filter: m outputs per tile, or the identity along an axis of one tap. */
static int along(int m, int taps, int step, double g[MOST_A][MOST_TAPS])
{
    g[0][0] = 1.0;
    return taps == 1 ? 1 : transform(m, (taps + step - 1) / step, g);
}

/* One form of kernel: tiles of m outputs along each axis longer than 1, in `step` phases. */
struct form {
    int m, step, kh, kw, ah, aw;
    double gh[MOST_A][MOST_TAPS], gw[MOST_A][MOST_TAPS];
};

/* All rows of one input channel for LANES filters; to[0] is row 0, the next row is `row` floats on. */
static void pack_lanes(const struct form *f, double w[MOST_AREA][LANES], int filled, float *to, ptrdiff_t row)
{
    for (int i = 0; i < f->ah; i++) {
        double line[MOST_PHASES][MOST_TAPS][LANES];
        for (int p = 0; p < f->step; p++)
            for (int x = 0; x < f->kw; x++)
                for (int l = 0; l < LANES; l++) {
                    double sum = f->gh[i][0] * w[p * f->kw + x][l];
                    for (int u = 1; p + u * f->step < f->kh; u++)
                        sum = sum + f->gh[i][u] * w[(p + u * f->step) * f->kw + x][l];
                    line[p][x][l] = sum;
                }
        for (int j = 0; j < f->aw; j++)
            for (int p = 0; p < f->step; p++)
                for (int q = 0; q < f->step; q++) {
                    if ((p && i == f->ah - 1) || (q && j == f->aw - 1))
                        continue; /* the shorter filter has no product at infinity */
                    for (int l = 0; l < LANES; l++) {
                        double sum = line[p][q][l] * f->gw[j][0];
                        for (int v = 1; q + v * f->step < f->kw; v++)
                            sum = sum + line[p][q + v * f->step][l] * f->gw[j][v];
                        to[l] = l < filled ? (float)sum : 0.0f;
                    }
                    to += row;
                }
    }
}

static void pack(const struct ts_shape *s, const float *plain, float *packed, int m, int step, int widest)
{
    struct form f = {.m = m, .step = step, .kh = s->kh, .kw = s->kw};
    f.ah = along(m, s->kh, step, f.gh);
    f.aw = along(m, s->kw, step, f.gw);
    const int area = s->kh * s->kw, odd = step > 1;
    const int rows = (f.ah + odd * (f.ah - 1)) * (f.aw + odd * (f.aw - 1));
    const int32_t cg = s->c / s->group, mg = s->m / s->group;
    const int32_t blocks = (mg + BLOCK - 1) / BLOCK, panels = (blocks + widest - 1) / widest;
    for (int32_t group = 0; group < s->group; group++) {
        int32_t first = 0; /* output channel of the group at which the panel begins */
        for (int32_t panel = 0; panel < panels; panel++) {
            const int32_t lanes = BLOCK * (blocks / panels + (panel < blocks % panels));
            for (int32_t lane = 0; lane < lanes; lane += LANES) {
                const int32_t left = mg - first - lane, filled = left < 0 ? 0 : left < LANES ? left : LANES;
                for (int32_t c = 0; c < cg; c++) {
                    double w[MOST_AREA][LANES];
                    for (int tap = 0; tap < area; tap++)
                        for (int l = 0; l < LANES; l++)
                            w[tap][l] = 0.0;
                    for (int l = 0; l < filled; l++) {
                        const float *from = plain + ((ptrdiff_t)(first + lane + l) * cg + c) * area;
                        for (int tap = 0; tap < area; tap++)
                            w[tap][l] = from[tap];
                    }
                    pack_lanes(&f, w, filled, packed + (ptrdiff_t)c * lanes + lane, (ptrdiff_t)cg * lanes);
                }
            }
            packed += (ptrdiff_t)rows * cg * lanes;
            first += lanes;
        }
        plain += (ptrdiff_t)mg * cg * area;
    }
}

#define FORM(name, m, step, widest)                                                                                    \
    TS_PACKER(name)                                                                                                    \
    {                                                                                                                  \
        pack(s, plain, packed, m, step, widest);                                                                       \
    }

FORM(pack_winograd_f2_b1, 2, 1, 1)
FORM(pack_winograd_f2_b3, 2, 1, 3)
FORM(pack_winograd_f2_b4, 2, 1, 4)
FORM(pack_winograd_f4_b1, 4, 1, 1)
FORM(pack_winograd_f4_b3, 4, 1, 3)
FORM(pack_winograd_f4_b4, 4, 1, 4)
FORM(pack_winograd_f5_b1, 5, 1, 1)
FORM(pack_winograd_f5_b3, 5, 1, 3)
FORM(pack_winograd_f5_b4, 5, 1, 4)
FORM(pack_winograd_f6_b1, 6, 1, 1)
FORM(pack_winograd_f6_b3, 6, 1, 3)
FORM(pack_winograd_f6_b4, 6, 1, 4)
FORM(pack_winograd_f2k5_b1, 2, 1, 1)
FORM(pack_winograd_f2k5_b3, 2, 1, 3)
FORM(pack_winograd_f4k5_b1, 4, 1, 1)
FORM(pack_winograd_f4k5_b3, 4, 1, 3)
FORM(pack_winograd_f4k5_b4, 4, 1, 4)
FORM(pack_winograd_f4s2_b1, 4, 2, 1)
FORM(pack_winograd_f4s2_b3, 4, 2, 3)
FORM(pack_winograd_f4s2k5_b1, 4, 2, 1)
FORM(pack_winograd_f4s2k5_b3, 4, 2, 3)
FORM(pack_winograd_l4_b4, 4, 1, 4)
FORM(pack_winograd_l2k7_b4, 2, 1, 4)
