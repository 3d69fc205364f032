"""The front of a network on a device: candidates and costs in, proven points and baselines out."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.candidates import Candidates, list_candidates
from app.costs import CostTable
from app.errors import Item, UserError
from app.graph.ir import Graph
from app.order import GIVEN, JOINT
from app.points import Frontier, Point
from app.quantities import format_bytes
from app.selection.baselines import baselines
from app.selection.digest import digest_of
from app.selection.limits import NO_LIMITS, START_UP, Limits
from app.selection.orders import Arrangement, choose, merged
from app.selection.points import Points
from app.selection.problem import Built, require_costs
from solver import frontier as sf
from solver import problem as sp
from solver.evaluate import Bottleneck
from solver.front import FrontPoint, Infeasible, OnPoint
from solver.order import Order
from solver.weights import trace_weights

POINT_LIMIT_S = 30.0
"""Arena and workspace points take milliseconds; on the total axis a point is a knapsack and may take long."""

MOST_POINTS = 400
"""A front with more points is cut there and says so; no screen and no engineer tells more of them apart."""


WEIGHTS = "weights"
"""The axis of packed weights, within the arena that the limits allow."""


def trace(
    graph: Graph,
    costs: CostTable,
    memory: str = "arena",
    *,
    limits: Limits = NO_LIMITS,
    on_point: Callable[[Point], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> Frontier:
    """Trace the exact latency-memory front on the given axis (arena, workspace, total or weights) within `limits`.

    The rule of `limits` says which execution orders are looked at; app.selection.orders.

    Raises MissingCost when a candidate has not been measured, UserError `limits-invalid`, `limits-impossible` or
    `budget-infeasible` when no selection meets the limits.
    """
    check_axis_of(limits, memory)
    offered = list_candidates(graph, threads=costs.threads)
    candidates = limits.narrow(offered)
    require_costs(candidates, costs)
    times = limits.times(costs)
    arrangement = Arrangement(offered, limits, times)

    def front(order: Order) -> Frontier:
        of = offered if order == arrangement.given else None
        return _in_order(arrangement.built(order), times, memory, limits, of, on_point, should_cancel)

    first = dataclasses.replace(front(arrangement.given), costs_digest=digest_of(candidates, times, limits.order))
    if limits.order == GIVEN or not first.complete:
        return first
    started = time.perf_counter()
    known_bytes = min(point.peak_bytes for point in first.points)
    chosen = choose(arrangement, limits.order, memory, known_bytes, should_cancel)
    seconds = time.perf_counter() - started
    return merged([first, *map(front, chosen.orders)], limits.order, chosen, seconds)


def _in_order(
    built: Built,
    times: CostTable,
    memory: str,
    limits: Limits,
    of: Candidates | None,
    on_point: Callable[[Point], None] | None,
    should_cancel: Callable[[], bool] | None,
) -> Frontier:
    """The front in one order, without digest, and with the baselines of the candidates `of` if they are given."""

    maker = Points(built, times)
    point_of = functools.cache(lambda solved: _point(maker, solved))
    reporting_s = 0.0  # no solving

    def report(solved: FrontPoint) -> None:
        nonlocal reporting_s
        started = time.perf_counter()
        if on_point is not None:
            on_point(point_of(solved))
        reporting_s += time.perf_counter() - started

    try:
        found = _traced(built, memory, limits, report if on_point is not None else None, should_cancel)
    except Infeasible as error:
        raise infeasible(built.problem, limits, error) from None
    points = tuple(map(point_of, found.points))
    fitting = tuple(p for p in points if limits.max_arena_bytes is None or p.arena_bytes <= limits.max_arena_bytes)
    because = found.incomplete_because
    if len(fitting) < len(points):
        # Their live bytes fit and the offsets found do not; nobody may be told they fit.
        because = because or f"{len(points) - len(fitting)} points were left out: their offsets exceed the arena"
    # The largest point has no budget, but on the weights axis a bound on the arena.
    fastest = found.points[-1].selection if found.points and memory != WEIGHTS and found.points[-1].proven else None
    graph = built.candidates.graph
    return Frontier(
        memory=memory,
        solve_s=found.solve_s - reporting_s,
        certified_by=found.certified_by,
        uncertified_because=found.uncertified_because,
        complete=not because,
        incomplete_because=because,
        points=fitting,
        baselines=baselines(of, times, built, limits, fastest) if of is not None else (),
        smallest_bytes=found.smallest_bytes,
        smallest_step=needs(found.smallest),
        io_bytes=sum(4 * math.prod(graph.tensors[name].dims) for name in (*graph.inputs, *graph.outputs)),
        costs_digest="",
    )


def check_axis_of(limits: Limits, memory: str) -> None:
    """Raise UserError `limits-invalid` when the limits say what this axis cannot keep.

    A bound on the arena belongs to the weights axis; the joint order is searched on arena and latency alone. Weights
    packed at the start pay where shipped ones are bounded or the axis, and are never part of a point elsewhere.
    """
    if limits.max_arena_bytes is not None and memory != WEIGHTS:
        raise UserError(
            "limits-invalid",
            f"a bound on the arena belongs to the {WEIGHTS} axis, not to {memory}",
            items=[Item("max_arena_bytes", f"only with the {WEIGHTS} axis")],
            hint=f"ask for --memory {WEIGHTS}, or bound the {memory} axis by the budget of a query",
        )
    if limits.residency == START_UP and memory != WEIGHTS and limits.max_weights_bytes is None:
        raise UserError(
            "limits-invalid",
            "weights packed at the start take more memory than they save where shipped weights are not bounded",
            items=[Item("residency", f"{START_UP} only with the {WEIGHTS} axis or a bound on weights")],
            hint=f"ask for --memory {WEIGHTS} --arena BYTES, or add --max-weights BYTES",
        )
    if limits.order == JOINT and (memory != sp.MemoryAxis.ARENA or limits.max_weights_bytes is not None):
        raise UserError(
            "limits-invalid",
            "the joint order is exact on the arena axis without a bound on weights, and offered there only",
            items=[Item("order", "joint only with the arena axis and no bound on weights")],
            hint="ask for --order profiles or given",
        )


@dataclass(frozen=True)
class _Traced:
    """What every tracing says, whatever its axis."""

    points: tuple[FrontPoint, ...]
    solve_s: float
    certified_by: str
    uncertified_because: str
    incomplete_because: str
    smallest_bytes: int | None
    smallest: Bottleneck | None


def _traced(
    built: Built,
    memory: str,
    limits: Limits,
    report: OnPoint | None,
    should_cancel: Callable[[], bool] | None,
) -> _Traced:
    if memory == WEIGHTS:
        light = trace_weights(
            built.problem,
            limits.max_arena_bytes,
            max_weights_bytes=limits.max_weights_bytes,
            time_limit_s_per_point=POINT_LIMIT_S,
            max_points=MOST_POINTS,
            on_point=report,
            should_cancel=should_cancel,
        )
        least = light.points[0] if light.points and light.complete else None
        return _Traced(
            light.points,
            light.solve_s,
            light.certified_by,
            light.uncertified_because,
            light.incomplete_because,
            least.evaluation.weights_bytes if least else least_weights_bytes(built.problem, limits.max_arena_bytes),
            heaviest(built.problem, least.selection) if least else None,
        )
    front = sf.trace(
        built.problem,
        sp.MemoryAxis(memory),
        max_weights_bytes=limits.max_weights_bytes,
        time_limit_s_per_point=POINT_LIMIT_S,
        max_points=MOST_POINTS,
        on_point=report,
        should_cancel=should_cancel,
    )
    return _Traced(
        front.points,
        front.solve_s,
        front.certified_by,
        front.uncertified_because,
        front.incomplete_because,
        front.smallest_bytes,
        front.smallest,
    )


def heaviest(problem: sp.Problem, selection: sp.Selection) -> Bottleneck:
    """The node with most weights of a selection, as what sets its bytes on the weights axis."""
    chosen = [node.options[i] for node, i in zip(problem.nodes, selection.options, strict=True)]
    v = max(range(len(chosen)), key=lambda i: chosen[i].weights_bytes)
    size_bytes = chosen[v].weights_bytes
    parts = ((f"weights of {chosen[v].name}", size_bytes),) if size_bytes else ()
    return Bottleneck(problem.nodes[v].name, sum(option.weights_bytes for option in chosen), parts)


def least_weights_bytes(problem: sp.Problem, arena_bytes: int | None = None) -> int | None:
    """The least weights of any selection within the arena, exactly: the optimum when weights take the place of time."""
    nodes = tuple(
        dataclasses.replace(node, options=tuple(dataclasses.replace(o, time_ns=o.weights_bytes) for o in node.options))
        for node in problem.nodes
    )
    edges = tuple(
        dataclasses.replace(
            edge, conversions={pair: dataclasses.replace(c, time_ns=0) for pair, c in edge.conversions.items()}
        )
        for edge in problem.edges
    )
    try:
        lightest = dataclasses.replace(problem, nodes=nodes, edges=edges)
        found = sf.solve_one(lightest, sp.MemoryAxis.ARENA, arena_bytes)
    except Infeasible:
        return None
    return None if found.evaluation is None else found.evaluation.weights_bytes


def infeasible(problem: sp.Problem, limits: Limits, error: Infeasible) -> UserError:
    """The error of limits that no selection meets: which one stands in the way and what would be enough."""
    if error.smallest_bytes is not None:  # the arena of the weights axis
        asked = error.budget_bytes
        return UserError(
            "budget-infeasible",
            f"no selection fits an arena of {format_bytes(asked or 0)}: the smallest needs "
            f"{format_bytes(error.smallest_bytes)}, at step {needs(error.step)}",
            hint=f"allow an arena of {error.smallest_bytes} bytes",
            facts={
                "smallest_bytes": error.smallest_bytes,
                "available_bytes": asked,
                "smallest_step": needs(error.step),
            },
            status=404,
        )
    least = least_weights_bytes(problem)
    if least is None:
        layers = [layer for layer, _ in limits.pins]
        return UserError(
            "limits-impossible",
            "no selection exists within the limits: no conversion joins the layouts of some neighbouring layers",
            items=[Item(layer, "is pinned") for layer in layers],
            hint="lift a pin" if layers else "allow more families",
            facts={"layers": layers},
        )
    asked = limits.max_weights_bytes or 0
    return UserError(
        "budget-infeasible",
        f"no selection has weights of at most {format_bytes(asked)}: the lightest needs {format_bytes(least)}",
        hint=f"allow weights of {least} bytes (--max-weights {least})",
        facts={"smallest_bytes": least, "available_bytes": asked, "excess_bytes": least - asked},
        status=404,
    )


def _point(maker: Points, solved: FrontPoint) -> Point:
    return maker.point_from(solved.selection, proven=solved.proven, bound_ns=solved.bound_ns, arena=solved.arena)


def needs(least: Bottleneck | None) -> str:
    """The step that sets the least memory and what is live there, for readers."""
    if least is None:
        return ""
    parts = " + ".join(f"{what} {size_bytes:,} B" for what, size_bytes in least.parts)
    return f"{least.step} ({parts})" if parts else least.step
