"""One-dimensional Winograd convolution of 1 x r and r x 1 kernels, as of factorised networks."""

from __future__ import annotations

import numpy as np

from kernels.conv.winograd_form import Float64Array, Form, filter_transform, transformed
from kernels.spec import WINOGRAD_F4_ERROR, Layout, Shape


def _line(name: str, m: int, r: int) -> Form:
    """m outputs of a row or column per tile, r taps."""

    def tiles(s: Shape) -> int:
        return -(-s.oh // m) * s.ow if s.kh > 1 else s.oh * -(-s.ow // m)

    def transform(filters: Float64Array) -> Float64Array:
        G, same = filter_transform(m, r), np.ones((1, 1))
        tall = filters.shape[2] > 1
        return transformed(filters, G if tall else same, same if tall else G).reshape(-1, len(filters))

    return Form(
        name,
        kernels=((1, r), (r, 1)),
        stride=1,
        planes=m + r - 1,
        products=m + r - 1,
        tiles=tiles,
        transform=transform,
        row_grain=m,
        max_rel_err=WINOGRAD_F4_ERROR,
        blockings=("b4t6",),
        own_headers=("ts_wino_line",),
    )


PRIMITIVES = tuple(
    primitive
    for form in (_line("l4", 4, 3), _line("l2k7", 2, 7))
    for primitive in form.primitives(lambda _blocking: (Layout.HWC, Layout.CHW16C))
)
