"""Exact fronts: descend the budget just below each optimum's memory on one solver, then certify by the other method."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from solver import flow as flows
from solver.certificate import certify, compare
from solver.dp import SecondOpinion
from solver.evaluate import bottleneck, evaluate
from solver.front import Contradiction, Front, FrontPoint, Infeasible, OnPoint, ShouldCancel
from solver.highs import FlowSolver
from solver.model import build_model, compile_model
from solver.offsets import Placed, PlacingSolver, laid_out
from solver.outcome import Held, Outcome, Stopped
from solver.problem import MemoryAxis, Problem, validate
from solver.tables import TooWide
from solver.totals import Cancelled, trace_total

CONFIRM_S = 5.0  # HiGHS takes about half a second per step of a total front; a whole one can have a thousand


def solve_one(
    problem: Problem,
    axis: MemoryAxis,
    budget_bytes: int | None,
    *,
    max_weights_bytes: int | None = None,
    time_limit_s: float | None = None,
) -> Outcome:
    """The fastest selection within `budget_bytes` on `axis` (None: no budget), offsets included.

    Raises Infeasible when none fits.
    """
    solver = _solver(problem, axis, max_weights_bytes)
    if budget_bytes is None:
        solver.solver.set_budget(None)
        outcome = solver.solver.solve(time_limit_s)
    else:
        outcome = solver.solve(budget_bytes, time_limit_s).outcome
    if outcome.held is Held.INFEASIBILITY:
        raise _infeasible(solver, budget_bytes)
    return outcome


def fastest(problem: Problem, *, max_weights_bytes: int | None = None) -> Outcome:
    """The fastest selection, whatever arena it takes."""
    # Without a budget every axis has the same optimum, and this one the smallest model.
    return solve_one(problem, MemoryAxis.WORKSPACE, None, max_weights_bytes=max_weights_bytes)


def smallest(problem: Problem, axis: MemoryAxis, *, max_weights_bytes: int | None = None) -> FrontPoint:
    """The fastest selection among those of least memory on `axis`."""
    found = least_memory(_solver(problem, axis, max_weights_bytes))
    if found is None:
        raise Infeasible(axis, None, None, None)
    return found


def trace(
    problem: Problem,
    axis: MemoryAxis,
    *,
    max_weights_bytes: int | None = None,
    time_limit_s_per_point: float | None = None,
    on_point: OnPoint | None = None,
    should_cancel: ShouldCancel | None = None,
    max_points: int | None = None,
    verify: bool = True,
) -> Front:
    """All efficient (memory on `axis`, time) pairs, one selection each; see Front for what is proven.

    Memory is what the offsets take. `on_point` gets each point once it is final, by falling memory (an unproven one
    may still be withdrawn). `should_cancel` is asked between solves and inside long ones. Raises Infeasible when no
    selection exists, Contradiction when the certificate disagrees. On the total axis a label search finds the whole
    front first, and points come only at its end; `time_limit_s_per_point` bounds HiGHS, which takes over where that
    search is too wide.
    """
    started = time.perf_counter()
    limits = _Limits(time_limit_s_per_point, on_point, should_cancel, max_points)
    if axis is MemoryAxis.TOTAL:
        validate(problem)
        try:
            return _trace_total(problem, max_weights_bytes, limits, verify, started)
        except TooWide:
            pass  # the MIP descent below needs no tables
    solver = _solver(problem, axis, max_weights_bytes)
    found = _descend(solver, limits)
    if not found.points and not found.because:
        raise Infeasible(axis, None, None, None)
    return _finish(solver, found, verify, started)


@dataclass(frozen=True)
class _Limits:
    """What ends a descent early, and who hears of its points."""

    time_limit_s: float | None = None
    on_point: OnPoint | None = None
    should_cancel: ShouldCancel | None = None
    max_points: int | None = None

    def announce(self, point: FrontPoint) -> None:
        if self.on_point is not None:
            self.on_point(point)


@dataclass
class _Descent:
    """Points by falling memory, the methods that found them, and why there are no more; "" when there are none."""

    points: list[FrontPoint] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    because: str = ""


def _descend(
    solver: PlacingSolver[FlowSolver], limits: _Limits, budget: int | None = None, least_bytes: int = 0
) -> _Descent:
    """Efficient points from `budget` down, for budgets of at least `least_bytes`."""
    found = _Descent()
    last: FrontPoint | None = None
    bound_ns = 0  # what cannot be beaten with more memory cannot be beaten with less
    while budget is None or budget >= least_bytes:
        if limits.should_cancel is not None and limits.should_cancel():
            found.because = "cancelled"
            break
        placed = solver.solve(budget, limits.time_limit_s, limits.should_cancel)
        outcome = placed.outcome
        found.methods.append(outcome.method)
        if outcome.held is Held.INFEASIBILITY:
            break
        if outcome.evaluation is None:
            found.because = _why(outcome, budget)
            break
        bound_ns = max(bound_ns, outcome.bound_ns)
        point = _point(placed, bound_ns)
        budget = placed.bytes_used - 1
        if last is not None and last.evaluation.time_ns < point.evaluation.time_ns:
            if limits.max_points is not None and len(found.points) + 1 == limits.max_points:
                found.because = f"stopped after {limits.max_points} points"
                break
            found.points.append(last)
            limits.announce(last)
        while found.points and found.points[-1].evaluation.time_ns >= point.evaluation.time_ns:
            found.points.pop()  # an unproven point that a smaller budget beat
        last = point
        if outcome.stopped is Stopped.CANCELLED:
            found.because = "cancelled"
            break
    if last is not None:
        found.points.append(last)
        limits.announce(last)
    return found


def _trace_total(
    problem: Problem, max_weights_bytes: int | None, limits: _Limits, verify: bool, started: float
) -> Front:
    """The front of arena plus weights by label search, then as many of its steps by HiGHS as CONFIRM_S allows."""
    axis = MemoryAxis.TOTAL
    try:
        choices = trace_total(problem, max_weights_bytes, limits.should_cancel)
    except Cancelled:
        return Front(axis, (), "", "cancelled", False, "cancelled", time.perf_counter() - started, None, None)
    if not choices:
        raise Infeasible(axis, None, None, None)
    search_s = time.perf_counter() - started
    points = []
    for choice in choices:
        figures = evaluate(problem, choice.selection)
        if (figures.time_ns, figures.total_bytes) != (choice.time_ns, choice.need_bytes + choice.weights_bytes):
            raise Contradiction(f"the label search says {choice}, the evaluation {figures}")
        arena = laid_out(problem, choice.selection)
        points.append(FrontPoint(choice.selection, figures, True, figures.time_ns, 0.0, search_s / len(choices), arena))
    uncertified = "" if verify else "not asked for"
    if verify:
        uncertified = _confirm_total(problem, max_weights_bytes, points, limits.should_cancel)
    because = ""
    if any(point.on(axis) > point.evaluation.total_bytes for point in points):
        points, because = _repair(_solver(problem, axis, max_weights_bytes), limits, points)
        uncertified = uncertified or "offsets rule out selections, which the label search cannot leave out"
    shown = points if limits.max_points is None else points[-limits.max_points :]
    for point in reversed(shown):
        limits.announce(point)
    if len(shown) < len(points):
        because = because or f"stopped after {limits.max_points} points"
    return Front(
        axis=axis,
        points=tuple(shown),
        certified_by="labels" if uncertified else "labels+highs-mip",
        uncertified_because=uncertified,
        complete=not because,
        incomplete_because=because,
        solve_s=time.perf_counter() - started,
        smallest_bytes=points[0].on(axis) if points else None,
        smallest=bottleneck(problem, points[0].selection, axis) if points else None,
    )


def _repair(
    solver: PlacingSolver[FlowSolver], limits: _Limits, points: list[FrontPoint]
) -> tuple[list[FrontPoint], str]:
    """The front with offsets from the one in live bytes, and why it is incomplete.

    Between the live bytes of a point and those of the next one, HiGHS descends instead of a point whose offsets need
    more.
    """
    axis, because = solver.axis, ""
    quiet = _Limits(limits.time_limit_s, None, limits.should_cancel)
    found: list[FrontPoint] = []
    for number, point in enumerate(points):
        if point.on(axis) == point.evaluation.on(axis):
            found.append(point)
            continue
        above = points[number + 1].evaluation.on(axis) - 1 if number + 1 < len(points) else None
        descent = _descend(solver, quiet, above, point.evaluation.on(axis))
        found += descent.points
        because = because or descent.because
    efficient: list[FrontPoint] = []
    for point in sorted(found, key=lambda p: (p.on(axis), p.evaluation.time_ns)):
        if not efficient or point.evaluation.time_ns < efficient[-1].evaluation.time_ns:
            efficient.append(point)
    return efficient, because


def _confirm_total(
    problem: Problem, max_weights_bytes: int | None, points: list[FrontPoint], should_cancel: ShouldCancel | None
) -> str:
    """Solve the steps of a front in live bytes with HiGHS, evenly spread first; returns "" when all of them agree."""
    solver = _solver(problem, MemoryAxis.TOTAL, max_weights_bytes).solver
    # Step i: one byte below point i, the answer is point i - 1; without a budget it is the last point.
    budgets: list[int | None] = [point.evaluation.total_bytes - 1 for point in points]
    budgets.append(None)
    answers: list[FrontPoint | None] = [None, *points]
    deadline_s = time.perf_counter() + CONFIRM_S
    confirmed = 0
    order = sorted(range(len(budgets)), key=lambda i: (-(i & -i) if i else -len(budgets), i))
    for i in order:
        left_s = deadline_s - time.perf_counter()
        if left_s <= 0 or (should_cancel is not None and should_cancel()):
            break
        solver.set_budget(budgets[i])
        outcome = solver.solve(left_s, should_cancel)
        if not outcome.proven:
            break
        compare(budgets[i], answers[i], None if outcome.evaluation is None else outcome.evaluation.time_ns)
        confirmed += 1
    return (
        "" if confirmed == len(budgets) else f"HiGHS confirmed {confirmed} of {len(budgets)} steps in {CONFIRM_S:g} s"
    )


def _solver(problem: Problem, axis: MemoryAxis, max_weights_bytes: int | None) -> PlacingSolver[FlowSolver]:
    validate(problem)
    if max_weights_bytes is not None:
        least_bytes = sum(min(option.weights_bytes for option in node.options) for node in problem.nodes)
        if least_bytes > max_weights_bytes:
            raise Infeasible(axis, None, None, None)
    flow = flows.build(problem, axis, weights_matter=max_weights_bytes is not None)
    matrix = compile_model(build_model(flow, max_weights_bytes))
    solver = FlowSolver(flow, matrix, max_weights_bytes)
    opinion = SecondOpinion(problem, axis)
    if axis is not MemoryAxis.TOTAL and max_weights_bytes is None:
        solver.incumbent_from = opinion.fastest
    return PlacingSolver(solver, opinion)


def _point(placed: Placed, bound_ns: int) -> FrontPoint:
    outcome = placed.outcome
    assert outcome.selection is not None
    assert outcome.evaluation is not None
    time_ns = outcome.evaluation.time_ns
    bound_ns = min(bound_ns, time_ns)
    proven = bound_ns == time_ns
    gap = 0.0 if proven else (time_ns - bound_ns) / time_ns
    return FrontPoint(outcome.selection, outcome.evaluation, proven, bound_ns, gap, outcome.solve_s, placed.arena)


def _why(outcome: Outcome, budget_bytes: int | None) -> str:
    if outcome.stopped is Stopped.CANCELLED:
        return "cancelled"
    at = "without a budget" if budget_bytes is None else f"at a budget of {budget_bytes} bytes"
    if outcome.stopped is Stopped.OFFSETS or outcome.stopped is Stopped.FINISHED:
        return f"{at} selections fit in live bytes, but no offsets were found or ruled out"
    return f"{outcome.stopped.replace('_', ' ')} {at} before any selection was found"


def least_memory(solver: PlacingSolver[Any], time_limit_s: float | None = None) -> FrontPoint | None:
    """The fastest selection of least memory, by bisection on the budget; None when not found or not proven.

    A selection that is fastest within a budget is also fastest within the memory it attains, so the last one found
    is the answer.
    """
    best = solver.solve(None, time_limit_s)
    if best.outcome.evaluation is None:
        return None
    step_bytes = solver.problem.align_bytes if solver.axis is MemoryAxis.ARENA else 1
    low, high = solver.solver.least_bytes, best.bytes_used
    probe = low
    while low < high:
        found = solver.solve(probe, time_limit_s)
        if found.outcome.held is Held.INFEASIBILITY:
            low = probe + step_bytes - probe % step_bytes
        elif found.outcome.evaluation is None:
            return None
        else:
            best, high = found, found.bytes_used
        probe = (low + high) // 2
    return _point(best, best.outcome.bound_ns)


def _infeasible(solver: PlacingSolver[FlowSolver], budget_bytes: int | None) -> Infeasible:
    least = least_memory(solver)
    if least is None:
        return Infeasible(solver.axis, budget_bytes, None, None)
    step = bottleneck(solver.problem, least.selection, solver.axis)
    return Infeasible(solver.axis, budget_bytes, least.on(solver.axis), step)


def _finish(solver: PlacingSolver[FlowSolver], found: _Descent, verify: bool, started: float) -> Front:
    """Order the points, find the smallest memory, certify."""
    problem, axis, because = solver.problem, solver.axis, found.because
    most = solver.solver.max_weights_bytes
    least = found.points[-1] if not because else None if because == "cancelled" else least_memory(solver)
    ordered = tuple(reversed(found.points))
    uncertified = "not asked for"
    if verify:
        uncertified = certify(solver.opinion, most, ordered, solver.cuts, complete=not because)
    used = [method for method in ("lp", "mip") if method in found.methods]
    summed = problem.has_residents and axis is not MemoryAxis.WORKSPACE
    second = "dp" if most is None and not summed else "labels"
    certified_by = "highs-" + "+".join(used) + ("" if uncertified else f"+{second}")
    alone = found.methods.count("dp")
    if alone:
        certified_by = "dp"
        uncertified = uncertified or (
            f"the relaxation is fractional and HiGHS took too long at {alone} of {len(found.methods)} steps: "
            "the dynamic program alone has proven them"
        )
    return Front(
        axis=axis,
        points=ordered,
        certified_by=certified_by,
        uncertified_because=uncertified,
        complete=not because,
        incomplete_because=because,
        solve_s=time.perf_counter() - started,
        smallest_bytes=None if least is None else least.on(axis),
        smallest=None if least is None else bottleneck(problem, least.selection, axis),
    )
