"""Grows a graph operator by operator. Importers speak to it in ONNX dims; it finds (c, h, w), views and permutes.

It emits one node for every data movement asked for, needed or not; the passes drop what does nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.graph import views
from app.graph.ir import VIEW, Constant, Graph, Node, Tensor, chw_axes
from app.graph.onnx_model import ImportLimits
from kernels.spec import Attrs, Layout, Shape


class Unsupported(Exception):
    """Why a node cannot be imported, in words for the user."""


class NonFinite(Exception):
    """A constant that becomes a weight holds NaN or infinities; the argument names it."""


class Builder:
    """A graph under construction; every method that returns a Tensor has appended the nodes that compute it."""

    def __init__(self, limits: ImportLimits, reserved_names: Iterable[str]):
        self._limits = limits
        self._taken = set(reserved_names)  # names of the file: only `rename` may use them
        self._node_names: set[str] = set()
        self._source = ""
        self._tensors: dict[str, Tensor] = {}
        self._nodes: list[Node] = []
        self._constants: dict[str, Constant] = {}
        self._inputs: list[str] = []

    def add_input(self, name: str, dims: Sequence[int]) -> Tensor:
        """A graph input."""
        tensor = Tensor.of(name, dims)
        self._tensors[name] = tensor
        self._inputs.append(name)
        return tensor

    def begin(self, source: str) -> None:
        """Nodes from now on stand for the ONNX node called `source`."""
        self._source = source

    def graph(self, name: str, outputs: Sequence[str]) -> Graph:
        """What was built."""
        return Graph(name, tuple(self._inputs), tuple(outputs), self._tensors, tuple(self._nodes), self._constants)

    def rename(self, tensor: Tensor, name: str) -> Tensor:
        """Give the output of the newest node that wrote `tensor` its name in the file."""
        renamed = Tensor(name, tensor.dims, *tensor.chw)
        position = next(i for i in reversed(range(len(self._nodes))) if self._nodes[i].output == tensor.name)
        for i in range(position, len(self._nodes)):
            self._nodes[i] = _renamed(self._nodes[i], tensor.name, name)
        del self._tensors[tensor.name]
        self._tensors[name] = renamed
        return renamed

    def is_named(self, tensor: Tensor) -> bool:
        """Whether the tensor already carries a name of the file."""
        return tensor.name in self._taken

    def constant(self, hint: str, values: npt.NDArray[Any]) -> str:
        """The name under which `values` (cast to float32) are now a constant; equal ones are kept once."""
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(values, np.float32)
        if not np.isfinite(array).all():
            raise NonFinite(hint)
        name, n = hint, 1
        while name in self._constants:
            if np.array_equal(self._constants[name], array):
                return name
            n += 1
            name = f"{hint}#{n}"
        self._constants[name] = array
        return name

    def emit(
        self,
        op: str,
        inputs: Sequence[Tensor],
        dims: Sequence[int],
        *,
        attrs: Attrs | None = None,
        weights: str | None = None,
        bias: str | None = None,
        **fields: Any,
    ) -> Tensor:
        """Append operator `op` writing a tensor of ONNX `dims`; `fields` are the rest of its Shape."""
        output = self._new_tensor(dims)
        shape = Shape(op, *inputs[0].chw, *output.chw, **fields)
        names = tuple(tensor.name for tensor in inputs)
        self._append(op, names, output, shape=shape, attrs=attrs or Attrs(), weights=weights, bias=bias)
        return output

    def view(self, x: Tensor, dims: Sequence[int], pair: views.Pair = (Layout.CHW, Layout.CHW)) -> Tensor:
        """`x` in layout pair[0] read as a tensor of ONNX `dims` in layout pair[1]."""
        output = self._new_tensor(dims)
        self._append(VIEW, (x.name,), output, shape=None, view_in=pair[0], view_out=pair[1])
        return output

    def reshape(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """Row-major reinterpretation."""
        if math.prod(dims) != x.elems:
            raise Unsupported(f"cannot reshape {list(x.dims)} to {list(dims)}")
        return x if tuple(dims) == x.dims else self.view(x, dims)

    def transpose(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        """ONNX Transpose: a view where it equals a change of layout, else permutes."""
        pair = views.transpose_pair(x.dims, perm)
        dims = tuple(x.dims[axis] for axis in perm)
        if pair is not None:
            return self.view(x, dims, pair)
        groups = _groups(x.dims, perm)
        order = sorted(groups)
        extents = [math.prod(x.dims[axis] for axis in group) for group in order]
        y = x
        # Bring one group after the other to its place; each move is at most two three-axis permutes.
        for place, group in enumerate(groups):
            at = order.index(group)
            if at == place:
                continue
            if len(order) == 3:
                y = self._permute(y, extents, [order.index(g) for g in groups])
                break
            before, skipped = math.prod(extents[:place]), math.prod(extents[place:at])
            moved, after = extents[at], math.prod(extents[at + 1 :])
            if before == 1:
                y = self._permute(y, (skipped, moved, after), (1, 0, 2))
            else:
                y = self._permute(y, (before * skipped, moved, after), (1, 0, 2))
                y = self._permute(y, (moved, before, skipped * after), (1, 0, 2))
            order.insert(place, order.pop(at))
            extents.insert(place, extents.pop(at))
        return self.reshape(y, dims)

    def _permute(self, x: Tensor, extents: Sequence[int], perm: Sequence[int]) -> Tensor:
        x = self.reshape(x, (1, *extents))
        dims = (1, *(extents[axis] for axis in perm))
        pair = views.transpose_pair(x.dims, (0, *(axis + 1 for axis in perm)))
        return self.view(x, dims, pair) if pair else self.emit("permute", [x], dims, perm=tuple(perm))

    def expand(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """Numpy broadcasting of `x` to `dims`, one repeated axis after the other."""
        y = self.reshape(x, (1,) * (len(dims) - len(x.dims)) + x.dims)
        for axis, extent in enumerate(dims):
            if y.dims[axis] != extent:
                if y.dims[axis] != 1:
                    raise Unsupported(f"cannot broadcast {list(x.dims)} to {list(dims)}")
                y = self.repeat(y, axis, extent)
        return y

    def repeat(self, x: Tensor, axis: int, times: int) -> Tensor:
        """Each index of ONNX `axis` repeated `times` times in a row (numpy.repeat)."""
        dims = (*x.dims[:axis], x.dims[axis] * times, *x.dims[axis + 1 :])
        place = place_of(x.dims, axis)
        if place in (1, 2) and place_of(dims, axis) == place:
            return self.emit("upsample", [x], dims)
        outer, inner = math.prod(x.dims[: axis + 1]), math.prod(x.dims[axis + 1 :])
        blocks = self.reshape(x, (1, outer, 1, inner))
        return self.reshape(self.emit("upsample", [blocks], (1, outer, times, inner)), dims)

    def elementwise(self, op: str, x: Tensor, attrs: Attrs | None = None) -> Tensor:
        """A unary operator."""
        return self.emit(op, [x], x.dims, attrs=attrs)

    def clamp(self, x: Tensor, lo: float, hi: float) -> Tensor:
        """min(max(x, lo), hi)."""
        return self.elementwise("clamp", x, Attrs(lo=lo, hi=hi))

    def scale(self, x: Tensor, hint: str, factor: npt.ArrayLike, offset: npt.ArrayLike) -> Tensor:
        """factor * x + offset, both scalars or one per channel of (c, h, w)."""
        weights = self.constant(f"{hint}.scale", np.broadcast_to(np.asarray(factor, np.float64), (x.c,)))
        bias = self.constant(f"{hint}.offset", np.broadcast_to(np.asarray(offset, np.float64), (x.c,)))
        return self.emit("scale", [x], x.dims, weights=weights, bias=bias)

    def binary(self, op: str, a: Tensor, b: Tensor) -> Tensor:
        """Two activations with numpy broadcasting."""
        try:
            dims = np.broadcast_shapes(a.dims, b.dims)
        except ValueError:
            raise Unsupported(f"cannot broadcast {list(a.dims)} with {list(b.dims)}") from None
        a, b = self.expand(a, dims), self.expand(b, dims)
        return self.emit(op, [a, b], dims)

    def blocks(self, x: Tensor, first: int, end: int) -> Tensor:
        """`x` as (1, outer, block, inner) where block is ONNX axes [first, end)."""
        d = x.dims
        return self.reshape(x, (1, math.prod(d[:first]), math.prod(d[first:end]), math.prod(d[end:])))

    def refuse_large(self, dims: Sequence[int]) -> None:
        """Refuse a result beyond the limits before anything of its size is computed."""
        self._limits.tensor(self._source, (math.prod(dims),))

    def _new_tensor(self, dims: Sequence[int]) -> Tensor:
        n = len(self._tensors)
        while (name := f"t{n}") in self._tensors or name in self._taken:
            n += 1
        tensor = Tensor.of(name, tuple(int(d) for d in dims))
        if min(tensor.dims, default=1) < 1:
            raise Unsupported(f"the result is empty: {list(tensor.dims)}")
        self._limits.tensor(self._source, (1, *tensor.chw))
        self._tensors[name] = tensor
        return tensor

    def _append(self, op: str, inputs: tuple[str, ...], output: Tensor, **fields: Any) -> None:
        name, n = self._source, 1
        while name in self._node_names:
            n += 1
            name = f"{self._source}#{n}"
        self._node_names.add(name)
        self._nodes.append(Node(name, op, inputs, output.name, sources=(self._source,), **fields))


def place_of(dims: Sequence[int], axis: int) -> int | None:
    """Which of c, h, w (0, 1, 2) ONNX `axis` is; None if it is dropped or merged with another axis."""
    return next((k for k, axes in enumerate(chw_axes(dims)) if axes == (axis,)), None)


def _renamed(node: Node, old: str, new: str) -> Node:
    inputs = tuple(new if name == old else name for name in node.inputs)
    output = new if node.output == old else node.output
    if (inputs, output) == (node.inputs, node.output):
        return node
    return Node(**(vars(node) | {"inputs": inputs, "output": output}))


def _groups(dims: Sequence[int], perm: Sequence[int]) -> list[tuple[int, ...]]:
    """The axes of extent above 1 in transposed order, runs that stay together joined."""
    groups: list[list[int]] = []
    kept = [axis for axis in range(len(dims)) if dims[axis] > 1]
    for axis in (axis for axis in perm if dims[axis] > 1):
        if groups and kept.index(axis) == kept.index(groups[-1][-1]) + 1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return [tuple(group) for group in groups]
