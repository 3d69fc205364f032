"""From the optimiser's selections to points: names, figures, spread, offsets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.chains import Chain
from app.costs import Cost, CostKey, CostTable
from app.graph.ir import Node
from app.options import IN_CHAINS, NodeOption, plain
from app.points import ConversionChoice, LayerChoice, PlacedBuffer, Point
from app.selection.problem import Built
from kernels.spec import Layout
from solver import problem as sp
from solver.arena import Arena, place
from solver.check import check
from solver.evaluate import Lifetimes, evaluate_lifetimes, lifetimes
from solver.front import Contradiction
from solver.planner import LARGEST_FIRST

_KINDS = {
    sp.BufferKind.OUTPUT: "output",
    sp.BufferKind.COPY: "copy",
    sp.BufferKind.WORKSPACE: "workspace",
    sp.BufferKind.CONVERSION_WORKSPACE: "workspace",
    sp.BufferKind.RESIDENT: "resident",
}


def point_from(
    built: Built,
    costs: CostTable,
    selection: sp.Selection,
    *,
    proven: bool,
    bound_ns: int,
    arena: Arena | None = None,
) -> Point:
    """The point of one selection; see Points.point_from."""
    return Points(built, costs).point_from(selection, proven=proven, bound_ns=bound_ns, arena=arena)


@dataclass(frozen=True)
class Spread:
    """How far measured times lie around their medians: sums of squared deviations, in ns^2."""

    below: int = 0
    above: int = 0

    @classmethod
    def of(cls, costs: Iterable[tuple[Cost, int]]) -> Spread:
        """That of calls, each with how often it is made."""
        below = above = 0
        for cost, count in costs:
            below += count * (cost.median_ns - cost.p10_ns) ** 2
            above += count * (cost.p90_ns - cost.median_ns) ** 2
        return cls(below, above)

    def __add__(self, other: Spread) -> Spread:
        return Spread(self.below + other.below, self.above + other.above)

    def around(self, median_ns: int) -> tuple[int, int]:
        """p10 and p90 of the sum of the calls, taking their deviations as independent: root of the sum of squares."""
        return median_ns - math.isqrt(self.below), median_ns + math.isqrt(self.above)


class Points:
    """Makes the points of one problem. What a layer or an edge adds to several points is worked out once."""

    def __init__(self, built: Built, costs: CostTable):
        self._built, self._costs = built, costs
        self._layers: dict[tuple[int, int, Chain | None], LayerChoice] = {}
        self._changes: dict[tuple[int, str, str], tuple[ConversionChoice, ...]] = {}
        self._spreads: dict[tuple[int, int], Spread] = {}

    def point_from(self, selection: sp.Selection, *, proven: bool, bound_ns: int, arena: Arena | None = None) -> Point:
        """The point of a selection, with every buffer placed. `bound_ns` is a proven lower bound of its latency.

        `arena` are its offsets when they are known already.

        Raises Contradiction when the independent checker disagrees
        with any figure, layout, lifetime or offset.
        """
        built = self._built
        lived = lifetimes(built.problem, selection)
        figures = evaluate_lifetimes(built.problem, selection, lived)
        placed = arena or place(lived.buffers, built.problem.align_bytes)
        faults = check(
            built.problem,
            selection,
            evaluation=figures,
            placements=placed.placements,
            arena_bytes=placed.arena_bytes,
        )
        if faults:
            raise Contradiction("; ".join(f"{fault.reason}: {fault.detail}" for fault in faults))
        conversions = tuple(self._conversions(selection))
        of_layer: dict[str, list[ConversionChoice]] = {}
        for conversion in conversions:
            of_layer.setdefault(conversion.consumer, []).append(conversion)
        layers = tuple(_with_conversions(layer, of_layer.get(layer.node, [])) for layer in self._chosen(selection))
        p10_ns, p90_ns = self._spread(selection).around(figures.time_ns)
        return Point(
            id=point_id(layers, placed.method if placed.method == LARGEST_FIRST else ""),
            latency_ns=figures.time_ns,
            p10_ns=p10_ns,
            p90_ns=p90_ns,
            arena_bytes=placed.arena_bytes,
            peak_bytes=figures.arena_bytes,
            workspace_bytes=figures.workspace_bytes,
            weights_bytes=figures.weights_bytes,
            proven=proven,
            bound_ns=bound_ns,
            gap=(figures.time_ns - bound_ns) / figures.time_ns if figures.time_ns else 0.0,
            families=dict(sorted(Counter(layer.family for layer in layers if layer.op == "conv").items())),
            layers=layers,
            conversions=conversions,
            buffers=tuple(_buffer(built, placement) for placement in placed.placements),
            steps=_step_labels(built, lived),
        )

    def _chosen(self, selection: sp.Selection) -> Iterator[LayerChoice]:
        """What the selection does with each node, without layout changes."""
        chosen = list(zip(self._built.options, selection.options, strict=True))
        chains = {
            inside.name: chain
            for options, i in chosen
            if options and (chain := options[i].chain) is not None
            for inside in chain.site.nodes
        }
        for v, (node, (options, i)) in enumerate(zip(self._built.operators, chosen, strict=True)):
            if node is None or not options:
                continue
            chain = chains.get(node.name)
            if (v, i, chain) not in self._layers:
                self._layers[v, i, chain] = self._layer(node, options[i], chain)
            yield self._layers[v, i, chain]

    def _layer(self, node: Node, option: NodeOption, chain: Chain | None) -> LayerChoice:
        """What an option does with a node, in `chain` if it is computed in one."""
        assert node.shape is not None
        candidates = self._built.candidates
        keys: Sequence[CostKey] = candidates.call_keys(option)
        primitives = option.primitives
        weights_bytes, resident_bytes = option.weights_bytes, option.resident_bytes
        if chain is not None:
            layer = chain.site.nodes.index(node)
            keys, primitives = chain.step_keys(layer), chain.layer_primitives(layer)
            weights_bytes, resident_bytes = chain.layer_weights_bytes(layer), chain.layer_resident_bytes(layer)
        call_ns = tuple(map(self._costs.ns, keys))
        p10_ns, p90_ns = Spread.of((self._costs[key], 1) for key in keys).around(sum(call_ns))
        return LayerChoice(
            node=node.name,
            op=node.op,
            shape=node.shape.key(),
            primitive=option.name if chain is None else primitives[0].name if primitives else IN_CHAINS,
            family=primitives[0].family if primitives else option.family,
            variant=option.variant if chain is None else "".join(p.variant for p in primitives),
            in_layout=primitives[0].in_layout if primitives else _plain(option, option.in_layouts[0]),
            out_layout=primitives[0].out_layout if primitives else _plain(option, option.out_layout),
            in_place=option.in_place,
            time_ns=sum(call_ns),
            p10_ns=p10_ns,
            p90_ns=p90_ns,
            workspace_bytes=option.workspace_bytes,
            weights_bytes=weights_bytes,
            conversions=(),
            conversion_ns=0,
            option=option.key,
            call_ns=call_ns,
            strips="" if chain is None else chain.site.name,
            resident_bytes=resident_bytes,
        )

    def _conversions(self, selection: sp.Selection) -> Iterator[ConversionChoice]:
        nodes = self._built.problem.nodes
        for e, edge in enumerate(self._built.problem.edges):
            have = nodes[edge.src].options[selection.options[edge.src]].out_layout
            want = nodes[edge.dst].options[selection.options[edge.dst]].in_layouts[edge.port]
            if (e, have, want) not in self._changes:
                self._changes[e, have, want] = tuple(self._conversions_of(e, have, want))
            yield from self._changes[e, have, want]

    def _conversions_of(self, e: int, have: str, want: str) -> Iterator[ConversionChoice]:
        """The layout changes of an edge."""
        edge, link, candidates = self._built.problem.edges[e], self._built.links[e], self._built.candidates
        for step in candidates.steps(link, have, want) or ():
            yield ConversionChoice(
                tensor=link.tensor,
                consumer=self._built.labels[edge.dst],
                port=edge.port,
                primitive=step.primitive.name,
                shape=step.shape.key(),
                time_ns=self._costs.ns(candidates.cost_key(step.primitive, step.shape)),
            )

    def _spread(self, selection: sp.Selection) -> Spread:
        """That of all calls but layout changes."""
        found = Spread()
        for v, (options, i) in enumerate(zip(self._built.options, selection.options, strict=True)):
            if options and (v, i) not in self._spreads:
                used = self._built.candidates.costs_of(options[i])
                self._spreads[v, i] = Spread.of((self._costs[key], count) for key, count in used)
            found += self._spreads[v, i] if options else Spread()
        return found


def point_id(layers: tuple[LayerChoice, ...], method: str = "") -> str:
    """`pt_` and 16 hex digits over (node, key of its option): the same choice keeps its id across sweeps.

    `method` tells apart the same choice placed as only a baseline is.
    """
    text = json.dumps([[layer.node, layer.option] for layer in layers] + ([method] if method else []))
    return "pt_" + hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(option: NodeOption, layout: str) -> Layout:
    """The layout behind a name of an option that calls nothing; in chains everything is hwc."""
    return plain(layout) if option.site is None else Layout.HWC


def _with_conversions(layer: LayerChoice, conversions: list[ConversionChoice]) -> LayerChoice:
    if not conversions:
        return layer
    names, time_ns = tuple(c.primitive for c in conversions), sum(c.time_ns for c in conversions)
    return dataclasses.replace(layer, conversions=names, conversion_ns=time_ns)


def _buffer(built: Built, placement: sp.Placement) -> PlacedBuffer:
    buffer = placement.buffer
    if buffer.kind in (sp.BufferKind.COPY, sp.BufferKind.CONVERSION_WORKSPACE):
        edge = built.problem.edges[buffer.index]
        node, port = built.labels[edge.dst], edge.port
    else:
        node, port = built.labels[buffer.index], None
    return PlacedBuffer(
        kind=_KINDS[buffer.kind],
        node=node,
        port=port,
        size_bytes=buffer.size_bytes,
        first=buffer.first,
        last=buffer.last,
        offset_bytes=placement.offset_bytes,
    )


def _step_labels(built: Built, lived: Lifetimes) -> tuple[str, ...]:
    labels = []
    for step in lived.steps:
        if step.edge is None:
            labels.append(built.labels[step.node])
        else:
            edge, link = built.problem.edges[step.edge], built.links[step.edge]
            labels.append(f"convert {link.tensor} for {built.labels[edge.dst]}:{edge.port}")
    return tuple(labels)
