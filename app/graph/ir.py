"""The graph: our frozen picture of an ONNX network after import. Knows operators, not primitives or costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.spec import Attrs, Layout, Shape

Constant = npt.NDArray[np.float32]

VIEW = "view"
"""Operator name of a node that only renames memory: Reshape, Flatten, Squeeze, Unsqueeze and the Transposes that
equal a change of layout. It has no shape and no primitive; see Node."""


@dataclass(frozen=True)
class Tensor:
    """An activation of one image. `dims` are the ONNX dimensions; (c, h, w) is how kernels see them.

    A leading dimension of 1 is dropped when the rank is above 1; what is left is (c, h, w) for rank 3, (c, 1, w)
    for rank 2 and (c, 1, 1) for rank 1; axes beyond the third are merged into w. Row-major `dims` and row-major
    (c, h, w) are therefore the same memory, which is layout `chw`.
    """

    name: str
    dims: tuple[int, ...]
    c: int
    h: int
    w: int

    @property
    def chw(self) -> tuple[int, int, int]:
        """(c, h, w)."""
        return self.c, self.h, self.w

    @property
    def elems(self) -> int:
        """Number of values."""
        return self.c * self.h * self.w

    @classmethod
    def of(cls, name: str, dims: Sequence[int]) -> Tensor:
        """The tensor of those ONNX dimensions."""
        c, h, w = (math.prod(dims[axis] for axis in axes) for axes in chw_axes(dims))
        return cls(name, tuple(dims), c, h, w)


def chw_axes(dims: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The ONNX axes that make up c, h and w; the rule is in Tensor."""
    axes = tuple(range(len(dims)))
    if len(dims) > 1 and dims[0] == 1:
        axes = axes[1:]
    if len(axes) == 2:
        return axes[:1], (), axes[1:]
    return axes[:1], axes[1:2], axes[2:]


@dataclass(frozen=True)
class Node:
    """One operator of the network, with everything fused into it.

    `inputs` name activation tensors only; `weights` and `bias` name entries of Graph.constants.
    `sources` are the names (or output names) of the ONNX nodes it stands for, for messages and reports.
    A view (`op == VIEW`) has shape None: its input in `view_in` layout is, byte for byte, its output in `view_out`.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    shape: Shape | None
    attrs: Attrs = field(default_factory=Attrs)
    weights: str | None = None
    bias: str | None = None
    sources: tuple[str, ...] = ()
    view_in: Layout = Layout.CHW
    view_out: Layout = Layout.CHW


@dataclass(frozen=True)
class Edge:
    """The tensor that input `port` of a non-view consumer really reads, with the views on the way composed.

    `tensor` is a graph input or the output of a non-view node. Without views, `via` is None. With views,
    `via = (a, b)`: `tensor` in layout a is byte for byte the consumer's input in layout b, for free; any other
    layout pair needs conversions of `tensor` to a, or of the viewed tensor from b.
    """

    tensor: str
    via: tuple[Layout, Layout] | None


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order (topological), every tensor by name, constants by name.

    `inputs` and `outputs` are tensor names in the ONNX file's order; their outside layout is always row-major
    `dims`, that is `chw`. `constants` are float32 in the order their operator documents (kernels.spec.OPS).
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Constant]

    def producer(self, tensor: str) -> Node | None:
        """The node that writes `tensor`; None for a graph input."""
        return self._producers.get(tensor)

    @property
    def _producers(self) -> dict[str, Node]:
        cache: dict[str, Node] | None = self.__dict__.get("_producer_cache")
        if cache is None:
            cache = {node.output: node for node in self.nodes}
            object.__setattr__(self, "_producer_cache", cache)
        return cache

    def resolve(self, tensor: str) -> Edge:
        """Follow views upwards from `tensor` to the storage it names."""
        via: tuple[Layout, Layout] | None = None
        node = self.producer(tensor)
        while node is not None and node.op == VIEW:
            # Import inserts a real `permute` where two views do not compose, so they do here.
            via = (node.view_in, node.view_out if via is None else via[1])
            tensor = node.inputs[0]
            node = self.producer(tensor)
        return Edge(tensor, via)

    def to_json(self) -> dict[str, Any]:
        """Plain data without the constants' values (their dims are kept), for golden tests and the page."""
        return {
            "name": self.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "tensors": [dataclasses.asdict(t) for t in self.tensors.values()],
            "nodes": [_node_json(n) for n in self.nodes],
            "constants": {name: list(value.shape) for name, value in self.constants.items()},
        }


def _node_json(node: Node) -> dict[str, Any]:
    plain = dataclasses.asdict(node)
    plain["shape"] = node.shape.key() if node.shape else None
    # JSON has no infinities: an absent bound means none.
    plain["attrs"] = {k: v for k, v in plain["attrs"].items() if np.isfinite(v)}
    return plain
