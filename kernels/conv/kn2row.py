"""kn2row: one 1x1 convolution per kernel tap, shifted and summed; no patches, planar layout."""

from __future__ import annotations

from collections.abc import Callable

from kernels.gemm_packing import HEADERS, PLANAR_STACKED_TAPS, PLANAR_TAPS
from kernels.spec import Layout, Packing, Primitive, Shape


def refuses_one_tap_or_stride(s: Shape) -> str | None:
    """Kernels of more than one tap, stride 1."""
    if s.kh == s.kw == 1:
        return "1x1 kernel: a single tap is a pointwise convolution"
    if (s.stride_h, s.stride_w) != (1, 1):
        return f"stride {s.stride_h}x{s.stride_w}: products are made at every input position, needs stride 1"
    return None


def _refuses_one_tap_or_column_stride(s: Shape) -> str | None:
    """Kernels of more than one tap, stride_w 1."""
    if s.kh == s.kw == 1:
        return "1x1 kernel: a single tap is a pointwise convolution"
    return f"stride_w {s.stride_w}: a GEMM reads neighbouring columns, needs 1" if s.stride_w != 1 else None


def partials_elems(s: Shape) -> int:
    """kh*kw * (m/group) * h*w"""
    return s.kh * s.kw * shift_elems(s)


def shift_elems(s: Shape) -> int:
    """(m/group) * h*w"""
    return s.m // s.group * s.h * s.w


def none_elems(_s: Shape) -> int:
    """0"""
    return 0


def _declare(
    variant: str,
    cite: str,
    workspace_elems: Callable[[Shape], int],
    packing: Packing,
    refuses: Callable[[Shape], str | None] = refuses_one_tap_or_stride,
) -> Primitive:
    return Primitive(
        "conv",
        "kn2row",
        Layout.CHW,
        Layout.CHW,
        "conv/kn2row.c",
        cite,
        variant,
        refuses=refuses,
        workspace_elems=workspace_elems,
        packing=packing,
        headers=HEADERS,
    )


FULL_CITE = "Vasudevan, Anderson & Gregg 2017"
LOW_MEMORY_CITE = "Anderson, Vasudevan, Keane & Gregg 2017"

PRIMITIVES = (
    _declare("", FULL_CITE, partials_elems, PLANAR_STACKED_TAPS),
    _declare("shift", LOW_MEMORY_CITE, shift_elems, PLANAR_TAPS),
    _declare("accumulate", LOW_MEMORY_CITE, none_elems, PLANAR_TAPS, _refuses_one_tap_or_column_stride),
)
