"""Which primitives can run each node, which conversions each edge may need, and the cost keys of both.

The one place where a graph meets the registry; measuring and selection both read it, so they cannot disagree.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from app.costs import CostKey
from app.errors import Item, UserError
from app.graph.ir import VIEW, Graph, Node
from kernels import registry
from kernels.spec import F32_BYTES, Layout, Primitive, Shape, canonical, weight_elems

LAST_LEVEL_BYTES = 16 * 2**20
"""A network whose footprint is larger streams its weights from DRAM at every inference (docs/decisions/003)."""

Dims = tuple[int, int, int]


@dataclass(frozen=True)
class ConversionStep:
    """One layout change of a (c, h, w) tensor by a convert primitive."""

    dims: Dims
    source: Layout
    target: Layout

    @property
    def shape(self) -> Shape:
        """The shape of the convert operator."""
        c, h, w = self.dims
        return Shape("convert", c, h, w, c, h, w)

    @property
    def primitive(self) -> Primitive:
        """The fastest-to-find is the only one: there is one convert primitive per ordered pair of layouts."""
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

    def steps(self, have: Layout, want: Layout) -> tuple[ConversionStep, ...]:
        """Conversions that turn the produced tensor in `have` into the consumer's input in `want`: 0, 1 or 2."""
        entry, leave = self.via if self.via is not None else (want, want)
        found = []
        if canonical(have, *self.tensor_dims) != canonical(entry, *self.tensor_dims):
            found.append(ConversionStep(self.tensor_dims, have, entry))
        if canonical(leave, *self.consumer_dims) != canonical(want, *self.consumer_dims):
            found.append(ConversionStep(self.consumer_dims, leave, want))
        return tuple(found)


@dataclass(frozen=True)
class NodeOption:
    """A primitive for a node. Layouts are canonical for the dims they belong to. `in_place` is a port or None."""

    primitive: Primitive
    in_layouts: tuple[Layout, ...]
    out_layout: Layout
    in_place: int | None


@dataclass(frozen=True)
class Candidates:
    """Everything selectable for a graph: operator nodes in execution order, their options, the links."""

    graph: Graph
    nodes: tuple[Node, ...]
    options: Mapping[str, tuple[NodeOption, ...]]
    refused: Mapping[str, Mapping[str, str]]
    links: tuple[Link, ...]
    weights_from: str

    def cost_key(self, primitive: Primitive, shape: Shape) -> CostKey:
        """The key under which this graph looks up the cost of a primitive on a shape."""
        return CostKey(primitive.name, shape.key(), registry.source_hash(primitive.name), self.weights_from)

    def cost_keys(self) -> list[CostKey]:
        """Every cost the optimiser can ask for, without repeats: nodes in order, then conversions."""
        keys: dict[CostKey, None] = {}
        for node in self.nodes:
            assert node.shape is not None
            for option in self.options[node.name]:
                keys[self.cost_key(option.primitive, node.shape)] = None
        for link in self.links:
            for have in self.layouts_of(link.producer):
                for want in self.layouts_wanted(link):
                    for step in link.steps(have, want):
                        keys[self.cost_key(step.primitive, step.shape)] = None
        return list(keys)

    def layouts_of(self, producer: str | None) -> tuple[Layout, ...]:
        """Layouts a node can write, in a fixed order; graph inputs are row-major."""
        if producer is None:
            return (Layout.CHW,)
        return tuple(dict.fromkeys(option.out_layout for option in self.options[producer]))

    def layouts_wanted(self, link: Link) -> tuple[Layout, ...]:
        """Layouts the consumer can read on the link's port; graph outputs are row-major."""
        if link.consumer is None:
            return (Layout.CHW,)
        return tuple(dict.fromkeys(option.in_layouts[link.port] for option in self.options[link.consumer]))


def list_candidates(graph: Graph, families: Collection[str] | None = None) -> Candidates:
    """All options of a graph; `families` limits the convolution families offered (None: all).

    Raises UserError `no-primitive` naming every node no primitive accepts.
    """
    nodes = tuple(node for node in graph.nodes if node.op != VIEW)
    options: dict[str, tuple[NodeOption, ...]] = {}
    refused: dict[str, Mapping[str, str]] = {}
    lacking: list[Item] = []
    for node in nodes:
        assert node.shape is not None
        accepted, reasons = registry.candidates(node.shape)
        if families is not None and node.op == "conv":
            reasons = reasons | {
                p.name: f"family {p.family} is not allowed" for p in accepted if p.family not in families
            }
            accepted = [p for p in accepted if p.family in families]
        options[node.name] = tuple(o for p in accepted for o in _node_options(node.shape, p))
        refused[node.name] = reasons
        if not accepted:
            why = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:5]) or "no primitive exists"
            lacking.append(Item(node.name, f"{node.op} [{node.shape.key()}]: {why}"))
    if lacking:
        raise UserError(
            "no-primitive",
            f"{len(lacking)} node(s) of {graph.name} have no primitive that can run them",
            items=lacking,
            hint="allow more families, or report the shape",
        )
    weights_from = "dram" if footprint_bytes(graph) > LAST_LEVEL_BYTES else "l3"
    return Candidates(graph, nodes, options, refused, tuple(_links(graph, nodes)), weights_from)


def footprint_bytes(graph: Graph) -> int:
    """Estimate of what one inference of a fast selection touches: weights as packed, and the largest tensors.

    Convolutions that Winograd F(4,3) can run count 4 times their weights (36 / 9), because it usually wins there.
    """
    weights_bytes = 0
    for node in graph.nodes:
        if node.shape is not None:
            s = node.shape
            transformed = s.op == "conv" and (s.kh, s.kw, s.stride_h, s.stride_w, s.group) == (3, 3, 1, 1, 1)
            weights_bytes += F32_BYTES * (4 if transformed else 1) * weight_elems(s)
    return weights_bytes + 2 * F32_BYTES * max((t.elems for t in graph.tensors.values()), default=0)


def _node_options(shape: Shape, primitive: Primitive) -> Iterator[NodeOption]:
    in_layouts = tuple(canonical(primitive.port_layout(port), *shape.input_dims(port)) for port in range(shape.n_in))
    out_layout = canonical(primitive.out_layout, *shape.output_dims)
    yield NodeOption(primitive, in_layouts, out_layout, None)
    if primitive.in_place and shape.input_dims(0) == shape.output_dims:
        # A commutative operator can take over either operand: the call then swaps them.
        for port in (0, 1) if shape.op in ("add", "mul") else (0,):
            yield NodeOption(primitive, in_layouts, out_layout, port)


def _links(graph: Graph, nodes: tuple[Node, ...]) -> Iterator[Link]:
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
