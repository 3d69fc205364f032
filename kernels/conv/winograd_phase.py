"""Winograd convolution of stride 2: even and odd rows and columns as four convolutions of stride 1 with one output."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.conv.winograd import (
    BLOCKINGS,
    CHW16C,
    CITE,
    HWC,
    block_workspace,
    filter_transform,
    headers,
    held_text,
    panel_packing,
    refuses_blocks,
    refuses_groups,
    tiles_of,
)
from kernels.spec import WINOGRAD_F4_ERROR, Layout, Primitive, Shape

M = 4  # M x M outputs per tile

# (name, kernel): of K x K taps the even rows of the image see r = (K + 1) / 2, the odd ones r - 1
_FORMS = (("f4s2", 3), ("f4s2k5", 5))
_BLOCKINGS = ("b1t4", "b3t8")


def _phases(i: int, j: int, finite: int) -> list[tuple[int, int]]:
    """(odd row, odd column) phases with a product at points (i, j): the shorter filter has none at infinity."""
    return [(p, q) for p in (0, 1) for q in (0, 1) if (i < finite or not p) and (j < finite or not q)]


def _phase(form: str, kernel: int, blocking: str, layout: Layout) -> Primitive:
    most, widest = BLOCKINGS[blocking]
    r = (kernel + 1) // 2
    a = M + r - 1
    products = (2 * (a - 1) + 1) ** 2

    def transform(filters: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        G = filter_transform(M, r)
        at = {
            (p, q): np.einsum(
                "ai,mcij,bj->abcm", G[:, : r - p], filters[:, :, p::2, q::2], G[:, : r - q], optimize=True
            )
            for p in (0, 1)
            for q in (0, 1)
        }
        rows = [at[phase][i, j] for i in range(a) for j in range(a) for phase in _phases(i, j, a - 1)]
        return np.concatenate(rows)

    def depths(s: Shape) -> int:
        return products * (s.c // s.group)

    def refuses(s: Shape) -> str | None:
        if (s.kh, s.kw) != (kernel, kernel):
            return f"kernel {s.kh}x{s.kw}; needs {kernel}x{kernel}"
        if (s.stride_h, s.stride_w, s.dilation_h, s.dilation_w) != (2, 2, 1, 1):
            return "needs stride 2 and dilation 1"
        return refuses_groups(s, layout)

    refuses.__doc__ = f"{kernel}x{kernel} kernels of stride 2, dilation 1."
    workspace = block_workspace(lambda s: tiles_of(s, M), depths, a * a, most, widest)
    workspace.__doc__ = (
        f"{held_text(most)}*({products}*c/group + {a * a}*16*blocks of the widest panel) + {16 * (2 * a * a - 1)}"
    )
    return Primitive(
        "conv",
        "winograd",
        layout,
        layout,
        f"conv/winograd_{form}_b{widest}.c",
        cite=f"{CITE}; phases: docs/decisions/012-winograd-stride-2.md",
        variant=f"{form}_{blocking}",
        refuses=refuses,
        redundant=lambda s: refuses_blocks(tiles_of(s, M), blocking, _BLOCKINGS),
        workspace_elems=workspace,
        packing=panel_packing(depths, transform, widest),
        max_rel_err=WINOGRAD_F4_ERROR,
        row_grain=M,
        residual=True,
        pitched=True,
        headers=headers("ts_wino_output", "ts_wino_phase"),
    )


PRIMITIVES = tuple(
    _phase(*form, blocking, layout) for form in _FORMS for blocking in _BLOCKINGS for layout in (HWC, CHW16C)
)
