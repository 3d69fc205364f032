"""Depthwise convolution: one input channel per output channel, along channels (hwc, chw16c) or columns (chw)."""

from __future__ import annotations

import numpy as np

from kernels.conv.direct import PLANAR_HEADERS, refuses_planar
from kernels.conv.panels import BLOCK, blocks
from kernels.spec import AS_IS, Array, Layout, Packing, Primitive, Shape

CHW, HWC, CHW16C = Layout.CHW, Layout.HWC, Layout.CHW16C
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


def pack(s: Shape, weights: Array) -> Array:
    """[c][1][kh][kw] to [kh][kw][c rounded up to 16]."""
    packed = np.zeros((s.kh * s.kw, blocks(s.c) * BLOCK), np.float32)
    packed[:, : s.c] = weights.reshape(s.c, -1).T
    return packed.reshape(-1)


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
            packing=Packing(packed_elems, pack),
            headers=("include/ts.h", "include/ts_vec.h"),
        )
        for layout in (HWC, CHW16C)
    ),
    Primitive(
        "conv",
        "depthwise",
        CHW,
        CHW,
        "conv/planar.c",
        cite=CITE,
        variant="planar",
        refuses=refuses_columns,
        packing=AS_IS,
        headers=PLANAR_HEADERS,
    ),
)
