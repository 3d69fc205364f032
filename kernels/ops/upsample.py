"""Nearest-neighbour enlargement by whole factors, in every layout."""

from kernels.spec import EXACT, Layout, Primitive, Shape


def refuses(s: Shape) -> str | None:
    """Only whole factors repeat pixels."""
    if s.oh % s.h or s.ow % s.w:
        return f"{s.h}x{s.w} to {s.oh}x{s.ow} is not a whole factor"
    return None


PRIMITIVES = tuple(
    Primitive(
        "upsample",
        "nearest",
        layout,
        layout,
        "ops/upsample.c",
        cite="ONNX Upsample-9 and Resize-13, mode nearest, integer scales",
        refuses=refuses,
        max_rel_err=EXACT,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_vec.h"),
    )
    for layout in Layout
)
