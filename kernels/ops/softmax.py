"""Softmax along any axis, numerically stable, in every layout."""

from kernels.spec import Layout, Primitive

PRIMITIVES = tuple(
    Primitive(
        "softmax",
        "stable",
        layout,
        layout,
        "ops/softmax.c",
        cite="Goodfellow, Bengio, Courville 2016, sec. 4.1; ONNX Softmax-13",
        in_place=True,
        needs_libm=True,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_vec.h"),
    )
    for layout in Layout
)
