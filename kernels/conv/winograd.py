"""Winograd convolution: matrices from interpolation points, weights transformed at export, exact workspace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

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

CHW, HWC, CHW8C, CHW16C = Layout.CHW, Layout.HWC, Layout.CHW8C, Layout.CHW16C
_SHARED = ("ts", "ts_blocks", "ts_tile", "ts_tile_store", "ts_vec", "ts_wino_block", "ts_wino_io", "ts_wino_points")
CITE = "Lavin & Gray 2016, Fast algorithms for convolutional neural networks; points: Barabasz et al. 2020"

PAIRS = {4: (1.0,), 5: (0.5, 1.25), 6: (0.75, 1.5), 7: (0.25, 1.0, 1.5), 8: (0.5, 1.0, 1.75)}
"""Interpolation points, each with its negative, by products a = m + r - 1; infinity besides, and 0 where a is even.
Exact in float32, as in ts_wino_points.h."""

PLANE_GAP = 16
"""Unused floats between the planes of V and of M, as in ts_wino_io.h."""

BLOCKINGS = {
    "b1t4": (4, 1),
    "b1t6": (6, 1),
    "b1t12": (12, 1),
    "full": (0, 1),
    "b3t8": (8, 3),
    "b3t16": (16, 3),
    "b4t6": (6, 4),
}
"""Most tiles per block (0: the whole image) and widest panel in blocks of 16 output channels."""

# (name, m, r, allowed error, blockings): m x m outputs per tile, r x r kernel. What is not listed was slower and
# larger than something listed on every layer of docs/decisions/018-winograd-blockings.md.
_FORMS = (
    ("f2", 2, 3, DIRECT_ERROR, ("b1t4", "b3t8", "b4t6", "full")),
    ("f4", 4, 3, WINOGRAD_F4_ERROR, ("b1t4", "b3t8", "b3t16", "b4t6", "full")),
    ("f5", 5, 3, WINOGRAD_F4_ERROR, ("b1t4", "b1t6", "b1t12", "b3t8", "b4t6")),
    ("f6", 6, 3, WINOGRAD_F6_ERROR, ("b1t4", "b3t8", "b3t16", "b4t6", "full")),
    ("f2k5", 2, 5, WINOGRAD_F4_ERROR, ("b1t4", "b3t8")),
    ("f4k5", 4, 5, WINOGRAD_F6_ERROR, ("b1t4", "b3t8", "b3t16", "b4t6")),
)
# Blockings offered in other layouts than hwc and chw16c: for networks that stay in them.
_PLANAR = {"f2": ("b3t8", "full"), "f4": ("b3t8", "full"), "f6": ("b3t8", "full"), "f4k5": ("b3t8",)}
_EIGHTS = {"f4": ("b3t8",)}


def _layouts(form: str, blocking: str) -> tuple[Layout, ...]:
    planar = (CHW,) if blocking in _PLANAR.get(form, ()) else ()
    return (HWC, CHW16C, *planar, *((CHW8C,) if blocking in _EIGHTS.get(form, ()) else ()))


def headers(*own: str) -> tuple[str, ...]:
    """Project headers of a form: the shared ones and its own, without folder and ending."""
    return tuple(f"include/{name}.h" for name in sorted((*_SHARED, *own)))


@functools.cache
def filter_transform(m: int, r: int) -> npt.NDArray[np.float64]:
    """G, [a][r]: row i is (1, p_i, p_i^2, ...) over the product of (p_i - p_k), other finite points; last: infinity."""
    a = m + r - 1
    points = ([] if a % 2 else [0.0]) + [sign * p for p in PAIRS[a] for sign in (1, -1)]
    rows = [
        [p**j / np.prod([p - q for k, q in enumerate(points) if k != i]) for j in range(r)]
        for i, p in enumerate(points)
    ]
    return np.array([*rows, [0.0] * (r - 1) + [1.0]])


def panel_packing(
    depths: Callable[[Shape], int],
    transform: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    widest: int,
) -> Packing:
    """[m][c/group][kh][kw] to [group][panel][row][16 * blocks], transformed in float64, rounded once.

    `transform` turns [m/group][c/group][kh][kw] of one group into [row][m/group]; `depths(shape)` is its row count:
    planes in order, each with the channels it sums over.
    """

    def elems(s: Shape) -> int:
        return s.group * depths(s) * blocks(s.m // s.group) * BLOCK

    def pack(s: Shape, weights: Array) -> Array:
        filters = weights.reshape(s.group, s.m // s.group, s.c // s.group, s.kh, s.kw).astype(np.float64)
        return np.concatenate([pack_panels(transform(g).astype(np.float32), widest) for g in filters])

    return Packing(elems, pack, lambda s: panel_cuts(s.m, widest))


def block_workspace(
    tiles: Callable[[Shape], int], depths: Callable[[Shape], int], planes: int, most: int, widest: int
) -> Callable[[Shape], int]:
    """Floats of V and M of one block of at most `most` tiles (0: all), as laid out in ts_wino_block.h."""

    def workspace_elems(s: Shape) -> int:
        held = tiles(s)
        if most:
            held = -(-held // -(-held // most))
        lanes = BLOCK * panel_blocks(blocks(s.m // s.group), widest)[0]
        return held * (depths(s) + planes * lanes) + (2 * planes - 1) * PLANE_GAP

    return workspace_elems


def held_text(most: int) -> str:
    """How the docs write the tiles of one block."""
    return f"ceil(tiles/ceil(tiles/{most}))" if most else "tiles"


def refuses_groups(s: Shape, layout: Layout) -> str | None:
    """Why the channels of a group cannot be addressed block by block, or None."""
    if s.group > 1 and (s.c // s.group % layout.block or s.m // s.group % layout.block):
        return f"groups that do not fill blocks of {layout.block} channels"
    return None


def refuses_blocks(tiles: int, blocking: str, offered: Collection[str]) -> str | None:
    """Why so few tiles need no such blocks, because another blocking offered makes the same call; or None."""
    most, widest = BLOCKINGS[blocking]
    same_panels = {most: name for name, (most, w) in BLOCKINGS.items() if w == widest and name in offered}
    if tiles <= most and 0 in same_panels:
        return f"{tiles} tiles: the same as {same_panels[0]}"
    smaller = max((t for t in same_panels if 0 < t < most), default=0)
    return f"{tiles} tiles: the same as {same_panels[smaller]}" if tiles <= smaller else None


def tiles_of(s: Shape, m: int) -> int:
    """Tiles of m x m outputs that cover the output."""
    return -(-s.oh // m) * -(-s.ow // m)


def _square(
    form: str, m: int, r: int, allowed: float, blockings: tuple[str, ...], blocking: str, layout: Layout
) -> Primitive:
    most, widest = BLOCKINGS[blocking]
    planes = (m + r - 1) ** 2

    def transform(filters: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        G = filter_transform(m, r)
        rows: npt.NDArray[np.float64] = np.einsum("ai,mcij,bj->abcm", G, filters, G, optimize=True)
        return rows.reshape(-1, len(filters))

    def depths(s: Shape) -> int:
        return planes * (s.c // s.group)

    def refuses(s: Shape) -> str | None:
        if (s.kh, s.kw) != (r, r):
            return f"kernel {s.kh}x{s.kw}; needs {r}x{r}"
        if (s.stride_h, s.stride_w, s.dilation_h, s.dilation_w) != (1, 1, 1, 1):
            return "strided or dilated; needs stride 1 and dilation 1"
        return refuses_groups(s, layout)

    refuses.__doc__ = f"{r}x{r} kernels of stride 1, dilation 1."
    workspace = block_workspace(lambda s: tiles_of(s, m), depths, planes, most, widest)
    workspace.__doc__ = f"{planes}*({held_text(most)}*(c/group + 16*blocks of the widest panel) + 32) - 16"
    return Primitive(
        "conv",
        "winograd",
        layout,
        layout,
        f"conv/winograd_{form}_b{widest}.c",
        cite=CITE,
        variant=f"{form}_{blocking}",
        refuses=refuses,
        redundant=lambda s: refuses_blocks(tiles_of(s, m), blocking, blockings),
        workspace_elems=workspace,
        packing=panel_packing(depths, transform, widest),
        max_rel_err=allowed,
        row_grain=m,
        residual=True,
        pitched=True,
        headers=headers("ts_wino_output", "ts_winograd"),
    )


PRIMITIVES = tuple(
    _square(form, m, r, allowed, blockings, blocking, layout)
    for form, m, r, allowed, blockings in _FORMS
    for blocking in blockings
    for layout in _layouts(form, blocking)
)
