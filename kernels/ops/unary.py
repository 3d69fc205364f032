"""Element-by-element operators of plain arithmetic, in every layout and in place."""

from kernels.spec import DIRECT_ERROR, EXACT, Layout, Primitive

HEADERS = ("include/ts.h", "include/ts_blocks.h", "include/ts_runs.h", "include/ts_vec.h")
# Comparisons and sign changes do not round; the others do, once or twice.
_ERRORS = {
    "clamp": EXACT,
    "neg": EXACT,
    "abs": EXACT,
    "leaky_relu": DIRECT_ERROR,
    "hard_sigmoid": DIRECT_ERROR,
    "hard_swish": DIRECT_ERROR,
}

PRIMITIVES = tuple(
    Primitive(
        op,
        "elementwise",
        layout,
        layout,
        "ops/unary.c",
        cite="ONNX operators Clip-13, Neg-13, Abs-13, LeakyRelu-16, HardSigmoid-6, HardSwish-14",
        max_rel_err=error,
        in_place=True,
        pitched=True,
        headers=HEADERS,
    )
    for op, error in _ERRORS.items()
    for layout in Layout
)
