"""A chain of layers that a graph may run strip by strip: its nodes, its calls and what they cost."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from app.costs import CostKey
from app.graph.ir import Node
from app.rooms import in_room
from app.strips import BESIDE, INPUT, StripCall, StripMove, StripPlan
from kernels import registry
from kernels.spec import F32_BYTES, Layout, Primitive, Shape, canonical, weight_elems

TOKEN = "strip:"
"""Begins the layout names inside chains."""
WHOLE = "whole:"
"""Begins the layout name of a chain's input: that very layout, unconverted."""

ALIGN_BYTES = 64

NEAR_BYTES = 256 * 2**10
"""What the second-level cache of any processor that has one keeps from strip to strip. Where whole tensors do not fit,
their rows come from further away, so the costs of warm strips would be too good to be true."""
LAST_LEVEL_BYTES = 16 * 2**20
"""A network whose footprint is larger streams its weights from DRAM at every inference (docs/decisions/003)."""
MOST_PACKING = 4
"""Times the plain weights that packed ones may take: F(4,3) has 36 numbers for 9."""


@dataclass(frozen=True)
class Site:
    """A chain of `nodes`, in the order they run, that a graph can run in strips of about `plan.height` rows.

    `in_layout` is that of its input. `partial`: nodes outside read that as well. `input_stays`: it is read by the last
    node (a residual) or later, or is a graph input, so nobody has to keep it alive for the chain. Else `held` says how
    it stays: the port on which each node reads the input or what holds it since; None for a node that does neither.
    `overwrites`: the output may be written over the residual even when that is the chain's input, because rows are
    read before they are overwritten.
    `rooms` are the bytes of the memories its input may lie in: its own first, then larger ones (app.rooms).
    `takes_over`: those the output may be written into, over the input, for the same reason. The plan may begin with a
    layer of its own, the copy of the input's rows (app.strips.staging). Up to `threads` threads share each call.
    `weights_from` is where the network's weights come from: so do those of the first call of each layer.
    `x_pitch`, `y_pitch`: input and output are slices of the buffer of a concat, with so many channels from pixel to
    pixel (app.slices); 0 for a tensor of its own. The concat reads its slices last, so an input with a pitch stays.
    """

    nodes: tuple[Node, ...]
    plan: StripPlan
    in_layout: Layout
    partial: bool
    input_stays: bool
    held: tuple[int | None, ...]
    overwrites: bool
    rooms: tuple[int, ...]
    takes_over: tuple[int, ...]
    threads: int
    weights_from: str
    x_pitch: int = 0
    y_pitch: int = 0

    def __hash__(self) -> int:
        """That of the ends and the height: few sites share them, and a plan is long."""
        return hash((self.nodes[0].name, self.nodes[-1].name, self.plan.height))

    @property
    def name(self) -> str:
        """First and last node, the height, and what it is more than a path; unique within a graph."""
        name = name_of(self.nodes, self.plan.height, branched=self.branched, staged=bool(self.staged))
        name += f" from pitch {self.x_pitch}" if self.x_pitch else ""
        name += f" to pitch {self.y_pitch}" if self.y_pitch else ""
        return name

    @property
    def branched(self) -> bool:
        """Whether it is more than a path of nodes of which each reads the one before."""
        return any(self.feeds(number)[0] != number - 1 for number in range(len(self.nodes)))

    @property
    def staged(self) -> int:
        """Layers of the plan before those of the nodes: 1 when the input's rows are copied first."""
        return len(self.plan.shapes) - len(self.nodes)

    def node_of(self, layer: int) -> Node:
        """The node a layer of the plan belongs to; staging belongs to the first one."""
        return self.nodes[max(0, layer - self.staged)]

    def feeds(self, node: int) -> tuple[int, ...]:
        """Per port of a node the node of the chain it reads, or app.strips.INPUT or BESIDE."""
        found, behind = self.plan.sources[node + self.staged], self.staged
        return tuple(source if source < 0 else max(INPUT, source - behind) for source in found)

    @property
    def source(self) -> str:
        """The tensor that is the input."""
        return next(
            name
            for number, node in enumerate(self.nodes)
            for name, feed in zip(node.inputs, self.feeds(number), strict=True)
            if feed == INPUT
        )

    @property
    def lies_over(self) -> bool:
        """Whether the last node adds a whole tensor, over which its result may be written."""
        shape = self.nodes[-1].shape
        return shape is not None and shape.residual > 0 and self.feeds(len(self.nodes) - 1)[1] == BESIDE

    @property
    def input_bytes(self) -> int:
        """Bytes of the input."""
        return Layout.HWC.bytes(*self.plan.input_dims)

    @property
    def output_bytes(self) -> int:
        """Bytes of the output."""
        return Layout.HWC.bytes(*self.plan.shapes[-1].output_dims)

    def token(self, room_bytes: int) -> str:
        """The layout name inside the chain: nodes that read it run in a chain of the same input, to the chain's end.

        All chains with this input, and with the same idea of where it lies and who keeps it, share the name: what ends
        a chain reads it on every port that is inside, so everything back to the input is inside as well.
        """
        via = f" via {self.nodes[0].name}" if self.partial else ""
        via += f" with pitch {self.x_pitch}" if self.x_pitch else ""
        token = f"{TOKEN}from {self.source}{via}{'' if self.input_stays else ', kept'}"
        return token if room_bytes == self.rooms[0] else in_room(token, room_bytes)

    def over_input(self, room_bytes: int) -> str:
        """The layout of an output that takes over the input's memory."""
        layout = canonical(Layout.HWC, *self.plan.shapes[-1].output_dims)
        return layout if fills(self.output_bytes, room_bytes) else in_room(layout, room_bytes)

    @cached_property
    def again_from(self) -> str:
        """Where a strip finds its weights: the second-level cache if all that the chain touches stays there.

        And where the network's are if even the last level is too small for those of the chain.
        """
        weights_bytes = F32_BYTES * sum(weight_elems(shape) for shape in self.plan.shapes)
        if weights_bytes > LAST_LEVEL_BYTES:
            return self.weights_from
        buffers_bytes = sum(self.plan.buffer_bytes(i) for i in range(len(self.plan.shapes) - 1))
        tensors_bytes = self.input_bytes + self.output_bytes + buffers_bytes
        return "l2" if MOST_PACKING * weights_bytes + tensors_bytes <= NEAR_BYTES else "l3"

    @cached_property
    def buffer_offsets(self) -> tuple[int, ...]:
        """Byte offsets of the rolling buffers in the workspace, and where the calls' scratch begins."""
        sizes = [aligned(self.plan.buffer_bytes(i)) for i in range(len(self.plan.shapes) - 1)]
        return tuple(itertools.accumulate(sizes, initial=0))

    def workspace_bytes(self, scratch_bytes: int) -> int:
        """Bytes of the rolling buffers and of the scratch behind them."""
        if scratch_bytes:
            return self.buffer_offsets[-1] + scratch_bytes
        ends = (offset + self.plan.buffer_bytes(i) for i, offset in enumerate(self.buffer_offsets[:-1]))
        return max(ends, default=0)

    @cached_property
    def call_shapes(self) -> tuple[Mapping[Shape, int], ...]:
        """The geometries of each node's calls, in order of first use, pitches included; and how many calls have it."""
        found: list[Counter[Shape]] = [Counter() for _ in self.nodes]
        for step, count in self.plan.counts:
            if isinstance(step, StripCall) and step.layer >= self.staged:
                found[step.layer - self.staged][self.call_shape(step)] += count
        return tuple(found)

    def layer_keys(self, layer: int, primitive: Primitive | None) -> Iterator[tuple[CostKey, int]]:
        """The costs of the calls of node `layer`, and how often each is paid.

        Only the first call meets weights where the network keeps them; strips read them again and again, so the others
        find them in the cache that holds all a strip works with.
        """
        if primitive is None:
            return
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
        for step, count in self.plan.counts:
            if (shape := self.copy_shape(step)) is not None:
                found[max(0, step.layer - self.staged)][shape] += count
        return tuple(found)

    def copy_shape(self, step: StripCall | StripMove) -> Shape | None:
        """The geometry of the copy that a step is; None for a call of a node's routine."""
        if isinstance(step, StripMove):
            layer = self.plan.shapes[step.layer]
            return Shape("slice", layer.m, step.rows, layer.ow, layer.m, step.rows, layer.ow)
        return step.shape if step.layer < self.staged else None

    def call_shape(self, call: StripCall) -> Shape:
        """The geometry a call is made with: rows of a chw input are part of larger planes, a concat's parts of it.

        Input and output may be parts of a concat outside the chain as well.
        """
        shape, whole = call.shape, self.plan.shapes[call.layer]
        if self.x_pitch and self.plan.sources[call.layer][0] == INPUT:
            shape = dataclasses.replace(shape, x_pitch=self.x_pitch)
        if self.reads_planes(call.layer) and shape.h < whole.h:
            shape = dataclasses.replace(shape, x_pitch=whole.h * whole.w)
        joined, _ = self.plan.places[call.layer]
        if joined != call.layer or self.pitch_of(joined) != whole.m:
            shape = dataclasses.replace(shape, y_pitch=self.pitch_of(joined))
        return shape

    def pitch_of(self, layer: int) -> int:
        """Channels from pixel to pixel where a layer of the plan writes: in its buffer, or in the chain's output."""
        last = len(self.plan.shapes) - 1
        return self.y_pitch if layer == last and self.y_pitch else self.plan.shapes[layer].m

    def reads_planes(self, layer: int) -> bool:
        """Whether a layer of the plan reads a chw input, of which a row is one of each plane."""
        whole = self.plan.shapes[layer]
        return self.plan.sources[layer][0] == INPUT and self.in_layout is Layout.CHW and whole.c > 1


def name_of(nodes: Sequence[Node], height: int, *, branched: bool, staged: bool) -> str:
    """The name of the site of these nodes in strips of `height` rows, without pitches."""
    kind = (" branched" if branched else "") + (" staged" if staged else "")
    return f"{nodes[0].name}..{nodes[-1].name}/{height}{kind}"


def unpitched(name: str) -> str:
    """The name of the site that reads and writes whole tensors where the named one has slices."""
    return name.split(" from pitch ")[0].split(" to pitch ")[0]


@cache
def cost_key(primitive: Primitive, shape: Shape, weights_from: str) -> CostKey:
    """The key of a call whose weights come from there."""
    return CostKey(primitive.name, shape.key(), registry.source_hash(primitive.name), weights_from)


@cache
def mover() -> Primitive:
    """The primitive that moves rows inside a rolling buffer, or into it: a copy, of rows that do not overlap."""
    return registry.get("slice_copy_hwc_hwc_f32")


def fills(size_bytes: int, room_bytes: int) -> bool:
    """Whether a tensor takes as much of the arena as the room has, so that the room is nothing but its own memory."""
    return aligned(size_bytes) == aligned(room_bytes)


def aligned(size_bytes: int) -> int:
    """Bytes that something takes of the arena."""
    return -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES
