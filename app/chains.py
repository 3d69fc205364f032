"""Where a graph may run layers strip by strip, with which primitives, at what cost.

A chain (app/strips.py) computes the whole output of its last node from the whole input of its first one; what lies in
between exists only as rolling buffers of a few rows, which are the chain's workspace together with the scratch of its
calls. Inside, everything is hwc, where rows are contiguous; a chain may start at a graph input, which is chw.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from app.costs import CostKey
from app.graph.ir import Node
from app.rooms import in_room
from app.strips import StripCall, StripMove, StripPlan
from kernels import registry
from kernels.spec import F32_BYTES, Layout, Primitive, Shape, canonical, weight_elems
from kernels.split import on_threads

FAMILIES = frozenset({"direct", "pointwise", "depthwise", "winograd"})
"""Convolution families offered inside chains: those whose scratch does not grow with the image. The others would undo
what a chain is for."""

TILES = ("b3p8", "b4p6", "b2p12", "b3t8", "b4t6")
"""Register tiles of the families that come in many. Which of the others is a little faster on a whole layer says little
about a strip of it, and every one of them would have to be measured on every strip shape."""

ALIGN_BYTES = 64

NEAR_BYTES = 256 * 2**10
"""What the second-level cache of any processor that has one keeps from strip to strip. Where whole tensors do not fit,
their rows come from further away, so the costs of warm strips would be too good to be true."""
MOST_RESIDENT = 3
"""Nodes of a chain among which any may have resident weights: each doubles the ways to run the chain."""
MOST_PACKING = 4
"""Times the plain weights that packed ones may take: F(4,3) has 36 numbers for 9."""


@dataclass(frozen=True)
class Site:
    """A chain of `nodes` that a graph can run in strips of `plan.height` rows.

    `in_layout` is what its first node reads. `input_stays`: the chain's input is read by the last node (a residual) or
    later, or is a graph input, so nobody has to keep it alive for the chain. `overwrites`: the output may be written
    over the residual even when that is the chain's input, because rows are read before they are overwritten.
    `rooms` are the bytes of the memories its input may lie in: its own first, then larger ones (app.rooms).
    `takes_over`: those the output may be written into, over the input, for the same reason. The plan may begin with a
    layer of its own, the copy of the input's rows (app.strips.staging). Up to `threads` threads share each call.
    `weights_from` is where the network's weights come from: so do those of the first call of each layer.
    """

    nodes: tuple[Node, ...]
    plan: StripPlan
    in_layout: Layout
    input_stays: bool
    overwrites: bool
    rooms: tuple[int, ...]
    takes_over: tuple[int, ...]
    threads: int
    weights_from: str

    @property
    def name(self) -> str:
        """First and last node and the height, and whether the input is staged; unique within a graph."""
        staged = " staged" if self.staged else ""
        return f"{self.nodes[0].name}..{self.nodes[-1].name}/{self.plan.height}{staged}"

    @property
    def staged(self) -> int:
        """Layers of the plan before those of the nodes: 1 when the input's rows are copied first."""
        return len(self.plan.shapes) - len(self.nodes)

    def node_of(self, layer: int) -> Node:
        """The node a layer of the plan belongs to; staging belongs to the first one."""
        return self.nodes[max(0, layer - self.staged)]

    @property
    def input_bytes(self) -> int:
        """Bytes of the input."""
        return Layout.HWC.bytes(*self.plan.shapes[0].input_dims(0))

    @property
    def output_bytes(self) -> int:
        """Bytes of the output."""
        return Layout.HWC.bytes(*self.plan.shapes[-1].output_dims)

    def token(self, layer: int, room_bytes: int) -> str:
        """The layout name that ties node `layer` to the next one: both run in a chain of this site or neither does.

        And with the same idea of where the input lies.
        """
        token = f"{TOKEN}{layer} {self.name}"
        return token if room_bytes == self.rooms[0] else in_room(token, room_bytes)

    def over_input(self, room_bytes: int) -> str:
        """The layout of an output that takes over the input's memory."""
        layout = canonical(Layout.HWC, *self.plan.shapes[-1].output_dims)
        return layout if fills(self.output_bytes, room_bytes) else in_room(layout, room_bytes)

    @cached_property
    def again_from(self) -> str:
        """Where a strip finds its weights: the second-level cache if all that the chain touches stays there."""
        weights_elems = sum(weight_elems(shape) for shape in self.plan.shapes)
        buffers_bytes = sum(self.plan.buffer_bytes(i) for i in range(len(self.plan.shapes) - 1))
        tensors_bytes = self.input_bytes + self.output_bytes + buffers_bytes
        return "l2" if MOST_PACKING * F32_BYTES * weights_elems + tensors_bytes <= NEAR_BYTES else "l3"

    @cached_property
    def buffer_offsets(self) -> tuple[int, ...]:
        """Byte offsets of the rolling buffers in the workspace, and where the calls' scratch begins."""
        sizes = [_aligned(self.plan.buffer_bytes(i)) for i in range(len(self.plan.shapes) - 1)]
        return tuple(itertools.accumulate(sizes, initial=0))

    def workspace_bytes(self, scratch_bytes: int) -> int:
        """Bytes of the rolling buffers and of the scratch behind them."""
        if scratch_bytes:
            return self.buffer_offsets[-1] + scratch_bytes
        last = len(self.plan.shapes) - 2
        return self.buffer_offsets[last] + self.plan.buffer_bytes(last)

    @cached_property
    def call_shapes(self) -> tuple[Mapping[Shape, int], ...]:
        """The geometries of each node's calls, in order of first use, pitches included; and how many calls have it."""
        found: list[Counter[Shape]] = [Counter() for _ in self.nodes]
        for call in self.plan.calls:
            if call.layer >= self.staged:
                found[call.layer - self.staged][self.call_shape(call)] += 1
        return tuple(found)

    def layer_keys(self, layer: int, primitive: Primitive) -> Iterator[tuple[CostKey, int]]:
        """The costs of the calls of node `layer`, and how often each is paid.

        Only the first call meets weights where the network keeps them; strips read them again and again, so the others
        find them in the cache that holds all a strip works with.
        """
        for number, (shape, count) in enumerate(self.call_shapes[layer].items()):
            if number == 0:
                yield cost_key(primitive, shape, self.weights_from), 1
                count -= 1
            if count:
                yield cost_key(primitive, shape, self.again_from), count

    @cached_property
    def copy_shapes(self) -> tuple[Mapping[Shape, int], ...]:
        """The same for the copies: of rows of each node's buffer, and for the first node of the rows it reads."""
        found: list[Counter[Shape]] = [Counter() for _ in self.nodes]
        for step in self.plan.steps:
            if (shape := self.copy_shape(step)) is not None:
                found[max(0, step.layer - self.staged)][shape] += 1
        return tuple(found)

    def copy_shape(self, step: StripCall | StripMove) -> Shape | None:
        """The geometry of the copy that a step is; None for a call of a node's routine."""
        if isinstance(step, StripMove):
            layer = self.plan.shapes[step.layer]
            return Shape("slice", layer.m, step.rows, layer.ow, layer.m, step.rows, layer.ow)
        return step.shape if step.layer < self.staged else None

    def call_shape(self, call: StripCall) -> Shape:
        """The geometry a call is made with: rows of a chw input are part of larger planes."""
        whole = self.plan.shapes[0]
        if call.layer == 0 and self.in_layout is Layout.CHW and whole.c > 1 and call.shape.h < whole.h:
            return dataclasses.replace(call.shape, x_pitch=whole.h * whole.w)
        return call.shape


@dataclass(frozen=True)
class Chain:
    """A site with a primitive per node. `resident` are the nodes whose weights are packed when the network starts."""

    site: Site
    primitives: tuple[Primitive, ...]
    resident: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Unique within a graph."""
        return f"{self.site.name} " + "+".join(primitive.name for primitive in self.primitives) + self.residents

    @property
    def residents(self) -> str:
        """Which nodes have resident weights, as part of a name."""
        return f" resident {','.join(map(str, self.resident))}" if self.resident else ""

    def packed_at_start(self) -> Iterator[Chain]:
        """The same with weights of some nodes packed at the start: any of MOST_RESIDENT nodes, of more all or none."""
        able = [layer for layer, primitive in enumerate(self.primitives) if primitive.packing.packer]
        sizes = range(1, len(able) + 1) if len(able) <= MOST_RESIDENT else [len(able)]
        for size in sizes:
            for layers in itertools.combinations(able, size):
                yield dataclasses.replace(self, resident=layers)

    def keys(self, layer: int) -> Iterator[tuple[CostKey, int]]:
        """The costs of the calls and copies of node `layer`, and how often each is paid."""
        yield from self.site.layer_keys(layer, self.primitives[layer])
        for shape, count in self.site.copy_shapes[layer].items():
            yield cost_key(mover(), shape, self.site.again_from), count

    def step_keys(self, layer: int) -> Iterator[CostKey]:
        """The costs of the calls and copies of node `layer` one by one, in the order of the plan."""
        weights_from = self.site.weights_from
        for step in self.site.plan.steps:
            if max(0, step.layer - self.site.staged) != layer:
                continue
            if (shape := self.site.copy_shape(step)) is not None:
                yield cost_key(mover(), shape, self.site.again_from)
            elif isinstance(step, StripCall):
                yield cost_key(self.primitives[layer], self.site.call_shape(step), weights_from)
                weights_from = self.site.again_from

    @property
    def workspace_bytes(self) -> int:
        """Rolling buffers, and the scratch of the neediest call."""
        return self.site.workspace_bytes(
            max(_scratch_bytes(p, self.site.call_shapes[i]) for i, p in enumerate(self.primitives))
        )

    @property
    def weights_bytes(self) -> int:
        """Weights of all layers as shipped."""
        return sum(self.layer_weights_bytes(layer) for layer in range(len(self.primitives)))

    def layer_weights_bytes(self, layer: int) -> int:
        """Weights of a layer as shipped; its calls share them."""
        shape = next(iter(self.site.call_shapes[layer]))
        return self.primitives[layer].weights_bytes(shape, resident=layer in self.resident)

    @property
    def resident_bytes(self) -> int:
        """Weights packed at the start, of all layers, each aligned."""
        return sum(_aligned(self.layer_resident_bytes(layer)) for layer in self.resident)

    def layer_resident_bytes(self, layer: int) -> int:
        """Packed weights of a layer that are resident; its calls share them."""
        shape = next(iter(self.site.call_shapes[layer]))
        return self.primitives[layer].resident_bytes(shape) if layer in self.resident else 0


TOKEN = "strip:"
"""Begins the layout names inside chains."""
WHOLE = "whole:"
"""Begins the layout name of a chain's input: that very layout, unconverted."""


def _scratch_bytes(primitive: Primitive, shapes: Iterable[Shape]) -> int:
    return max(primitive.workspace_bytes(shape) for shape in shapes)


def layer_primitives(site: Site, layer: int) -> tuple[Primitive, ...]:
    """Primitives that can make every call of node `layer` of the chain."""
    want = site.in_layout if layer == 0 else Layout.HWC
    return _computing(tuple(site.call_shapes[layer]), want, site.threads)


@cache
def _computing(shapes: tuple[Shape, ...], want: Layout, threads: int) -> tuple[Primitive, ...]:
    found = []
    first = shapes[0]
    for primitive in registry.all_primitives().values():
        if primitive.op != first.op or (first.op == "conv" and not _suits_strips(primitive)):
            continue
        if any(primitive.refusal(shape) for shape in shapes):
            continue
        # Rows lie alike in canonically equal layouts only if that holds for each strip.
        if any(
            canonical(primitive.in_layout, *shape.input_dims(0)) != canonical(want, *shape.input_dims(0))
            or canonical(primitive.out_layout, *shape.output_dims) != canonical(Layout.HWC, *shape.output_dims)
            for shape in shapes
        ):
            continue
        if len({primitive.weights_bytes(shape) for shape in shapes}) == 1:
            found.append(on_threads(primitive, threads))
    return tuple(found)


def _suits_strips(conv: Primitive) -> bool:
    if conv.family not in FAMILIES:
        return False
    return conv.family == "depthwise" or conv.variant.endswith(TILES) or conv.in_layout is not Layout.HWC


@cache
def cost_key(primitive: Primitive, shape: Shape, weights_from: str) -> CostKey:
    """The key of a call whose weights come from there."""
    return CostKey(primitive.name, shape.key(), registry.source_hash(primitive.name), weights_from)


@cache
def mover() -> Primitive:
    """The primitive that moves rows inside a rolling buffer, or into it: a copy, of rows that do not overlap."""
    return registry.get("slice_copy_hwc_hwc_f32")


Offers = Callable[[Node], Collection[str]]
"""Names of the primitives a node may run."""


def cost_keys(sites: Iterable[Site], offers: Offers) -> list[CostKey]:
    """Every cost the chains of the sites are made of, without repeats."""
    keys: dict[CostKey, None] = {}
    for site in sites:
        for layer, node in enumerate(site.nodes):
            for primitive in layer_primitives(site, layer):
                if primitive.name in offers(node):
                    keys.update((key, None) for key, _ in site.layer_keys(layer, primitive))
            keys.update((cost_key(mover(), shape, site.again_from), None) for shape in site.copy_shapes[layer])
    return list(keys)


def best_chains(sites: Iterable[Site], offers: Offers, time_ns: Callable[[CostKey], int]) -> list[Chain]:
    """Strips and primitives that no others of the same nodes beat in time, workspace and weights.

    Where strips may lie over the input and others may not, they do not compete.
    """
    groups: dict[Hashable, dict[Chain, Figures]] = {}
    for site in sites:
        same = (*(node.name for node in site.nodes), site.overwrites, site.takes_over)
        groups.setdefault(same, {}).update(_chains(site, offers, time_ns))
    return [
        chain for group in groups.values() for chain, figures in group.items() if not _beaten(figures, group.values())
    ]


Figures = tuple[int, int, int]
"""Of a chain: ns, bytes of workspace, bytes of weights."""


def _chains(site: Site, offers: Offers, time_ns: Callable[[CostKey], int]) -> dict[Chain, Figures]:
    """The choices of primitives that may be unbeaten, and what they cost.

    A layer's choice costs its own time and weights, and the scratch is that of the neediest call: for every bound of
    the scratch the fastest primitive of each layer within it is best, and so is the fastest of those with the
    lightest weights.
    """
    layers: list[list[tuple[int, int, int, Primitive]]] = []  # (ns, scratch bytes, weights bytes, primitive)
    for layer, node in enumerate(site.nodes):
        shapes, names = site.call_shapes[layer], offers(node)
        layers.append(
            [
                (
                    sum(count * time_ns(key) for key, count in site.layer_keys(layer, primitive)),
                    _scratch_bytes(primitive, shapes),
                    primitive.weights_bytes(next(iter(shapes))),
                    primitive,
                )
                for primitive in layer_primitives(site, layer)
                if primitive.name in names
            ]
        )
    if not all(layers):
        return {}
    copies_ns = sum(
        count * time_ns(cost_key(mover(), shape, site.again_from))
        for shapes in site.copy_shapes
        for shape, count in shapes.items()
    )
    found: dict[tuple[Primitive, ...], Figures] = {}
    for bound in sorted({scratch for layer in layers for _, scratch, _, _ in layer}):
        fitting = [[use for use in layer if use[1] <= bound] for layer in layers]
        if not all(fitting):
            continue
        for light in (False, True):
            picks = [min(layer, key=lambda use: (use[2] if light else 0, use[0], use[1])) for layer in fitting]
            found[tuple(primitive for *_, primitive in picks)] = (
                copies_ns + sum(ns for ns, *_ in picks),
                site.workspace_bytes(max(scratch for _, scratch, *_ in picks)),
                sum(weights for *_, weights, _ in picks),
            )
    return {Chain(site, primitives): figures for primitives, figures in found.items()}


def _beaten(figures: Figures, others: Iterable[Figures]) -> bool:
    return any(other != figures and all(a <= b for a, b in zip(other, figures, strict=True)) for other in others)


def fills(size_bytes: int, room_bytes: int) -> bool:
    """Whether a tensor takes as much of the arena as the room has, so that the room is nothing but its own memory."""
    return _aligned(size_bytes) == _aligned(room_bytes)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES
