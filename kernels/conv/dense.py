"""Dense layer: rows of the matrix read side by side, or packed panels read as one stream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.conv.panels import BLOCK, blocks, pack_panels, panel_cuts
from kernels.spec import Array, Layout, Packing, Primitive, Shape, canonical

CHW, HWC, CHW16C = Layout.CHW, Layout.HWC, Layout.CHW16C
PANEL_BLOCKS = 8


def _in_memory_order(s: Shape, weights: Array, layout: Layout) -> Array:
    """[m][c*h*w] in chw order to [m][k] in the order the layout stores x; padding channels zero."""
    return np.stack([layout.store(row) for row in weights.reshape(s.m, s.c, s.h, s.w)])


def _rows(layout: Layout, together: int) -> Packing:
    return Packing(
        lambda s: s.m * layout.elems(s.c, s.h, s.w),
        lambda s, weights: _in_memory_order(s, weights, layout).reshape(-1),
        lambda s: range(0, s.m, together),
    )


def _panels(layout: Layout) -> Packing:
    return Packing(
        lambda s: blocks(s.m) * BLOCK * layout.elems(s.c, s.h, s.w),
        lambda s, weights: pack_panels(_in_memory_order(s, weights, layout).T, PANEL_BLOCKS),
        lambda s: panel_cuts(s.m, PANEL_BLOCKS),
    )


def _refusal(layout: Layout) -> Callable[[Shape], str | None]:
    def refuses(s: Shape) -> str | None:
        return "same as chw" if canonical(layout, s.c, s.h, s.w) is not layout else None

    refuses.__doc__ = "Any shape." if layout is not HWC else "More than one channel and more than one pixel."
    return refuses


def _declare(layout: Layout, family: str, variant: str, source: str, packing: Packing) -> Primitive:
    return Primitive(
        "dense",
        family,
        layout,
        CHW,
        source,
        cite="Goto & van de Geijn 2008, High-performance implementation of the level-3 BLAS",
        variant=variant,
        refuses=_refusal(layout),
        packing=packing,
        headers=("include/ts.h", *(_PANEL_HEADERS if family == "panel" else ()), "include/ts_vec.h"),
    )


_PANEL_HEADERS = ("include/ts_tile.h", "include/ts_tile_store.h")

PRIMITIVES = tuple(
    primitive
    for layout in (CHW, HWC, CHW16C)
    for primitive in (
        _declare(layout, "rows", "r8", "conv/dense.c", _rows(layout, 8)),
        _declare(layout, "rows", "r12", "conv/dense.c", _rows(layout, 12)),
        _declare(layout, "panel", "", "conv/dense_panel.c", _panels(layout)),
    )
)
