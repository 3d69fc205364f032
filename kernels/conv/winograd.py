"""Winograd convolution: matrices from interpolation points, weights transformed at export, exact workspace."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernels.conv.direct import TILE_HEADERS
from kernels.conv.panels import BLOCK, blocks, pack_panels, panel_blocks, panel_cuts
from kernels.spec import (
    DIRECT_ERROR,
    WINOGRAD_F4_ERROR,
    WINOGRAD_F6_ERROR,
    Array,
    Layout,
    Packing,
    Primitive,
    Shape,
)

CHW, HWC, CHW16C = Layout.CHW, Layout.HWC, Layout.CHW16C
HEADERS = (*TILE_HEADERS, "include/ts_winograd.h")
CITE = "Lavin & Gray 2016, Fast algorithms for convolutional neural networks; points: Barabasz et al. 2020"

PAIRS = {4: (1.0,), 6: (0.75, 1.5), 8: (0.5, 1.0, 1.75)}
"""Interpolation points besides 0 and infinity, each with its negative, by tile size a = m + r - 1. Exact in float32."""

PLANE_GAP = 16
"""Unused floats between the a*a planes of V and of M, as in ts_winograd.h."""

# (name, m, r, allowed error): m x m outputs per tile, r x r kernel
_FORMS = (
    ("f2", 2, 3, DIRECT_ERROR),
    ("f4", 4, 3, WINOGRAD_F4_ERROR),
    ("f6", 6, 3, WINOGRAD_F6_ERROR),
    ("f2k5", 2, 5, WINOGRAD_F4_ERROR),
    ("f4k5", 4, 5, WINOGRAD_F6_ERROR),
)
# (suffix, tiles per block or 0 for the whole image, widest panel in blocks)
_BLOCKINGS = (("t6", 6, 4), ("t8", 8, 2), ("t12", 12, 4), ("t24", 24, 4), ("full", 0, 4))
_PLANAR = ("t12", "full")


@functools.cache
def filter_transform(m: int, r: int) -> npt.NDArray[np.float64]:
    """G, [a][r]: row i is (1, p_i, p_i^2, ...) over the product of (p_i - p_k), other finite points; last: infinity."""
    points = [0.0] + [sign * p for p in PAIRS[m + r - 1] for sign in (1, -1)]
    rows = [
        [p**j / np.prod([p - q for k, q in enumerate(points) if k != i]) for j in range(r)]
        for i, p in enumerate(points)
    ]
    return np.array([*rows, [0.0] * (r - 1) + [1.0]])


def _packing(m: int, r: int, widest: int) -> Packing:
    """[m][c/group][r][r] to [group][panel][a*a][c/group][16 * blocks], transformed in float64, rounded once."""
    planes = (m + r - 1) ** 2

    def elems(s: Shape) -> int:
        return s.group * planes * (s.c // s.group) * blocks(s.m // s.group) * BLOCK

    def pack(s: Shape, weights: Array) -> Array:
        G = filter_transform(m, r)
        mg, cg = s.m // s.group, s.c // s.group
        w = weights.reshape(s.group, mg, cg, r, r).astype(np.float64)
        transformed = np.einsum("ai,gmcij,bj->gabcm", G, w, G, optimize=True).astype(np.float32)
        return np.concatenate([pack_panels(g.reshape(-1, mg), widest) for g in transformed])

    return Packing(elems, pack, lambda s: panel_cuts(s.m, widest))


def _workspace(m: int, r: int, block_tiles: int, widest: int) -> Callable[[Shape], int]:
    planes = (m + r - 1) ** 2

    def workspace_elems(s: Shape) -> int:
        tiles = -(-s.oh // m) * -(-s.ow // m)
        held = min(block_tiles, tiles) if block_tiles else tiles
        lanes = BLOCK * panel_blocks(blocks(s.m // s.group), widest)[0]
        return planes * (held * (s.c // s.group + lanes) + 2 * PLANE_GAP) - PLANE_GAP

    held = f"min({block_tiles}, tiles)" if block_tiles else "tiles"
    workspace_elems.__doc__ = f"{planes}*({held}*(c/group + 16*blocks of the widest panel) + 32) - 16"
    return workspace_elems


def _refusal(m: int, r: int, block_tiles: int, layout: Layout) -> Callable[[Shape], str | None]:
    def refuses(s: Shape) -> str | None:
        if (s.kh, s.kw) != (r, r):
            return f"kernel {s.kh}x{s.kw}; needs {r}x{r}"
        if (s.stride_h, s.stride_w, s.dilation_h, s.dilation_w) != (1, 1, 1, 1):
            return "strided or dilated; needs stride 1 and dilation 1"
        if layout is CHW16C and s.group > 1 and (s.c // s.group % BLOCK or s.m // s.group % BLOCK):
            return "groups that do not fill blocks of 16 channels"
        tiles = -(-s.oh // m) * -(-s.ow // m)
        if block_tiles and tiles <= block_tiles:
            return f"{tiles} tiles: one block of {block_tiles} would be the full transform"
        return None

    refuses.__doc__ = f"{r}x{r} kernels of stride 1, dilation 1" + (
        f" with more than {block_tiles} tiles." if block_tiles else "."
    )
    return refuses


PRIMITIVES = tuple(
    Primitive(
        "conv",
        "winograd",
        layout,
        layout,
        f"conv/winograd_{form}_b{widest}.c",
        cite=CITE,
        variant=f"{form}_{blocking}",
        refuses=_refusal(m, r, block_tiles, layout),
        workspace_elems=_workspace(m, r, block_tiles, widest),
        packing=_packing(m, r, widest),
        max_rel_err=allowed,
        row_grain=m,
        headers=HEADERS,
    )
    for form, m, r, allowed in _FORMS
    for blocking, block_tiles, widest in _BLOCKINGS
    for layout in ((HWC, CHW16C, CHW) if blocking in _PLANAR else (HWC, CHW16C))
)
