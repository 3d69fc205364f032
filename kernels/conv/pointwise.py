"""Pointwise (1x1) convolution: a matrix product over pixels, without the tap machinery."""

from __future__ import annotations

from kernels.conv.direct import TILE_HEADERS, TILES
from kernels.conv.panels import conv_packing
from kernels.spec import Layout, Primitive, Shape

HWC, CHW16C = Layout.HWC, Layout.CHW16C


def refuses(s: Shape) -> str | None:
    """Only one tap, always inside the image."""
    if (s.kh, s.kw) != (1, 1):
        return f"kernel {s.kh}x{s.kw}; needs 1x1"
    if s.pad_t or s.pad_l or s.pad_b or s.pad_r:
        return "padded; needs no padding"
    return None


PRIMITIVES = tuple(
    Primitive(
        "conv",
        "pointwise",
        layout,
        layout,
        f"conv/pointwise_b{widest}p{pixels}.c",
        cite="Georganas et al. 2018, Anatomy of high-performance deep learning convolutions",
        variant=f"b{widest}p{pixels}",
        refuses=refuses,
        packing=conv_packing(widest),
        headers=TILE_HEADERS,
    )
    for widest, pixels in TILES
    for layout in (HWC, CHW16C)
)
