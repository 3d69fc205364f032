"""Winograd convolution of square kernels of stride 1, by square tiles."""

from __future__ import annotations

import functools

from kernels.conv.winograd_form import Float64Array, Form, filter_transform, square_tiles, transformed
from kernels.spec import DIRECT_ERROR, WINOGRAD_F4_ERROR, WINOGRAD_F6_ERROR, Layout

CHW, HWC, CHW8C, CHW16C = Layout.CHW, Layout.HWC, Layout.CHW8C, Layout.CHW16C

# (name, m, r, allowed error, blockings): m x m outputs per tile, r x r kernel. What is not listed was slower and
# larger than something listed on every layer of docs/decisions/018 and 022.
_FORMS = (
    ("f2", 2, 3, DIRECT_ERROR, ("b1t4", "b3t8", "b4t6", "full")),
    ("f4", 4, 3, WINOGRAD_F4_ERROR, ("b1t4", "b3t8", "b3t16", "b4t6", "full")),
    ("f5", 5, 3, WINOGRAD_F4_ERROR, ("b1t4", "b1t6", "b1t12", "b3t8", "b4t6")),
    ("f6", 6, 3, WINOGRAD_F6_ERROR, ("b1t4", "b3t8", "b3t16", "b4t6", "full")),
    ("f2k5", 2, 5, WINOGRAD_F4_ERROR, ("b1t4", "b3t8")),
    ("f4k5", 4, 5, WINOGRAD_F6_ERROR, ("b1t4", "b3t8", "b3t16", "b4t6")),
)
# Blockings offered in other layouts than hwc and chw16c: for networks that stay in them.
_PLANAR = {"f2": ("b3t8", "full"), "f4": ("b3t8", "full"), "f6": ("b3t8", "full"), "f4k5": ("b3t8",)}
_EIGHTS = {"f4": ("b3t8",)}


def _layouts(form: str, blocking: str) -> tuple[Layout, ...]:
    planar = (CHW,) if blocking in _PLANAR.get(form, ()) else ()
    return (HWC, CHW16C, *planar, *((CHW8C,) if blocking in _EIGHTS.get(form, ()) else ()))


def _square(name: str, m: int, r: int, allowed: float, blockings: tuple[str, ...]) -> Form:
    planes = (m + r - 1) ** 2

    def transform(filters: Float64Array) -> Float64Array:
        G = filter_transform(m, r)
        return transformed(filters, G, G).reshape(-1, len(filters))

    return Form(
        name,
        kernels=((r, r),),
        stride=1,
        planes=planes,
        products=planes,
        tiles=square_tiles(m),
        transform=transform,
        row_grain=m,
        max_rel_err=allowed,
        blockings=blockings,
        own_headers=("ts_wino_output", "ts_winograd"),
    )


PRIMITIVES = tuple(
    primitive for form in _FORMS for primitive in _square(*form).primitives(functools.partial(_layouts, form[0]))
)
