"""Where a graph may run layers strip by strip, with which primitives, at what cost.

A chain (app/strips.py) computes the whole output of its last node from the whole input of its first one; what lies in
between exists only as rolling buffers of a few rows, which are the chain's workspace together with the scratch of its
calls. Inside, everything is hwc, where rows are contiguous; a chain may start at a graph input, which is chw.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.costs import CostKey
from app.graph.ir import VIEW, Graph, Node
from app.strips import ROW_LOCAL_OPS, StripCall, StripMove, StripPlan, plan_strips, rows_needed
from kernels import registry
from kernels.spec import Layout, Primitive, Shape, canonical

FAMILIES = frozenset({"direct", "pointwise", "depthwise", "winograd"})
"""Convolution families offered inside chains: those whose scratch does not grow with the image. The others would undo
what a chain is for."""

HEIGHTS = (1, 2, 4, 8, 16, 32)
LONGEST = 5  # nodes of a chain, and besides the longest run of all
WORTH_SHARE = 0.3
"""A chain is offered where it saves memory that matters: at a step with this share of the largest step's tensors."""
KEPT_SHARE = 0.5
"""Rolling buffers that hold more than this share of the tensors they replace are not worth their calls."""

ALIGN_BYTES = 64


@dataclass(frozen=True)
class Site:
    """A chain of `nodes` that a graph can run in strips of `plan.height` rows.

    `in_layout` is what its first node reads. `input_stays`: the chain's input is read by the last node (a residual) or
    later, or is a graph input, so nobody has to keep it alive for the chain. `overwrites`: the output may be written
    over the residual even when that is the chain's input, because rows are read before they are overwritten.
    """

    nodes: tuple[Node, ...]
    plan: StripPlan
    in_layout: Layout
    input_stays: bool
    overwrites: bool

    @property
    def name(self) -> str:
        """First and last node and the height; unique within a graph."""
        return f"{self.nodes[0].name}..{self.nodes[-1].name}/{self.plan.height}"

    @cached_property
    def buffer_offsets(self) -> tuple[int, ...]:
        """Byte offsets of the rolling buffers in the workspace, and where the calls' scratch begins."""
        sizes = [_aligned(self.plan.buffer_bytes(i)) for i in range(len(self.nodes) - 1)]
        return tuple(itertools.accumulate(sizes, initial=0))

    @cached_property
    def call_shapes(self) -> tuple[tuple[Shape, ...], ...]:
        """The distinct geometries of each layer's calls, in order of first use, pitches included."""
        found: list[dict[Shape, None]] = [{} for _ in self.nodes]
        for call in self.plan.calls:
            found[call.layer][self.call_shape(call)] = None
        return tuple(tuple(shapes) for shapes in found)

    def call_shape(self, call: StripCall) -> Shape:
        """The geometry a call is made with: rows of a chw input are part of larger planes."""
        whole = self.plan.shapes[0]
        if call.layer == 0 and self.in_layout is Layout.CHW and whole.c > 1 and call.shape.h < whole.h:
            return dataclasses.replace(call.shape, x_pitch=whole.h * whole.w)
        return call.shape

    def moved_shapes(self) -> Iterator[Shape]:
        """One copy of rows per move of the plan."""
        for step in self.plan.steps:
            if isinstance(step, StripMove):
                yield _move_shape(self.plan.shapes[step.layer], step)


@dataclass(frozen=True)
class ChainOption:
    """A site with a primitive per node. Times are sums over all calls and moves of the chain."""

    site: Site
    primitives: tuple[Primitive, ...]
    layer_ns: tuple[int, ...]  # of each node, its own moves included
    workspace_bytes: int
    weights_bytes: int

    @property
    def time_ns(self) -> int:
        """The whole chain."""
        return sum(self.layer_ns)

    @property
    def name(self) -> str:
        """Unique within a graph."""
        return f"{self.site.name}: " + ", ".join(p.name for p in self.primitives)


def find_sites(graph: Graph) -> tuple[Site, ...]:
    """Every chain worth offering, in execution order of its first node."""
    order = {node.output: number for number, node in enumerate(graph.nodes)}
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    live = _live_elems(graph)
    worth = WORTH_SHARE * max(live, default=0)
    found: list[Site] = []
    for run in _runs(graph, readers):
        lengths = {*range(2, LONGEST + 1), len(run)}
        for length in sorted(n for n in lengths if 2 <= n <= len(run)):
            for nodes in (run[i : i + length] for i in range(len(run) - length + 1)):
                # The steps of all nodes but the last hold a tensor the chain does away with.
                if max(live[order[node.output]] for node in nodes) >= worth:
                    found += _sites_of(graph, nodes, order, readers)
    return tuple(sorted(found, key=lambda site: order[site.nodes[0].output]))


def _runs(graph: Graph, readers: dict[str, list[Node]]) -> Iterator[tuple[Node, ...]]:
    """Maximal paths of row-local nodes in which each but the last is read by the next one alone, on port 0."""
    inside: set[str] = set()
    for node in graph.nodes:
        if node.name in inside or not _row_local(node):
            continue
        run = [node]
        while (after := _only_reader(graph, run[-1], readers)) is not None:
            run.append(after)
            inside.add(after.name)
        if len(run) > 1:
            yield tuple(run)


def _row_local(node: Node) -> bool:
    return node.op in ROW_LOCAL_OPS and node.shape is not None and node.shape.h > 1


def _only_reader(graph: Graph, node: Node, readers: dict[str, list[Node]]) -> Node | None:
    """The next node of a path, or None. A second operand is read row by row too, so it must be whole by then."""
    found = readers.get(node.output, [])
    if len(found) != 1 or node.output in graph.outputs:
        return None
    after = found[0]
    if not _row_local(after) or after.inputs[0] != node.output or node.output in after.inputs[1:]:
        return None
    # Only the last node may have a second operand; a path that goes on behind one would need both at once.
    return after if node.shape is not None and node.shape.n_in == 1 else None


def _sites_of(
    graph: Graph, nodes: Sequence[Node], order: dict[str, int], readers: dict[str, list[Node]]
) -> Iterator[Site]:
    source, last = nodes[0].inputs[0], nodes[-1]
    if any(node.shape is None or node.shape.n_in > 1 for node in nodes[:-1]):
        return
    producer = graph.producer(source)
    if producer is not None and producer.op == VIEW:
        return
    if len(nodes[-1].inputs) > 1 and any(order.get(name, -1) >= order[nodes[0].output] for name in last.inputs[1:]):
        return  # the other operand is made while the chain runs
    dims = graph.tensors[source].chw
    in_layout = canonical(Layout.HWC, *dims) if producer is not None else Layout.CHW
    stays = producer is None or any(order[reader.output] >= order[last.output] for reader in readers[source])
    if not stays and len(readers[source]) > 1:
        return  # read again while the chain runs, and by nobody afterwards: its end would not be the model's
    shapes = [node.shape for node in nodes if node.shape is not None]
    whole_bytes = sum(Layout.HWC.bytes(*shape.output_dims) for shape in shapes[:-1])
    seen: set[tuple[StripCall | StripMove, ...]] = set()
    for height in HEIGHTS:
        if height >= shapes[-1].oh:
            break
        plan = plan_strips(shapes, height)
        kept_bytes = sum(plan.buffer_bytes(i) for i in range(len(shapes) - 1))
        if kept_bytes <= KEPT_SHARE * whole_bytes and plan.steps not in seen:
            seen.add(plan.steps)
            yield Site(tuple(nodes), plan, in_layout, stays, _reads_before_it_writes(plan))


def _reads_before_it_writes(plan: StripPlan) -> bool:
    """Whether rows of the input are no longer needed when the same rows of the output are written."""
    first, last = plan.shapes[0], plan.shapes[-1]
    done = 0
    for call in plan.calls:
        if call.layer == 0:
            done = call.end
        elif (
            call.layer == len(plan.shapes) - 1 and done < first.oh and rows_needed(first, done, first.oh)[0] < call.end
        ):
            return False
    return last.output_dims == first.input_dims(0)


def _live_elems(graph: Graph) -> list[int]:
    """Elements of the tensors that are live while each node runs, graph inputs and outputs left out."""
    last_read = {name: len(graph.nodes) for name in graph.outputs}
    for number, node in enumerate(graph.nodes):
        for name in node.inputs:
            last_read[name] = max(last_read.get(name, 0), number)
    change = [0] * (len(graph.nodes) + 2)
    for number, node in enumerate(graph.nodes):
        if node.op != VIEW and node.output not in graph.outputs:
            change[number] += graph.tensors[node.output].elems
            change[last_read.get(node.output, number) + 1] -= graph.tensors[node.output].elems
    return list(itertools.accumulate(change))[: len(graph.nodes)]


def layer_primitives(site: Site, layer: int) -> list[Primitive]:
    """Primitives that can make every call of a layer of the chain."""
    node = site.nodes[layer]
    want = site.in_layout if layer == 0 else Layout.HWC
    found = []
    for primitive in registry.all_primitives().values():
        if primitive.op != node.op or (node.op == "conv" and primitive.family not in FAMILIES):
            continue
        shapes = site.call_shapes[layer]
        if any(primitive.refusal(shape) for shape in shapes):
            continue
        reads = canonical(primitive.in_layout, *shapes[0].input_dims(0))
        writes = canonical(primitive.out_layout, *site.plan.shapes[layer].output_dims)
        if reads != canonical(want, *shapes[0].input_dims(0)):
            continue
        if writes != canonical(Layout.HWC, *site.plan.shapes[layer].output_dims):
            continue
        if len({primitive.weights_bytes(shape) for shape in shapes}) == 1:
            found.append(primitive)
    return found


def cost_key(primitive: Primitive, shape: Shape) -> CostKey:
    """Strips read the weights again and again, so they come from a cache whatever the network's footprint is."""
    return CostKey(primitive.name, shape.key(), registry.source_hash(primitive.name), "l3")


def mover() -> Primitive:
    """What moving rows within a rolling buffer costs: a copy of the same bytes (the bundle calls memmove)."""
    return registry.get("slice_copy_hwc_hwc_f32")


def _move_shape(layer: Shape, step: StripMove) -> Shape:
    return Shape("slice", layer.m, step.rows, layer.ow, layer.m, step.rows, layer.ow)


def cost_keys(sites: Iterable[Site]) -> list[CostKey]:
    """Every cost the options of the sites are made of, without repeats."""
    keys: dict[CostKey, None] = {}
    for site in sites:
        for layer in range(len(site.nodes)):
            for primitive in layer_primitives(site, layer):
                keys.update((cost_key(primitive, shape), None) for shape in site.call_shapes[layer])
        keys.update((cost_key(mover(), shape), None) for shape in site.moved_shapes())
    return list(keys)


def chain_options(site: Site, time_ns: Callable[[CostKey], int]) -> list[ChainOption]:
    """The choices of primitives that no other one beats in time, workspace and weights.

    A layer's choice costs its own time and weights, and the scratch is that of the neediest call: for every bound of
    the scratch the fastest primitive of each layer within it is best, and so is the fastest of those with the
    lightest weights.
    """
    moves_ns = [0] * len(site.nodes)
    for step in site.plan.steps:
        if isinstance(step, StripMove):
            moves_ns[step.layer] += time_ns(cost_key(mover(), _move_shape(site.plan.shapes[step.layer], step)))
    layers: list[list[tuple[int, int, int, Primitive]]] = []  # (ns, scratch bytes, weights bytes, primitive)
    for layer in range(len(site.nodes)):
        uses = [site.call_shape(call) for call in site.plan.calls if call.layer == layer]
        layers.append(
            [
                (
                    sum(time_ns(cost_key(primitive, shape)) for shape in uses),
                    max(primitive.workspace_bytes(shape) for shape in uses),
                    primitive.weights_bytes(uses[0]),
                    primitive,
                )
                for primitive in layer_primitives(site, layer)
            ]
        )
    if not all(layers):
        return []
    options: dict[tuple[Primitive, ...], ChainOption] = {}
    for bound in sorted({scratch for layer in layers for _, scratch, _, _ in layer}):
        fitting = [[use for use in layer if use[1] <= bound] for layer in layers]
        if not all(fitting):
            continue
        for light in (False, True):
            picks = [min(layer, key=lambda use: (use[2] if light else 0, use[0], use[1])) for layer in fitting]
            option = ChainOption(
                site=site,
                primitives=tuple(primitive for *_, primitive in picks),
                layer_ns=tuple(ns + moved for (ns, *_), moved in zip(picks, moves_ns, strict=True)),
                workspace_bytes=site.buffer_offsets[-1] + max(scratch for _, scratch, _, _ in picks),
                weights_bytes=sum(weights for _, _, weights, _ in picks),
            )
            options.setdefault(option.primitives, option)
    return _undominated(list(options.values()))


def _undominated(options: list[ChainOption]) -> list[ChainOption]:
    def figures(option: ChainOption) -> tuple[int, int, int]:
        return option.time_ns, option.workspace_bytes, option.weights_bytes

    return [
        option
        for option in options
        if not any(
            figures(other) != figures(option)
            and all(a <= b for a, b in zip(figures(other), figures(option), strict=True))
            for other in options
        )
    ]


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES
