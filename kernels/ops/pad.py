"""Constant padding of any axis in every layout."""

from collections.abc import Callable

from kernels.spec import EXACT, Layout, Primitive, Shape


def _refuses(layout: Layout) -> Callable[[Shape], str | None]:
    def reason(s: Shape) -> str | None:
        """No negative padding; in blocked layouts, leading channels in whole blocks."""
        outside = zip(s.output_dims, s.start, (s.c, s.h, s.w), strict=True)
        after = tuple(out - first - extent for out, first, extent in outside)
        if min(*s.start, *after) < 0:
            return f"negative padding (before {s.start}, after {after}) is a slice"
        if s.start[0] % layout.block:
            return f"{s.start[0]} channels before the first end inside a block of {layout.block}"
        return None

    return reason


PRIMITIVES = tuple(
    Primitive(
        "pad",
        "constant",
        layout,
        layout,
        "ops/pad.c",
        cite="ONNX Pad-13, mode constant",
        refuses=_refuses(layout),
        max_rel_err=EXACT,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_vec.h"),
    )
    for layout in Layout
)
