"""Operators with a parameter or two per channel: scale (a batch normalisation that folds nowhere) and PRelu."""

import numpy as np

from kernels.spec import BIAS_AS_IS, Array, Layout, Packing, Primitive, Shape


def _whole_blocks(layout: Layout) -> Packing:
    """[c] padded with zeros to whole blocks, so that every lane of a block has its parameter."""

    def elems(s: Shape) -> int:
        return layout.elems(s.c, 1, 1)

    def pack(s: Shape, values: Array) -> Array:
        return layout.store(np.ascontiguousarray(values, np.float32).reshape(s.c, 1, 1))

    return Packing(elems, pack)


PRIMITIVES = tuple(
    Primitive(
        op,
        "channelwise",
        layout,
        layout,
        "ops/channelwise.c",
        cite="ONNX operators BatchNormalization-15 (inference), PRelu-16",
        packing=_whole_blocks(layout),
        bias_packing=_whole_blocks(layout) if op == "scale" else BIAS_AS_IS,
        in_place=True,
        pitched=True,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_runs.h", "include/ts_vec.h"),
    )
    for op in ("scale", "prelu")
    for layout in Layout
)
