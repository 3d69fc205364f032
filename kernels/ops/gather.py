"""Slice and permute in every layout; blocked layouts where no channel changes its lane."""

from collections.abc import Callable

from kernels.spec import EXACT, Layout, Primitive, Shape


def _refuses_slice(layout: Layout) -> Callable[[Shape], str | None]:
    def reason(s: Shape) -> str | None:
        """In blocked layouts, channel step 1 from a block boundary."""
        if layout.block > 1 and s.step[0] != 1:
            return f"channel step {s.step[0]}; blocks need 1"
        if s.start[0] % layout.block:
            return f"first channel {s.start[0]} is inside a block of {layout.block}"
        return None

    return reason


def _refuses_permute(layout: Layout) -> Callable[[Shape], str | None]:
    def reason(s: Shape) -> str | None:
        """In blocked layouts, the channel axis stays."""
        if layout.block > 1 and s.perm[0] != 0:
            return f"moves the channel axis, which is split in blocks of {layout.block}"
        return None

    return reason


PRIMITIVES = tuple(
    Primitive(
        op,
        "copy",
        layout,
        layout,
        "ops/gather.c",
        cite="ONNX operators Slice-13, Transpose-13",
        refuses=refuses(layout),
        max_rel_err=EXACT,
        pitched=True,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_transpose.h", "include/ts_vec.h"),
    )
    for op, refuses in (("slice", _refuses_slice), ("permute", _refuses_permute))
    for layout in Layout
)
