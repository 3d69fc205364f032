"""MEC: lowering along the width only; overlapping GEMMs, one per output row."""

from __future__ import annotations

from kernels.gemm_packing import HEADERS, PIXEL_PATCHES
from kernels.spec import Layout, Primitive, Shape


def _refuses(s: Shape) -> str | None:
    """kh > 1, dilation_h 1."""
    if s.kh == 1:
        return "kernel height 1: rows of patches do not overlap, the same as im2row"
    return f"dilation_h {s.dilation_h}: a patch is not contiguous, needs 1" if s.dilation_h != 1 else None


def _workspace_elems(s: Shape) -> int:
    """ow * ((oh-1)*stride_h + kh) * kw*(c/group), which is ow*(h+2p)*kw*c at stride 1"""
    return s.ow * ((s.oh - 1) * s.stride_h + s.kh) * s.kw * (s.c // s.group)


PRIMITIVES = (
    Primitive(
        "conv",
        "mec",
        Layout.HWC,
        Layout.HWC,
        "conv/mec.c",
        "Cho & Brand 2017",
        refuses=_refuses,
        workspace_elems=_workspace_elems,
        packing=PIXEL_PATCHES,
        headers=HEADERS,
    ),
)
