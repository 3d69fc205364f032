"""Direct convolution: the blocked tiles, the planar form for chw, and the plain loops as a baseline."""

from __future__ import annotations

from kernels.conv.panels import conv_packing
from kernels.spec import AS_IS, Layout, Primitive, Shape

CHW, HWC, CHW8C, CHW16C = Layout.CHW, Layout.HWC, Layout.CHW8C, Layout.CHW16C
TILE_HEADERS = tuple(
    f"include/{name}.h" for name in ("ts", "ts_direct", "ts_tile", "ts_tile_store", "ts_vec", "ts_window")
)

TILES = ((1, 6), (2, 7), (2, 12), (3, 8), (4, 6))
"""(blocks of 16 output channels, output pixels) per register tile: the ones that won layers in the design study."""

TILES_OF_EIGHTS = ((2, 12), (4, 6))
"""Tiles that also read and write `chw8c`: one wide in pixels for few channels, one that fits the registers of AVX."""

_PAIRS = ((CHW, HWC), (CHW, CHW16C), (HWC, HWC), (CHW16C, CHW16C))
_EIGHTS = ((CHW, CHW8C), (HWC, CHW8C), (CHW8C, CHW8C))
_CROSSING = ((HWC, CHW16C), (CHW16C, HWC))


def _tiled(widest: int, pixels: int) -> tuple[Primitive, ...]:
    tile = (widest, pixels)
    return tuple(
        Primitive(
            "conv",
            "direct",
            i,
            o,
            f"conv/direct_b{widest}p{pixels}.c",
            cite="Georganas et al. 2018, Anatomy of high-performance deep learning convolutions; Dukhan 2019",
            variant=f"b{widest}p{pixels}",
            packing=conv_packing(widest),
            residual=True,
            pitched=True,
            headers=TILE_HEADERS,
        )
        for i, o in _PAIRS + (_CROSSING if tile == (3, 8) else ()) + (_EIGHTS if tile in TILES_OF_EIGHTS else ())
    )


PLANAR_HEADERS = tuple(f"include/{name}.h" for name in ("ts", "ts_planar", "ts_tile", "ts_tile_store", "ts_vec"))
_STRIDE_MAX, _REACH_MAX = 4, 32  # as in ts_planar.h


def refuses_planar(s: Shape) -> str | None:
    """Column stride up to 4 and (kw - 1) * dilation_w up to 32: what the line on the stack holds."""
    if s.stride_w > _STRIDE_MAX:
        return f"column stride {s.stride_w}; at most {_STRIDE_MAX}"
    if (s.kw - 1) * s.dilation_w > _REACH_MAX:
        return f"kernel reaches {(s.kw - 1) * s.dilation_w} columns; at most {_REACH_MAX}"
    return None


PRIMITIVES = (
    *(p for tile in TILES for p in _tiled(*tile)),
    Primitive(
        "conv",
        "direct",
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
    Primitive(
        "conv",
        "direct",
        CHW,
        CHW,
        "conv/direct_plain.c",
        cite="ONNX operator Conv, by its definition",
        variant="plain",
        packing=AS_IS,
        headers=("include/ts.h",),
    ),
)
