"""Weight orders of include/ts_gemm.h, and the convolution matrices that are packed into them.

Knows matrices and the two packed orders; which primitive uses which is said in its declaration.
"""

from __future__ import annotations

import numpy as np

from kernels.spec import Array, Packing, Shape, weight_elems

PANEL = 8  # TS_GEMM_PANEL
BLOCK = 16  # TS_GEMM_BLOCK
HEADERS = ("include/ts.h", "include/ts_gemm.h", "include/ts_row.h", "include/ts_vec.h")


def pack_planar(matrix: Array) -> Array:
    """[m][k] in panels of 8 rows, the rest in panels of 4, 2 and 1; each panel is [k][rows]. m*k floats, 1-D."""
    m = matrix.shape[0]
    panels, row = [], 0
    while row < m:
        rows = PANEL if m - row >= PANEL else 1 << (m - row).bit_length() - 1
        panels.append(matrix[row : row + rows].T.reshape(-1))
        row += rows
    return np.concatenate(panels).astype(np.float32, copy=False)


def pack_pixels(matrix: Array) -> Array:
    """[k][m] in blocks of 16 columns, the rest in one narrower block; each block is [k][columns]. k*m floats, 1-D."""
    blocks = [matrix[:, column : column + BLOCK].reshape(-1) for column in range(0, matrix.shape[1], BLOCK)]
    return np.concatenate(blocks).astype(np.float32, copy=False)


def _by_group(s: Shape, weights: Array) -> Array:
    """[group][m of a group][c of a group][kh][kw]."""
    return weights.reshape(s.group, s.m // s.group, s.c // s.group, s.kh, s.kw)


def _planar_patches(s: Shape, weights: Array) -> Array:
    return np.concatenate([pack_planar(w.reshape(w.shape[0], -1)) for w in _by_group(s, weights)])


def _pixel_patches(s: Shape, weights: Array) -> Array:
    return np.concatenate([pack_pixels(w.transpose(2, 3, 1, 0).reshape(-1, len(w))) for w in _by_group(s, weights)])


def _planar_stacked_taps(s: Shape, weights: Array) -> Array:
    stacked = [w.transpose(2, 3, 0, 1).reshape(-1, w.shape[1]) for w in _by_group(s, weights)]
    return np.concatenate([pack_planar(w) for w in stacked])


def _planar_taps(s: Shape, weights: Array) -> Array:
    taps = _by_group(s, weights).transpose(0, 3, 4, 1, 2).reshape(-1, s.m // s.group, s.c // s.group)
    return np.concatenate([pack_planar(tap) for tap in taps])


def _pixel_stacked_taps(s: Shape, weights: Array) -> Array:
    stacked = [w.transpose(1, 2, 3, 0).reshape(w.shape[1], -1) for w in _by_group(s, weights)]
    return np.concatenate([pack_pixels(w) for w in stacked])


def _pixel_taps(s: Shape, weights: Array) -> Array:
    taps = _by_group(s, weights).transpose(0, 3, 4, 2, 1).reshape(-1, s.c // s.group, s.m // s.group)
    return np.concatenate([pack_pixels(tap) for tap in taps])


# One matrix per group: [m][c*kh*kw] planar, [kh*kw*c][m] for pixels.
PLANAR_PATCHES = Packing(weight_elems, _planar_patches, lambda s: range(0, s.m, PANEL))
PIXEL_PATCHES = Packing(weight_elems, _pixel_patches)
# One matrix per group, all taps side by side: [kh*kw*m][c] planar, [c][kh*kw*m] for pixels.
PLANAR_STACKED_TAPS = Packing(weight_elems, _planar_stacked_taps)
PIXEL_STACKED_TAPS = Packing(weight_elems, _pixel_stacked_taps)
# One matrix per group and tap: [m][c] planar, [c][m] for pixels.
PLANAR_TAPS = Packing(weight_elems, _planar_taps)
PIXEL_TAPS = Packing(weight_elems, _pixel_taps)
