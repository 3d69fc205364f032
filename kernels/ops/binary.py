"""Element-by-element operators of two activations, or of one and constants packed into its layout."""

from kernels.spec import AS_IS, Array, Layout, Packing, Primitive, Shape


def _in_layout(layout: Layout) -> Packing:
    """Constants [c][h][w] stored like the activation they meet."""

    def elems(s: Shape) -> int:
        return layout.elems(s.c, s.h, s.w)

    def pack(s: Shape, weights: Array) -> Array:
        return layout.store(weights.reshape(s.c, s.h, s.w))

    return Packing(elems, pack)


PRIMITIVES = tuple(
    Primitive(
        op,
        "elementwise",
        layout,
        layout,
        "ops/binary.c",
        cite="ONNX operators Add-14, Sub-14, Mul-14, Div-14",
        packing=_in_layout(layout) if op.startswith("const_") else AS_IS,
        in_place=True,
        pitched=True,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_runs.h", "include/ts_vec.h"),
    )
    for op in ("add", "sub", "mul", "div", "const_add", "const_mul")
    for layout in Layout
)
