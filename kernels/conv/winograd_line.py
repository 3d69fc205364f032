"""One-dimensional Winograd convolution of 1 x r and r x 1 kernels, as of factorised networks."""

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
)
from kernels.spec import WINOGRAD_F4_ERROR, Layout, Primitive, Shape

# (name, m, r): m outputs of a row or column per tile, r taps
_FORMS = (("l4", 4, 3), ("l2k7", 2, 7))
_BLOCKINGS = ("b4t6",)


def _tiles(s: Shape, m: int) -> int:
    """Tiles of m outputs along the kernel that cover the output."""
    return -(-s.oh // m) * s.ow if s.kh > 1 else s.oh * -(-s.ow // m)


def _line(form: str, m: int, r: int, blocking: str, layout: Layout) -> Primitive:
    most, widest = BLOCKINGS[blocking]
    planes = m + r - 1

    def transform(filters: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        mg, cg = filters.shape[:2]
        rows: npt.NDArray[np.float64] = np.einsum("ai,mci->acm", filter_transform(m, r), filters.reshape(mg, cg, r))
        return rows.reshape(-1, mg)

    def depths(s: Shape) -> int:
        return planes * (s.c // s.group)

    def refuses(s: Shape) -> str | None:
        if (s.kh, s.kw) not in ((1, r), (r, 1)):
            return f"kernel {s.kh}x{s.kw}; needs 1x{r} or {r}x1"
        if (s.stride_h, s.stride_w, s.dilation_h, s.dilation_w) != (1, 1, 1, 1):
            return "strided or dilated; needs stride 1 and dilation 1"
        return refuses_groups(s, layout)

    refuses.__doc__ = f"1x{r} and {r}x1 kernels of stride 1, dilation 1."
    workspace = block_workspace(lambda s: _tiles(s, m), depths, planes, most, widest)
    workspace.__doc__ = f"{planes}*({held_text(most)}*(c/group + 16*blocks of the widest panel) + 32) - 16"
    return Primitive(
        "conv",
        "winograd",
        layout,
        layout,
        f"conv/winograd_{form}_b{widest}.c",
        cite=CITE,
        variant=f"{form}_{blocking}",
        refuses=refuses,
        redundant=lambda s: refuses_blocks(_tiles(s, m), blocking, _BLOCKINGS),
        workspace_elems=workspace,
        packing=panel_packing(depths, transform, widest),
        max_rel_err=WINOGRAD_F4_ERROR,
        row_grain=m,
        residual=True,
        pitched=True,
        headers=headers("ts_wino_line"),
    )


PRIMITIVES = tuple(
    _line(*form, blocking, layout) for form in _FORMS for blocking in _BLOCKINGS for layout in (HWC, CHW16C)
)
