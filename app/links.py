"""Who reads whose output, with the views on the way, and the layout changes a reader may need."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.graph.ir import Graph, Node
from kernels import registry
from kernels.spec import Layout, Primitive, Shape, canonical

Dims = tuple[int, int, int]


@dataclass(frozen=True)
class ConversionStep:
    """One layout change of a (c, h, w) tensor by a convert primitive; with a pitch, of part of a larger tensor."""

    dims: Dims
    source: Layout
    target: Layout
    pitch: int = 0  # of the source

    @property
    def shape(self) -> Shape:
        """The shape of the convert operator."""
        c, h, w = self.dims
        return Shape("convert", c, h, w, c, h, w, x_pitch=self.pitch)

    @property
    def primitive(self) -> Primitive:
        """The fastest-to-find is the only one: there is one convert primitive per pair of layouts that needs one."""
        return _converters()[self.source, self.target]

    @property
    def bytes(self) -> int:
        """Bytes of the converted tensor."""
        return self.target.bytes(*self.dims)


@functools.cache
def _converters() -> Mapping[tuple[Layout, Layout], Primitive]:
    found: dict[tuple[Layout, Layout], Primitive] = {}
    for primitive in registry.all_primitives().values():
        if primitive.op == "convert":
            found[primitive.in_layout, primitive.out_layout] = primitive
    return found


@dataclass(frozen=True)
class Link:
    """An edge of the optimiser's problem: who really produces what input `port` of a consumer reads.

    `producer` is a node name, or None when `tensor` is a graph input. `consumer` is a node name, or None when the
    link feeds graph output number `port`. `via` is app.graph.ir.Edge.via.
    """

    tensor: str
    tensor_dims: Dims
    producer: str | None
    consumer: str | None
    port: int
    consumer_dims: Dims
    via: tuple[Layout, Layout] | None

    def steps(self, have: Layout, want: Layout, pitch: int = 0) -> tuple[ConversionStep, ...]:
        """Conversions that turn the produced tensor in `have` into the consumer's input in `want`: 0, 1 or 2.

        With a `pitch` the tensor is part of a larger one, and the first step makes it dense.
        """
        entry, leave = self.via if self.via is not None else (want, want)
        found = []
        if pitch or canonical(have, *self.tensor_dims) != canonical(entry, *self.tensor_dims):
            found.append(ConversionStep(self.tensor_dims, have, entry, pitch))
        if canonical(leave, *self.consumer_dims) != canonical(want, *self.consumer_dims):
            found.append(ConversionStep(self.consumer_dims, leave, want))
        return tuple(found)


def links_of(graph: Graph, nodes: Sequence[Node]) -> Iterator[Link]:
    """A link per input of each of `nodes`, in order, then one per graph output."""
    for node in nodes:
        for port, name in enumerate(node.inputs):
            yield _link(graph, name, node.name, port)
    for index, name in enumerate(graph.outputs):
        yield _link(graph, name, None, index)


def _link(graph: Graph, name: str, consumer: str | None, port: int) -> Link:
    edge = graph.resolve(name)
    producer = graph.producer(edge.tensor)
    return Link(
        tensor=edge.tensor,
        tensor_dims=graph.tensors[edge.tensor].chw,
        producer=producer.name if producer else None,
        consumer=consumer,
        port=port,
        consumer_dims=graph.tensors[name].chw,
        via=edge.via,
    )
