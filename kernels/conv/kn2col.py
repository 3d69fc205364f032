"""kn2col: one 1x1 convolution per kernel tap, shifted and summed; no patches, channels last."""

from __future__ import annotations

from collections.abc import Callable

from kernels.conv.kn2row import (
    FULL_CITE,
    LOW_MEMORY_CITE,
    none_elems,
    partials_elems,
    refuses_one_tap_or_stride,
    shift_elems,
)
from kernels.gemm_packing import HEADERS, PIXEL_STACKED_TAPS, PIXEL_TAPS
from kernels.spec import Layout, Packing, Primitive, Shape


def _refuses_one_tap(s: Shape) -> str | None:
    """Kernels of more than one tap."""
    return "1x1 kernel: a single tap is a pointwise convolution" if s.kh == s.kw == 1 else None


def _declare(
    variant: str,
    cite: str,
    workspace_elems: Callable[[Shape], int],
    packing: Packing,
    refuses: Callable[[Shape], str | None] = refuses_one_tap_or_stride,
) -> Primitive:
    return Primitive(
        "conv",
        "kn2col",
        Layout.HWC,
        Layout.HWC,
        "conv/kn2col.c",
        cite,
        variant,
        refuses=refuses,
        workspace_elems=workspace_elems,
        packing=packing,
        headers=HEADERS,
    )


PRIMITIVES = (
    _declare("", FULL_CITE, partials_elems, PIXEL_STACKED_TAPS),
    _declare("shift", LOW_MEMORY_CITE, shift_elems, PIXEL_TAPS),
    _declare("accumulate", LOW_MEMORY_CITE, none_elems, PIXEL_TAPS, _refuses_one_tap),
)
