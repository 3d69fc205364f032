"""From the optimiser's selections to points: names, figures, spread, offsets."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator

from app.costs import Cost, CostTable
from app.options import NodeOption, plain
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
    """The point of a selection, with every buffer placed. `bound_ns` is a proven lower bound of its latency.

    `arena` are its offsets when they are known already.

    Raises Contradiction when the independent checker disagrees
    with any figure, layout, lifetime or offset.
    """
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
    layers = tuple(_layers(built, costs, selection))
    conversions = tuple(_conversions(built, costs, selection))
    of_layer: dict[str, list[ConversionChoice]] = {}
    for conversion in conversions:
        of_layer.setdefault(conversion.consumer, []).append(conversion)
    layers = tuple(_with_conversions(layer, of_layer.get(layer.node, [])) for layer in layers)
    p10_ns, p90_ns = _around(figures.time_ns, _used_costs(built, costs, selection))
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


def point_id(layers: tuple[LayerChoice, ...], method: str = "") -> str:
    """`pt_` and 16 hex digits over (node, key of its option): the same choice keeps its id across sweeps.

    `method` tells apart the same choice placed as only a baseline is.
    """
    text = json.dumps([[layer.node, layer.option] for layer in layers] + ([method] if method else []))
    return "pt_" + hashlib.sha256(text.encode()).hexdigest()[:16]


def _layers(built: Built, costs: CostTable, selection: sp.Selection) -> Iterator[LayerChoice]:
    chosen = [options[i] if options else None for options, i in zip(built.options, selection.options, strict=True)]
    chains = {
        inside: option.chain
        for option in chosen
        if option is not None and option.chain is not None
        for inside in option.chain.site.nodes
    }
    for node, option in zip(built.operators, chosen, strict=True):
        if node is None or option is None:
            continue
        assert node.shape is not None
        weights_bytes, resident_bytes = option.weights_bytes, option.resident_bytes
        if option.site is None:
            keys, primitives = built.candidates.call_keys(option), option.primitives
        else:
            chain = chains[node]
            layer = chain.site.nodes.index(node)
            keys, primitives = list(chain.step_keys(layer)), chain.layer_primitives(layer)
            weights_bytes, resident_bytes = chain.layer_weights_bytes(layer), chain.layer_resident_bytes(layer)
        used = [costs[key] for key in keys]
        call_ns = tuple(costs.ns(key) for key in keys)
        p10_ns, p90_ns = _around(sum(call_ns), used)
        yield LayerChoice(
            node=node.name,
            op=node.op,
            shape=node.shape.key(),
            primitive=option.name if option.site is None else "".join(p.name for p in primitives),
            family=primitives[0].family if primitives else option.family,
            variant=option.variant if option.site is None else "".join(p.variant for p in primitives),
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
            strips=chains[node].site.name if option.site is not None else "",
            resident_bytes=resident_bytes,
        )


def _plain(option: NodeOption, layout: str) -> Layout:
    """The layout behind a name of an option that calls nothing; in chains everything is hwc."""
    return plain(layout) if option.site is None else Layout.HWC


def _with_conversions(layer: LayerChoice, conversions: list[ConversionChoice]) -> LayerChoice:
    return LayerChoice(
        **{
            **layer.__dict__,
            "conversions": tuple(c.primitive for c in conversions),
            "conversion_ns": sum(c.time_ns for c in conversions),
        }
    )


def _conversions(built: Built, costs: CostTable, selection: sp.Selection) -> Iterator[ConversionChoice]:
    nodes = built.problem.nodes
    for edge, link in zip(built.problem.edges, built.links, strict=True):
        have = nodes[edge.src].options[selection.options[edge.src]].out_layout
        want = nodes[edge.dst].options[selection.options[edge.dst]].in_layouts[edge.port]
        for step in built.candidates.steps(link, have, want) or ():
            key = built.candidates.cost_key(step.primitive, step.shape)
            yield ConversionChoice(
                tensor=link.tensor,
                consumer=built.labels[edge.dst],
                port=edge.port,
                primitive=step.primitive.name,
                shape=step.shape.key(),
                time_ns=costs.ns(key),
            )


def _around(median_ns: int, costs: Iterable[Cost]) -> tuple[int, int]:
    """p10 and p90 of a sum, taking the calls' deviations as independent: root of the sum of squares."""
    below = above = 0.0
    for cost in costs:
        below += (cost.median_ns - cost.p10_ns) ** 2
        above += (cost.p90_ns - cost.median_ns) ** 2
    return median_ns - math.isqrt(int(below)), median_ns + math.isqrt(int(above))


def _used_costs(built: Built, costs: CostTable, selection: sp.Selection) -> Iterator[Cost]:
    for options, chosen in zip(built.options, selection.options, strict=True):
        for key, count in built.candidates.costs_of(options[chosen]) if options else ():
            yield from [costs[key]] * count


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
