"""Element-by-element operators that call the C mathematics library, in every layout and in place."""

from kernels.spec import Layout, Primitive

PRIMITIVES = tuple(
    Primitive(
        op,
        "elementwise",
        layout,
        layout,
        "ops/transcendental.c",
        cite="ONNX operators Log-13, Sqrt-13",
        in_place=True,
        pitched=True,
        needs_libm=True,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_runs.h", "include/ts_vec.h"),
    )
    for op in ("log", "sqrt")
    for layout in Layout
)
