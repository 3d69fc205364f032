"""Exact fronts: descend the budget just below each optimum's memory on one solver, then certify by the other method.

The solver is HiGHS, and the other method a dynamic program; where weights are bounded or counted it is labels, and
HiGHS the other method.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass, field
from typing import Any

from solver.bounded import LabelSolver
from solver.certificate import certify
from solver.confirm import confirm_descent, confirm_total, highs
from solver.evaluate import bottleneck, evaluate
from solver.front import Contradiction, Front, FrontPoint, Infeasible, OnPoint, ShouldCancel, Step
from solver.highs import FlowSolver
from solver.offsets import Placed, PlacingSolver, laid_out
from solver.outcome import Held, Outcome, Stopped
from solver.problem import MemoryAxis, Problem, validate
from solver.tables import TooWide
from solver.totals import Cancelled, trace_total

DESCENT_S = 300.0  # for all points of a descent
LEAST_S = 30.0  # for the least memory of a front that a limit ended


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
        outcome: Outcome = solver.solver.solve(time_limit_s)
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
    search is too wide. No descent takes longer than DESCENT_S.
    """
    started = time.perf_counter()
    limits = _Limits(time_limit_s_per_point, on_point, should_cancel, max_points, started + DESCENT_S)
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
    return _finish(solver, found, verify, started, should_cancel)


@dataclass(frozen=True)
class _Limits:
    """What ends a descent early, and who hears of its points."""

    time_limit_s: float | None = None
    on_point: OnPoint | None = None
    should_cancel: ShouldCancel | None = None
    max_points: int | None = None
    deadline_s: float = math.inf

    @property
    def left_s(self) -> float | None:
        """The time there is for the next solve."""
        most_s = math.inf if self.time_limit_s is None else self.time_limit_s
        left_s = min(most_s, max(0.0, self.deadline_s - time.perf_counter()))
        return None if math.isinf(left_s) else left_s

    def announce(self, point: FrontPoint) -> None:
        if self.on_point is not None:
            self.on_point(point)


@dataclass
class _Descent:
    """Points by falling memory, the methods that found them, and why there are no more; "" when there are none.

    `steps` are budgets and what was found there, None where nothing fits; equal times are one step.
    """

    points: list[FrontPoint] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    because: str = ""


def _descend(solver: PlacingSolver[Any], limits: _Limits, budget: int | None = None, least_bytes: int = 0) -> _Descent:
    """Efficient points from `budget` down, for budgets of at least `least_bytes`."""
    found = _Descent()
    last: FrontPoint | None = None
    bound_ns = 0  # what cannot be beaten with more memory cannot be beaten with less
    while budget is None or budget >= least_bytes:
        if limits.should_cancel is not None and limits.should_cancel():
            found.because = "cancelled"
            break
        if time.perf_counter() >= limits.deadline_s:
            found.because = f"stopped after {DESCENT_S:g} s: points of less than {budget} bytes are not known"
            break
        placed = solver.solve(budget, limits.left_s, limits.should_cancel)
        outcome = placed.outcome
        found.methods.append(outcome.method)
        if outcome.held is Held.INFEASIBILITY:
            found.steps.append((budget, None))
            break
        if outcome.evaluation is None:
            found.because = _why(outcome, budget)
            break
        bound_ns = max(bound_ns, outcome.bound_ns)
        point = _point(placed, bound_ns)
        _take_step(found.steps, budget, point)
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


def _take_step(steps: list[Step], budget: int | None, point: FrontPoint) -> None:
    last = steps[-1][1] if steps else None
    if last is not None and last.proven and last.evaluation.time_ns == point.evaluation.time_ns:
        budget, _ = steps.pop()
    steps.append((budget, point))


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
        uncertified = confirm_total(problem, max_weights_bytes, points, limits.should_cancel)
    because = ""
    if any(point.on(axis) > point.evaluation.total_bytes for point in points):
        points, because = _repair(highs(problem, axis, max_weights_bytes), limits, points)
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
    quiet = dataclasses.replace(limits, on_point=None, max_points=None)
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


def _solver(problem: Problem, axis: MemoryAxis, max_weights_bytes: int | None) -> PlacingSolver[Any]:
    """Labels where weights are bounded and the axis is no sum, else HiGHS."""
    summed = axis is MemoryAxis.TOTAL or (problem.has_residents and axis is not MemoryAxis.WORKSPACE)
    if max_weights_bytes is not None and not summed:
        validate(problem)
        try:
            return PlacingSolver(LabelSolver(problem, axis, max_weights_bytes))
        except TooWide:
            pass  # HiGHS needs no tables
    return highs(problem, axis, max_weights_bytes)


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


def least_memory(
    solver: PlacingSolver[Any], time_limit_s: float | None = None, should_cancel: ShouldCancel | None = None
) -> FrontPoint | None:
    """The fastest selection of least memory, by bisection on the budget; None when not found or not proven in time.

    A selection that is fastest within a budget is also fastest within the memory it attains, so the last one found
    is the answer.
    """
    deadline_s = None if time_limit_s is None else time.perf_counter() + time_limit_s

    def solve(budget: int | None) -> Placed:
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.perf_counter())
        return solver.solve(budget, left_s, should_cancel)

    best = solve(None)
    if best.outcome.evaluation is None:
        return None
    step_bytes = solver.problem.align_bytes if solver.axis is MemoryAxis.ARENA else 1
    low, high = solver.solver.least_bytes, best.bytes_used
    probe = low
    while low < high:
        found = solve(probe)
        if found.outcome.held is Held.INFEASIBILITY:
            low = probe + step_bytes - probe % step_bytes
        elif found.outcome.evaluation is None:
            return None
        else:
            best, high = found, found.bytes_used
        probe = (low + high) // 2
    return _point(best, best.outcome.bound_ns)


def _infeasible(solver: PlacingSolver[Any], budget_bytes: int | None) -> Infeasible:
    least = least_memory(solver)
    if least is None:
        return Infeasible(solver.axis, budget_bytes, None, None)
    step = bottleneck(solver.problem, least.selection, solver.axis)
    return Infeasible(solver.axis, budget_bytes, least.on(solver.axis), step)


def _finish(
    solver: PlacingSolver[Any], found: _Descent, verify: bool, started: float, should_cancel: ShouldCancel | None
) -> Front:
    """Order the points, find the smallest memory, certify."""
    axis, because = solver.axis, found.because
    least = found.points[-1] if not because else None
    if because and because != "cancelled":
        least = least_memory(solver, LEAST_S, should_cancel)
    ordered = tuple(reversed(found.points))
    certified_by, uncertified = _certified(solver, found, verify, should_cancel)
    return Front(
        axis=axis,
        points=ordered,
        certified_by=certified_by,
        uncertified_because=uncertified,
        complete=not because,
        incomplete_because=because,
        solve_s=time.perf_counter() - started,
        smallest_bytes=None if least is None else least.on(axis),
        smallest=None if least is None else bottleneck(solver.problem, least.selection, axis),
    )


def _certified(
    solver: PlacingSolver[Any], found: _Descent, verify: bool, should_cancel: ShouldCancel | None
) -> tuple[str, str]:
    """The methods that agree on a descent, and why the second one is not among them."""
    uncertified = "not asked for"
    if isinstance(solver.solver, LabelSolver):
        if verify:
            uncertified = confirm_descent(solver, found.steps, should_cancel)
        return "labels" if uncertified else "labels+highs-mip", uncertified
    most = solver.solver.max_weights_bytes
    if verify:
        uncertified = certify(solver.opinion, most, found.steps, solver.cuts)
    used = [method for method in ("lp", "mip") if method in found.methods]
    summed = solver.problem.has_residents and solver.axis is not MemoryAxis.WORKSPACE
    second = "dp" if most is None and not summed else "labels"
    certified_by = "highs-" + "+".join(used) + ("" if uncertified else f"+{second}")
    alone = found.methods.count("dp")
    if alone:
        certified_by = "dp"
        uncertified = uncertified or (
            f"the relaxation is fractional and HiGHS took too long at {alone} of {len(found.methods)} steps: "
            "the dynamic program alone has proven them"
        )
    return certified_by, uncertified
