"""Depthwise convolution: one input channel per output channel, along channels (hwc, chw8c, chw16c) or columns (chw)."""

from __future__ import annotations

import dataclasses

import numpy as np

from kernels.conv.direct import refuses_planar
from kernels.conv.panels import BLOCK, blocks
from kernels.spec import AS_IS, Array, Layout, Packing, Primitive, Shape

CHW, HWC, CHW8C, CHW16C = Layout.CHW, Layout.HWC, Layout.CHW8C, Layout.CHW16C
CITE = "Zhang, Lo & Lu 2020, High performance depthwise and pointwise convolutions on mobile devices"


def refuses(s: Shape) -> str | None:
    """One filter per channel: group = c = m."""
    if s.group == s.c == s.m:
        return None
    return f"group {s.group}, {s.c} in and {s.m} out channels; needs all three equal"


def refuses_columns(s: Shape) -> str | None:
    """Depthwise, with the limits of the planar routine."""
    return refuses(s) or refuses_planar(s)


def packed_elems(s: Shape) -> int:
    """kh * kw * (c rounded up to 16)."""
    return s.kh * s.kw * blocks(s.c) * BLOCK


def pack_blocked(s: Shape, weights: Array) -> Array:
    """[c][1][kh][kw] to [c rounded up to 16 / 16][kh][kw][16], missing channels zero."""
    padded = np.zeros((blocks(s.c) * BLOCK, s.kh * s.kw), np.float32)
    padded[: s.c] = weights.reshape(s.c, -1)
    return np.ascontiguousarray(padded.reshape(-1, BLOCK, s.kh * s.kw).transpose(0, 2, 1)).reshape(-1)


def pack_hwc(s: Shape, weights: Array) -> Array:
    """The same order, but the last block repeats channels of the one before, if there is one, in place of zeros.

    So every vector of neighbouring channels that ends at the last channel is one load, whatever its length.
    """
    taps = weights.reshape(s.c, -1)
    if s.c > BLOCK:
        taps = np.concatenate((taps[: s.c // BLOCK * BLOCK], taps[-BLOCK:] if s.c % BLOCK else taps[:0]))
    return pack_blocked(dataclasses.replace(s, c=len(taps)), taps)


PRIMITIVES = (
    *(
        Primitive(
            "conv",
            "depthwise",
            layout,
            layout,
            "conv/depthwise.c",
            cite=CITE,
            refuses=refuses,
            packing=Packing(packed_elems, pack_hwc if layout is HWC else pack_blocked),
            residual=True,
            pitched=True,
            headers=("include/ts.h", "include/ts_depthwise.h", "include/ts_vec.h"),
        )
        for layout in (HWC, CHW8C, CHW16C)
    ),
    Primitive(
        "conv",
        "depthwise",
        CHW,
        CHW,
        "conv/depthwise_planar.c",
        cite=CITE,
        variant="planar",
        refuses=refuses_columns,
        packing=AS_IS,
        residual=True,
        pitched=True,
        headers=("include/ts.h", "include/ts_vec.h"),
    ),
)
