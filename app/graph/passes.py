"""Graph -> Graph rewritings that keep every output: nothing here knows primitives or costs.

A pass is a pure function. `optimise` runs all of them in order until none changes anything, and checks the graph's
invariants after each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from app.graph.check import check
from app.graph.ir import Graph
from app.graph.passes_fold import fold_pad, fold_scale, fold_scale_forward, fuse_clamp, merge_scales
from app.graph.passes_residual import fuse_residual
from app.graph.passes_views import compose_views, drop_noops, fold_flatten, hoist_over_views

Pass = Callable[[Graph], Graph]


def drop_dead(graph: Graph) -> Graph:
    """Remove nodes whose output nobody reads, with their tensors and constants; graph inputs stay."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            kept.append(node)
            needed |= set(node.inputs)
    if len(kept) == len(graph.nodes):
        return graph
    used = {name for node in kept for name in (node.weights, node.bias)}
    return dataclasses.replace(
        graph,
        nodes=tuple(reversed(kept)),
        tensors={name: t for name, t in graph.tensors.items() if name in needed or name in graph.inputs},
        constants={name: value for name, value in graph.constants.items() if name in used},
    )


PASSES: tuple[Pass, ...] = (
    drop_dead,
    compose_views,
    drop_noops,
    hoist_over_views,
    fold_flatten,
    merge_scales,
    fold_scale,
    fold_scale_forward,
    fold_pad,
    fuse_clamp,
)
JOINING: tuple[Pass, ...] = (fuse_residual,)
"""What waits until PASSES have come to rest: a conv with a residual takes in no scale or pad any more."""


def optimise(graph: Graph) -> Graph:
    """All passes, repeated until the nodes stay as they are."""
    before = None
    while before != graph.nodes:
        before = graph.nodes
        graph = _settled(graph)
        for rewrite in JOINING:
            graph = rewrite(graph)
            check(graph)
    return graph


def _settled(graph: Graph) -> Graph:
    """PASSES, repeated until the nodes stay as they are."""
    before = None
    while before != graph.nodes:
        before = graph.nodes
        for rewrite in PASSES:
            graph = rewrite(graph)
            check(graph)
    return graph
