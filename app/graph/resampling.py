"""ONNX Resize and Upsample in nearest mode as lists of source indices, computed as the standard writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from app.graph.builder import Builder, Unsupported
from app.graph.importers import Call, axis_in

_COORDINATES: dict[str, Callable[[int, float, int, int], float]] = {
    # (output index, scale, input extent, output extent) -> input coordinate; ONNX Resize-19
    "asymmetric": lambda i, scale, _n, _m: i / scale,
    "half_pixel": lambda i, scale, _n, _m: (i + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda i, scale, _n, m: (i + 0.5) / scale - 0.5 if m > 1 else 0.0,
    "align_corners": lambda i, _s, n, m: i * (n - 1) / (m - 1) if m > 1 else 0.0,
    "half_pixel_symmetric": lambda i, scale, n, m: n / 2 * (1 - m / (scale * n)) + (i + 0.5) / scale - 0.5,
}
_ROUNDINGS: dict[str, Callable[[float], int]] = {
    "round_prefer_floor": lambda x: math.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


def nearest_indices(call: Call, b: Builder, dims: Sequence[int]) -> list[list[int]]:
    """For each axis of `dims`, the source index of every output index."""
    if call.attribute("mode", "nearest") != "nearest":
        raise Unsupported(f"mode {call.attribute('mode')}; only nearest is supported")
    upsample = call.node.op_type == "Upsample" or call.opset == 10
    # Upsample and Resize-10 have no modes: onnxruntime and the models of their time use these two.
    transform = "asymmetric" if upsample else call.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if upsample else call.attribute("nearest_mode", "round_prefer_floor")
    if transform not in _COORDINATES or rounding not in _ROUNDINGS:
        raise Unsupported(f"coordinate_transformation_mode {transform} with nearest_mode {rounding}")
    scales, extents = _targets(call, dims)
    b.refuse_large(extents)
    found = []
    for n, m, scale in zip(dims, extents, scales, strict=True):
        coordinates = (_COORDINATES[transform](i, scale, n, m) for i in range(m))
        found.append([min(max(_ROUNDINGS[rounding](x), 0), n - 1) for x in coordinates])
    return found


def _targets(call: Call, dims: Sequence[int]) -> tuple[list[float], list[int]]:
    """Scale and output extent of every axis."""
    at = 1 if call.node.op_type == "Upsample" or call.opset == 10 else 2
    listed = call.constant(at, "scales")
    given = listed.reshape(-1).tolist() if listed is not None and listed.size else call.attribute("scales")
    sizes = call.integers(3, "sizes", "sizes") if at == 2 else None
    axes = [axis_in(int(axis), len(dims)) for axis in call.attribute("axes", range(len(dims)))]
    scales, extents = [1.0] * len(dims), list(dims)
    if sizes:
        if len(sizes) != len(axes) or min(sizes) < 1:
            raise Unsupported(f"sizes {sizes} do not fit {list(dims)}")
        if call.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise Unsupported(f"keep_aspect_ratio_policy {call.attribute('keep_aspect_ratio_policy')}")
        for axis, m in zip(axes, sizes, strict=True):
            scales[axis], extents[axis] = m / dims[axis], m
    elif given:
        if len(given) != len(axes) or not all(0 < scale < 1e6 for scale in given):
            raise Unsupported(f"scales {list(given)} do not fit {list(dims)}")
        for axis, scale in zip(axes, given, strict=True):
            scales[axis], extents[axis] = float(scale), math.floor(dims[axis] * float(scale))
        if min(extents) < 1:
            raise Unsupported(f"scales {list(given)} leave nothing of {list(dims)}")
    else:
        raise Unsupported("neither scales nor sizes are constant")
    return scales, extents
