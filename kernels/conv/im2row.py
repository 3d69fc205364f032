"""im2row: patches as the rows of a matrix, channels innermost, then one GEMM; whole or a few output rows at a time."""

from __future__ import annotations

from collections.abc import Callable

from kernels.conv.im2col import patches_are_input
from kernels.gemm_packing import HEADERS, PIXEL_PATCHES
from kernels.spec import Layout, Primitive, Shape

CITE = "Chellapilla, Puri & Simard 2006; Anderson & Gregg 2018"


def _patch_elems(s: Shape, rows: int) -> int:
    return rows * s.ow * s.kh * s.kw * (s.c // s.group)


def _whole_from_hwc(s: Shape) -> int:
    """oh*ow * kh*kw*(c/group); 0 for an unpadded 1x1 kernel of stride 1, whose patches are the input."""
    return 0 if patches_are_input(s) else _patch_elems(s, s.oh)


def _whole_from_chw(s: Shape) -> int:
    """oh*ow * kh*kw*(c/group)"""
    return _patch_elems(s, s.oh)


def _any(_s: Shape) -> str | None:
    """Any shape."""
    return None


def _strip(rows: int, in_layout: Layout) -> Primitive:
    def refuses(s: Shape) -> str | None:
        if in_layout is Layout.HWC and patches_are_input(s):
            return "unpadded 1x1 kernel of stride 1: plain im2row needs no patches at all"
        return f"{s.oh} output rows: one strip of {rows} would be plain im2row" if s.oh <= rows else None

    def workspace_elems(s: Shape) -> int:
        return _patch_elems(s, rows)

    unless = "; not an unpadded 1x1 kernel of stride 1" if in_layout is Layout.HWC else ""
    refuses.__doc__ = f"oh > {rows}{unless}."
    workspace_elems.__doc__ = f"{rows}*ow * kh*kw*(c/group)"
    return _declare(f"strip{rows}", in_layout, workspace_elems, refuses)


def _declare(
    variant: str,
    in_layout: Layout,
    workspace_elems: Callable[[Shape], int],
    refuses: Callable[[Shape], str | None],
) -> Primitive:
    return Primitive(
        "conv",
        "im2row",
        in_layout,
        Layout.HWC,
        "conv/im2row.c",
        CITE,
        variant,
        refuses=refuses,
        workspace_elems=workspace_elems,
        packing=PIXEL_PATCHES,
        headers=HEADERS,
    )


PRIMITIVES = (
    _declare("", Layout.HWC, _whole_from_hwc, _any),
    _declare("", Layout.CHW, _whole_from_chw, _any),
    *(_strip(rows, layout) for rows in (1, 4) for layout in (Layout.HWC, Layout.CHW)),
)
