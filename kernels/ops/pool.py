"""Maximum and mean over windows, global pooling included, in every layout."""

from kernels.spec import DIRECT_ERROR, EXACT, Layout, Primitive

PRIMITIVES = tuple(
    Primitive(
        op,
        "window",
        layout,
        layout,
        "ops/pool.c",
        cite="ONNX operators MaxPool-12, AveragePool-19",
        max_rel_err=error,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_vec.h"),
    )
    for op, error in (("max_pool", EXACT), ("avg_pool", DIRECT_ERROR))
    for layout in Layout
)
