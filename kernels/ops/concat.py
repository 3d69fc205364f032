"""Concatenation along any axis: one contiguous copy per input and outer index."""

from collections.abc import Callable

from kernels.spec import EXACT, Layout, Primitive, Shape


def _refuses(layout: Layout) -> Callable[[Shape], str | None]:
    def reason(s: Shape) -> str | None:
        """In blocked layouts along c, every part but the last is whole blocks."""
        ragged = [part for part in s.parts[:-1] if part % layout.block]
        if s.axis == 0 and ragged:
            return f"a part of {ragged[0]} channels ends inside a block of {layout.block}"
        return None

    return reason


PRIMITIVES = tuple(
    Primitive(
        "concat",
        "copy",
        layout,
        layout,
        "ops/concat.c",
        cite="ONNX Concat-13",
        refuses=_refuses(layout),
        max_rel_err=EXACT,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_vec.h"),
    )
    for layout in Layout
)
