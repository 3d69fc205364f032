"""Arithmetic on values known at import: shapes, indices, weights put together by the graph itself.

One table, ONNX operator -> numpy, covering what exporters write around weights and shapes. Anything that could make a
large array out of a small one is checked before it is made.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from app.graph.builder import Unsupported
from app.graph.import_movement import reshaped_dims
from app.graph.importers import Call, axis_in
from app.graph.ir import Tensor
from app.graph.onnx_model import AnyArray, ImportLimits, decode

Folder = Callable[[Call, ImportLimits], Any]

FOLDERS: dict[str, Folder] = {}


def folder(*op_types: str) -> Callable[[Folder], Folder]:
    """Register the decorated function for ONNX operators; it returns one array or a list of them."""

    def register(function: Folder) -> Folder:
        FOLDERS.update(dict.fromkeys(op_types, function))
        return function

    return register


def fold(call: Call, limits: ImportLimits) -> list[AnyArray] | None:
    """The node's outputs if they are known at import, else None. Raises Unsupported where numpy refuses the values."""
    op_type = call.node.op_type
    if op_type not in FOLDERS:
        return None
    known = not any(isinstance(value, Tensor) for value in call.inputs)
    if not known and op_type not in ("Shape", "Size"):
        return None
    shapes = [value.shape for value in call.inputs if isinstance(value, np.ndarray)]
    try:
        if op_type in _BROADCASTING:
            limits.tensor(call.label, np.broadcast_shapes(*shapes))
        with np.errstate(all="ignore"):
            found = FOLDERS[op_type](call, limits)
    except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise Unsupported(f"cannot be computed from its constants: {error}") from None
    return [np.asarray(value) for value in (found if isinstance(found, list) else [found])]


def _needed(call: Call, i: int) -> AnyArray:
    value = call.constant(i, f"input {i}")
    if value is None:
        raise Unsupported(f"input {i} is missing")
    return value


def _all(call: Call) -> list[AnyArray]:
    return [_needed(call, i) for i in range(len(call.inputs))]


def _divide(a: AnyArray, b: AnyArray) -> AnyArray:
    if not np.issubdtype(a.dtype, np.integer):
        return np.asarray(a / b)
    if not np.all(b):
        raise ZeroDivisionError("integer division by zero")
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)), a.dtype)  # ONNX truncates


_BINARY: dict[str, Callable[[AnyArray, AnyArray], AnyArray]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Pow": lambda a, b: np.power(a, b).astype(a.dtype),
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
}
_UNARY: dict[str, Callable[[AnyArray], AnyArray]] = {
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Exp": np.exp,
    "Log": np.log,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Not": np.logical_not,
    "Reciprocal": lambda a: np.asarray(1 / a, a.dtype),
    "Identity": lambda a: a,
    "Relu": lambda a: np.maximum(a, a.dtype.type(0)),
}
_NARY = {"Sum": np.add, "Min": np.minimum, "Max": np.maximum}
_BROADCASTING = {*_BINARY, *_NARY, "Where"}


@folder(*_BINARY)
def _binary(call: Call, _limits: ImportLimits) -> AnyArray:
    return _BINARY[call.node.op_type](_needed(call, 0), _needed(call, 1))


@folder(*_UNARY)
def _unary(call: Call, _limits: ImportLimits) -> AnyArray:
    return _UNARY[call.node.op_type](_needed(call, 0))


@folder(*_NARY)
def _nary(call: Call, _limits: ImportLimits) -> AnyArray:
    return functools.reduce(_NARY[call.node.op_type], _all(call))


@folder("Where")
def _where(call: Call, _limits: ImportLimits) -> AnyArray:
    return np.where(_needed(call, 0), _needed(call, 1), _needed(call, 2))


@folder("Shape")
def _shape(call: Call, _limits: ImportLimits) -> AnyArray:
    value = call.input(0)
    if value is None:
        raise Unsupported("input 0 is missing")
    dims = value.dims if isinstance(value, Tensor) else value.shape
    return np.array(dims[call.attribute("start", 0) : call.attribute("end")], np.int64)


@folder("Size")
def _size(call: Call, _limits: ImportLimits) -> AnyArray:
    value = call.input(0)
    if value is None:
        raise Unsupported("input 0 is missing")
    return np.array(value.elems if isinstance(value, Tensor) else value.size, np.int64)


@folder("Constant")
def _constant(call: Call, _limits: ImportLimits) -> AnyArray:
    for name, value in call.node.attributes.items():
        if name == "value":
            return decode(value)
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
    raise Unsupported("only tensors and numbers are supported as constants")


@folder("ConstantOfShape")
def _constant_of_shape(call: Call, limits: ImportLimits) -> AnyArray:
    dims = tuple(int(n) for n in _needed(call, 0).reshape(-1))
    if min(dims, default=0) < 0:
        raise Unsupported(f"shape {list(dims)}")
    limits.tensor(call.label, dims)
    value = call.attribute("value")
    fill = np.zeros(1, np.float32) if value is None else decode(value)
    return np.full(dims, fill.reshape(-1)[0], fill.dtype)


@folder("Cast")
def _cast(call: Call, _limits: ImportLimits) -> AnyArray:
    return _needed(call, 0).astype(onnx.helper.tensor_dtype_to_np_dtype(int(call.attribute("to", 1))))


@folder("CastLike")
def _cast_like(call: Call, _limits: ImportLimits) -> AnyArray:
    return _needed(call, 0).astype(_needed(call, 1).dtype)


@folder("Gather")
def _gather(call: Call, limits: ImportLimits) -> AnyArray:
    data, indices = _needed(call, 0), _needed(call, 1)
    axis = axis_in(int(call.attribute("axis", 0)), data.ndim)
    limits.tensor(call.label, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))
    return np.take(data, indices, axis)


@folder("Concat")
def _concat(call: Call, limits: ImportLimits) -> AnyArray:
    parts = _all(call)
    limits.tensor(call.label, (sum(part.size for part in parts),))
    return np.concatenate(parts, int(call.attribute("axis", 1)))


@folder("Reshape")
def _reshape(call: Call, _limits: ImportLimits) -> AnyArray:
    data, wanted = _needed(call, 0), call.integers(1, "shape", "shape") or []
    return data.reshape(reshaped_dims(data.shape, wanted, allow_zero=bool(call.attribute("allowzero", 0))))


@folder("Flatten")
def _flatten(call: Call, _limits: ImportLimits) -> AnyArray:
    data = _needed(call, 0)
    axis = int(call.attribute("axis", 1))
    axis += data.ndim if axis < 0 else 0
    return data.reshape(math.prod(data.shape[:axis]), -1)


@folder("Squeeze")
def _squeeze(call: Call, _limits: ImportLimits) -> AnyArray:
    axes = call.integers(1, "axes", "axes")
    return np.squeeze(_needed(call, 0), None if axes is None else tuple(axes))


@folder("Unsqueeze")
def _unsqueeze(call: Call, limits: ImportLimits) -> AnyArray:
    data, axes = _needed(call, 0), call.integers(1, "axes", "axes") or []
    limits.tensor(call.label, (*data.shape, *(1 for _ in axes)))
    return np.expand_dims(data, tuple(axes))


@folder("Transpose")
def _transpose(call: Call, _limits: ImportLimits) -> AnyArray:
    return np.transpose(_needed(call, 0), call.attribute("perm"))


@folder("Slice")
def _slice(call: Call, _limits: ImportLimits) -> AnyArray:
    data = _needed(call, 0)
    starts, ends = call.integers(1, "starts", "starts") or [], call.integers(2, "ends", "ends") or []
    axes = call.integers(3, "axes", "axes") or list(range(len(starts)))
    steps = call.integers(4, "steps", "steps") or [1] * len(starts)
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = slice(start, end, step)
    return data[tuple(index)]


@folder("Split")
def _split(call: Call, _limits: ImportLimits) -> list[AnyArray]:
    data, axis = _needed(call, 0), int(call.attribute("axis", 0))
    sizes = call.integers(1, "split", "split")
    if sizes is None:
        chunk = -(-data.shape[axis] // len(call.node.outputs))
        sizes = [chunk] * len(call.node.outputs)
    return list(np.split(data, np.cumsum(sizes)[:-1], axis))


@folder("Expand")
def _expand(call: Call, limits: ImportLimits) -> AnyArray:
    data, wanted = _needed(call, 0), tuple(call.integers(1, "shape", "shape") or ())
    dims = np.broadcast_shapes(data.shape, wanted)
    limits.tensor(call.label, dims)
    return np.ascontiguousarray(np.broadcast_to(data, dims))


@folder("Tile")
def _tile(call: Call, limits: ImportLimits) -> AnyArray:
    data, repeats = _needed(call, 0), call.integers(1, "repeats", "repeats") or []
    limits.tensor(call.label, tuple(n * times for n, times in zip(data.shape, repeats, strict=True)))
    return np.tile(data, repeats)


@folder("Range")
def _range(call: Call, limits: ImportLimits) -> AnyArray:
    start, limit, delta = (_needed(call, i).reshape(-1)[0] for i in range(3))
    if delta == 0 or not all(math.isfinite(v) for v in (start, limit, delta)):
        raise Unsupported(f"Range from {start} to {limit} by {delta}")
    limits.tensor(call.label, (max(0, math.ceil((float(limit) - float(start)) / float(delta))),))
    return np.arange(start, limit, delta, dtype=start.dtype)


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceMean": np.mean,
}


@folder(*_REDUCTIONS)
def _reduce(call: Call, _limits: ImportLimits) -> AnyArray:
    data = _needed(call, 0)
    axes: Sequence[int] | None = call.integers(1, "axes", "axes")
    if not axes and call.attribute("noop_with_empty_axes", 0):
        return data
    reduced = _REDUCTIONS[call.node.op_type](
        data, axis=tuple(axes) if axes else None, keepdims=bool(call.attribute("keepdims", 1))
    )
    return np.asarray(reduced, data.dtype)
