"""The front of a network on a device: candidates and costs in, proven points and baselines out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection

from app.candidates import Candidates, list_candidates
from app.costs import CostTable
from app.errors import UserError
from app.graph.ir import Graph
from app.points import Baseline, Frontier, Point
from app.selection.points import point_from
from app.selection.problem import Built, build_problem, fastest_per_node, require_costs, time_from
from solver import frontier as sf
from solver import problem as sp
from solver.evaluate import Bottleneck, ImpossibleSelection, evaluate

POINT_LIMIT_S = 30.0
"""Arena and workspace points take milliseconds; on the total axis a point is a knapsack and may take long."""

MOST_POINTS = 400
"""A front with more points is cut there and says so; no screen and no engineer tells more of them apart."""


def trace(
    graph: Graph,
    costs: CostTable,
    memory: str = "arena",
    *,
    families: Collection[str] | None = None,
    max_weights_bytes: int | None = None,
    on_point: Callable[[Point], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> Frontier:
    """Trace the exact latency-memory front on the given axis (arena, workspace or total).

    Raises MissingCost when a candidate has not been measured, UserError `budget-infeasible` when no selection meets
    `max_weights_bytes`.
    """
    candidates = list_candidates(graph, families)
    require_costs(candidates, costs)
    built = build_problem(candidates, time_from(costs))

    def report(solved: sf.FrontPoint) -> None:
        if on_point is not None:
            on_point(_point(built, costs, solved))

    try:
        front = sf.trace(
            built.problem,
            sp.MemoryAxis(memory),
            max_weights_bytes=max_weights_bytes,
            time_limit_s_per_point=POINT_LIMIT_S,
            max_points=MOST_POINTS,
            on_point=report if on_point is not None else None,
            should_cancel=should_cancel,
        )
    except sf.Infeasible as error:
        raise UserError(
            "budget-infeasible",
            str(error),
            hint="allow more weight bytes or more families",
            facts={"smallest_bytes": error.smallest_bytes},
            status=404,
        ) from None
    return Frontier(
        memory=memory,
        solve_s=front.solve_s,
        certified_by=front.certified_by,
        uncertified_because=front.uncertified_because,
        complete=front.complete,
        incomplete_because=front.incomplete_because,
        points=tuple(_point(built, costs, solved) for solved in front.points),
        baselines=_baselines(graph, costs, built, families),
        smallest_bytes=front.smallest_bytes,
        smallest_step=_needs(front.smallest),
        io_bytes=sum(4 * math.prod(graph.tensors[name].dims) for name in (*graph.inputs, *graph.outputs)),
        costs_digest=_digest(candidates, costs),
    )


def costs_digest(graph: Graph, costs: CostTable, families: Collection[str] | None = None) -> str:
    """Digest over every cost a front of `graph` depends on; "" when some are missing. Another digest: a stale front."""
    candidates = list_candidates(graph, families)
    return "" if costs.missing(candidates.cost_keys()) else _digest(candidates, costs)


def _digest(candidates: Candidates, costs: CostTable) -> str:
    digest = hashlib.sha256()
    for key in candidates.cost_keys():
        digest.update(f"{key.primitive} {key.shape} {key.source_hash} {key.weights_from} {costs.ns(key)}\n".encode())
    return digest.hexdigest()


def _point(built: Built, costs: CostTable, solved: sf.FrontPoint) -> Point:
    return point_from(built, costs, solved.selection, proven=solved.proven, bound_ns=solved.bound_ns)


def _needs(least: Bottleneck | None) -> str:
    """The step that sets the least memory and what is live there, for readers."""
    if least is None:
        return ""
    parts = " + ".join(f"{what} {size_bytes:,} B" for what, size_bytes in least.parts)
    return f"{least.step} ({parts})" if parts else least.step


def _fastest(built: Built) -> sp.Selection:
    selection = sf.fastest(built.problem).selection
    assert selection is not None  # without a time limit there is an optimum, or fastest() has raised
    return selection


def _baselines(graph: Graph, costs: CostTable, built: Built, families: Collection[str] | None) -> tuple[Baseline, ...]:
    """What simpler methods pick. Their bound is their own latency: nothing is claimed about optimality."""

    def named(name: str, explanation: str, of: Built, selection: sp.Selection) -> Baseline:
        latency_ns = evaluate(of.problem, selection).time_ns
        return Baseline(name, explanation, point_from(of, costs, selection, proven=False, bound_ns=latency_ns))

    found = [named("time-only", "the least latency when memory does not matter", built, _fastest(built))]
    try:
        greedy = fastest_per_node(built)
        found.append(
            named(
                "fastest-per-layer",
                "each layer's fastest primitive by itself; the layout changes this causes are paid",
                built,
                greedy,
            )
        )
    except ImpossibleSelection:
        pass  # two neighbours' fastest choices cannot be joined: then there is no such baseline
    direct = {"direct", "depthwise", "pointwise"}
    if families is None or direct & set(families):
        allowed = direct if families is None else direct & set(families)
        plain = build_problem(list_candidates(graph, allowed), time_from(costs))
        found.append(
            named(
                "all-direct",
                "the fastest selection of direct convolutions (direct, pointwise, depthwise): no workspace",
                plain,
                _fastest(plain),
            )
        )
    return tuple(found)
