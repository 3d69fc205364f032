"""Winograd convolution of stride 2: even and odd rows and columns as four convolutions of stride 1 with one output."""

from __future__ import annotations

import numpy as np

from kernels.conv.winograd_form import CITE, Float64Array, Form, filter_transform, square_tiles, transformed
from kernels.spec import WINOGRAD_F4_ERROR, Layout

M = 4  # M x M outputs per tile


def _phases(i: int, j: int, finite: int) -> list[tuple[int, int]]:
    """(odd row, odd column) phases with a product at points (i, j): the shorter filter has none at infinity."""
    return [(p, q) for p in (0, 1) for q in (0, 1) if (i < finite or not p) and (j < finite or not q)]


def _phase(name: str, kernel: int) -> Form:
    r = (kernel + 1) // 2  # of K x K taps the even rows of the image see r, the odd ones r - 1
    a = M + r - 1

    def transform(filters: Float64Array) -> Float64Array:
        G = filter_transform(M, r)
        at = {
            (p, q): transformed(filters[:, :, p::2, q::2], G[:, : r - p], G[:, : r - q]) for p in (0, 1) for q in (0, 1)
        }
        rows = [at[phase][i, j] for i in range(a) for j in range(a) for phase in _phases(i, j, a - 1)]
        return np.concatenate(rows)

    return Form(
        name,
        kernels=((kernel, kernel),),
        stride=2,
        planes=a * a,
        products=(2 * (a - 1) + 1) ** 2,
        tiles=square_tiles(M),
        transform=transform,
        row_grain=M,
        max_rel_err=WINOGRAD_F4_ERROR,
        blockings=("b1t4", "b3t8"),
        own_headers=("ts_wino_output", "ts_wino_phase"),
        cite=f"{CITE}; phases: docs/decisions/012-winograd-stride-2.md",
    )


PRIMITIVES = tuple(
    primitive
    for form in (_phase("f4s2", 3), _phase("f4s2k5", 5))
    for primitive in form.primitives(lambda _blocking: (Layout.HWC, Layout.CHW16C))
)
