"""Element-by-element operators made of exponentials, vectorised without libm, in every layout and in place."""

from kernels.spec import Layout, Primitive

PRIMITIVES = tuple(
    Primitive(
        op,
        "elementwise",
        layout,
        layout,
        "ops/exponential.c",
        cite="Moshier, Cephes Mathematical Library 1989, expf and tanhf; ONNX Exp-13, Sigmoid-13, Tanh-13, Elu-6",
        in_place=True,
        pitched=True,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_exp.h", "include/ts_runs.h", "include/ts_vec.h"),
    )
    for op in ("exp", "sigmoid", "tanh", "elu")
    for layout in Layout
)
