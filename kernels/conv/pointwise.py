"""Pointwise (1x1) convolution: a matrix product over pixels, without the tap machinery."""

from __future__ import annotations

from kernels.conv.direct import PLANAR_HEADERS, TILE_HEADERS, TILES, TILES_OF_EIGHTS
from kernels.conv.panels import conv_packing
from kernels.spec import AS_IS, Layout, Primitive, Shape

CHW, HWC, CHW8C, CHW16C = Layout.CHW, Layout.HWC, Layout.CHW8C, Layout.CHW16C


def refuses(s: Shape) -> str | None:
    """Only one tap, always inside the image."""
    if (s.kh, s.kw) != (1, 1):
        return f"kernel {s.kh}x{s.kw}; needs 1x1"
    if s.pad_t or s.pad_l or s.pad_b or s.pad_r:
        return "padded; needs no padding"
    return None


def refuses_planar(s: Shape) -> str | None:
    """One tap, always inside the image, every pixel: the image is one row of h*w columns."""
    if (s.stride_h, s.stride_w) != (1, 1):
        return f"stride {s.stride_h}x{s.stride_w}; needs 1"
    return refuses(s)


_TILED = tuple(
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
        residual=True,
        pitched=True,
        headers=TILE_HEADERS,
    )
    for widest, pixels in TILES
    for layout in ((HWC, CHW8C, CHW16C) if (widest, pixels) in TILES_OF_EIGHTS else (HWC, CHW16C))
)

PRIMITIVES = (
    *_TILED,
    Primitive(
        "conv",
        "pointwise",
        CHW,
        CHW,
        "conv/planar.c",
        cite="Georganas et al. 2018, with pixels in the place of channels",
        variant="planar",
        refuses=refuses_planar,
        packing=AS_IS,
        residual=True,
        pitched=True,
        headers=PLANAR_HEADERS,
    ),
)
