"""im2col: patches as the columns of a matrix, then one GEMM; whole or a few output rows at a time."""

from __future__ import annotations

from collections.abc import Callable

from kernels.gemm_packing import HEADERS, PLANAR_PATCHES
from kernels.spec import Layout, Primitive, Shape

CITE = "Chellapilla, Puri & Simard 2006; Jia et al. 2014 (Caffe)"


def patches_are_input(s: Shape) -> bool:
    """An unpadded 1x1 kernel of stride 1: the patch under every output is the input pixel itself."""
    unit = (s.kh, s.kw, s.stride_h, s.stride_w) == (1, 1, 1, 1)
    return unit and (s.oh, s.ow, s.pad_t, s.pad_l) == (s.h, s.w, 0, 0)


def _patch_elems(s: Shape, rows: int) -> int:
    return s.c // s.group * s.kh * s.kw * rows * s.ow


def _whole(s: Shape) -> int:
    """(c/group)*kh*kw * oh*ow; 0 for an unpadded 1x1 kernel of stride 1, whose patches are the input."""
    return 0 if patches_are_input(s) else _patch_elems(s, s.oh)


def _strip(rows: int) -> Primitive:
    def refuses(s: Shape) -> str | None:
        if patches_are_input(s):
            return "unpadded 1x1 kernel of stride 1: plain im2col needs no patches at all"
        return f"{s.oh} output rows: one strip of {rows} would be plain im2col" if s.oh <= rows else None

    def workspace_elems(s: Shape) -> int:
        return _patch_elems(s, rows)

    refuses.__doc__ = f"oh > {rows}; not an unpadded 1x1 kernel of stride 1."
    workspace_elems.__doc__ = f"(c/group)*kh*kw * {rows}*ow"
    return _declare(f"strip{rows}", workspace_elems, refuses)


def _any(_s: Shape) -> str | None:
    """Any shape."""
    return None


def _declare(
    variant: str, workspace_elems: Callable[[Shape], int], refuses: Callable[[Shape], str | None]
) -> Primitive:
    return Primitive(
        "conv",
        "im2col",
        Layout.CHW,
        Layout.CHW,
        "conv/im2col.c",
        CITE,
        variant,
        refuses=refuses,
        workspace_elems=workspace_elems,
        packing=PLANAR_PATCHES,
        headers=HEADERS,
    )


PRIMITIVES = (_declare("", _whole, _any), _strip(1), _strip(4))
