"""Conversions between every ordered pair of layouts: transposed squares in registers, or copied channel runs.

From hwc to hwc only the pitch changes: a run of the channels of a larger tensor becomes a tensor of its own.
"""

from itertools import permutations

from kernels.spec import EXACT, Layout, Primitive

PRIMITIVES = tuple(
    Primitive(
        "convert",
        "copy",
        in_layout,
        out_layout,
        "convert/convert.c",
        cite="Stone 1971, perfect shuffle (transposition); Anderson & Gregg 2018, sec. 3 (conversions on edges)",
        max_rel_err=EXACT,
        pitched=True,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_transpose.h", "include/ts_vec.h"),
    )
    for in_layout, out_layout in (*permutations(Layout, 2), (Layout.HWC, Layout.HWC))
)
