"""Exact fronts: descend the budget just below each optimum's memory on one solver, then certify by the other method."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from solver import flow as flows
from solver.dp import DynamicProgram, TooWide
from solver.evaluate import Bottleneck, bottleneck, evaluate
from solver.highs import FlowSolver
from solver.model import build_model, compile_model
from solver.outcome import Held, Outcome, Stopped
from solver.pareto import ParetoProgram
from solver.problem import Evaluation, MemoryAxis, Problem, Selection, validate
from solver.totals import Cancelled, trace_total

CONFIRM_S = 5.0  # HiGHS takes about half a second per step of a total front; a whole one can have a thousand


@dataclass(frozen=True)
class FrontPoint:
    """One efficient selection. `proven`: nothing within its memory is faster; else nothing beats `bound_ns`."""

    selection: Selection
    evaluation: Evaluation
    proven: bool
    bound_ns: int
    gap: float
    solve_s: float


@dataclass(frozen=True)
class Front:
    """Efficient points by rising memory on `axis`.

    `complete`: no efficient point is missing; else `incomplete_because` says which limit ended the trace (the points
    given are still the ones of largest memory). `certified_by` names the methods that agree on every point:
    "highs-lp+dp", "highs-lp+mip+dp", with a bound on weights "highs-lp+mip+labels", or on the total axis
    "labels+highs-mip". When the second method is not among them, `uncertified_because` says why; points are still
    proven, by the first alone.
    `smallest_bytes` is the least budget any selection fits and `smallest` what needs it; None only when a limit or
    a cancellation came before it was known.
    """

    axis: MemoryAxis
    points: tuple[FrontPoint, ...]
    certified_by: str
    uncertified_because: str
    complete: bool
    incomplete_because: str
    solve_s: float
    smallest_bytes: int | None
    smallest: Bottleneck | None


class Infeasible(Exception):
    """No selection fits the budget. Carries the least budget that works and the step that needs it.

    `smallest_bytes` is None when no selection exists at all, whatever the budget.
    """

    def __init__(self, axis: MemoryAxis, budget_bytes: int | None, smallest_bytes: int | None, step: Bottleneck | None):
        if smallest_bytes is None:
            message = "no selection exists: the layouts of some nodes cannot be joined, or the weights bound is too low"
        else:
            message = f"no selection fits {budget_bytes} bytes of {axis}; the least is {smallest_bytes} ({step})"
        super().__init__(message)
        self.axis, self.budget_bytes, self.smallest_bytes, self.step = axis, budget_bytes, smallest_bytes, step


class Contradiction(Exception):
    """Two exact methods disagree: a bug or a numerical failure. Nothing may be reported as optimal."""


OnPoint = Callable[[FrontPoint], None]
ShouldCancel = Callable[[], bool]


def solve_one(
    problem: Problem,
    axis: MemoryAxis,
    budget_bytes: int | None,
    *,
    max_weights_bytes: int | None = None,
    time_limit_s: float | None = None,
) -> Outcome:
    """The fastest selection within `budget_bytes` on `axis` (None: no budget). Raises Infeasible when none fits."""
    solver = _solver(problem, axis, max_weights_bytes)
    solver.set_budget(budget_bytes)
    outcome = solver.solve(time_limit_s)
    if outcome.held is Held.INFEASIBILITY:
        raise _infeasible(problem, axis, budget_bytes, solver)
    return outcome


def fastest(problem: Problem, *, max_weights_bytes: int | None = None) -> Outcome:
    """The fastest selection, whatever arena it takes."""
    return solve_one(problem, MemoryAxis.ARENA, None, max_weights_bytes=max_weights_bytes)


def smallest(problem: Problem, axis: MemoryAxis, *, max_weights_bytes: int | None = None) -> FrontPoint:
    """The fastest selection among those of least memory on `axis`."""
    solver = _solver(problem, axis, max_weights_bytes)
    found = _smallest(solver)
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

    `on_point` gets each point once it is final, by falling memory (an unproven one may still be withdrawn).
    `should_cancel` is asked between solves and inside long ones. Raises Infeasible when no selection exists,
    Contradiction when the certificate disagrees. On the total axis a label search finds the whole front first, and
    points come only at its end; `time_limit_s_per_point` bounds HiGHS, which takes over where that search is too wide.
    """
    started = time.perf_counter()
    if axis is MemoryAxis.TOTAL:
        validate(problem)
        try:
            return _trace_total(problem, max_weights_bytes, on_point, should_cancel, max_points, verify, started)
        except TooWide:
            pass  # the MIP descent below needs no tables
    solver = _solver(problem, axis, max_weights_bytes)
    points: list[FrontPoint] = []
    methods: list[str] = []
    last: FrontPoint | None = None
    bound_ns = 0  # what cannot be beaten with more memory cannot be beaten with less
    because = ""
    budget: int | None = None
    while True:
        if should_cancel is not None and should_cancel():
            because = "cancelled"
            break
        solver.set_budget(budget)
        outcome = solver.solve(time_limit_s_per_point, should_cancel)
        methods.append(outcome.method)
        if outcome.held is Held.INFEASIBILITY:
            break
        if outcome.held is Held.NOTHING:
            because = _why(outcome, budget)
            break
        bound_ns = max(bound_ns, outcome.bound_ns)
        point = _point(outcome, bound_ns)
        budget = point.evaluation.on(axis) - 1
        if last is not None and last.evaluation.time_ns < point.evaluation.time_ns:
            if max_points is not None and len(points) + 1 == max_points:
                because = f"stopped after {max_points} points"
                break
            points.append(last)
            if on_point is not None:
                on_point(last)
        while points and points[-1].evaluation.time_ns >= point.evaluation.time_ns:
            points.pop()  # an unproven point that a smaller budget beat
        last = point
        if outcome.stopped is Stopped.CANCELLED:
            because = "cancelled"
            break
    if last is not None:
        points.append(last)
        if on_point is not None:
            on_point(last)
    elif not because:
        raise Infeasible(axis, None, None, None)
    return _finish(solver, points, methods, because, verify, started)


def _trace_total(
    problem: Problem,
    max_weights_bytes: int | None,
    on_point: OnPoint | None,
    should_cancel: ShouldCancel | None,
    max_points: int | None,
    verify: bool,
    started: float,
) -> Front:
    """The front of arena plus weights by label search, then as many of its steps by HiGHS as CONFIRM_S allows."""
    axis = MemoryAxis.TOTAL
    try:
        choices = trace_total(problem, max_weights_bytes, should_cancel)
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
        points.append(FrontPoint(choice.selection, figures, True, figures.time_ns, 0.0, search_s / len(choices)))
    shown = points if max_points is None else points[-max_points:]
    for point in reversed(shown):
        if on_point is not None:
            on_point(point)
    uncertified = _confirm_total(problem, max_weights_bytes, points, should_cancel) if verify else "not asked for"
    complete = len(shown) == len(points)
    return Front(
        axis=axis,
        points=tuple(shown),
        certified_by="labels" if uncertified else "labels+highs-mip",
        uncertified_because=uncertified,
        complete=complete,
        incomplete_because="" if complete else f"stopped after {max_points} points",
        solve_s=time.perf_counter() - started,
        smallest_bytes=points[0].evaluation.total_bytes,
        smallest=bottleneck(problem, points[0].selection, axis),
    )


def _confirm_total(
    problem: Problem, max_weights_bytes: int | None, points: list[FrontPoint], should_cancel: ShouldCancel | None
) -> str:
    """Solve the steps of a total front with HiGHS, evenly spread first; returns "" when all of them agree."""
    solver = _solver(problem, MemoryAxis.TOTAL, max_weights_bytes)
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
        _compare(budgets[i], answers[i], None if outcome.evaluation is None else outcome.evaluation.time_ns)
        confirmed += 1
    return (
        "" if confirmed == len(budgets) else f"HiGHS confirmed {confirmed} of {len(budgets)} steps in {CONFIRM_S:g} s"
    )


def _solver(problem: Problem, axis: MemoryAxis, max_weights_bytes: int | None) -> FlowSolver:
    validate(problem)
    if max_weights_bytes is not None:
        least_bytes = sum(min(option.weights_bytes for option in node.options) for node in problem.nodes)
        if least_bytes > max_weights_bytes:
            raise Infeasible(axis, None, None, None)
    flow = flows.build(problem, axis, weights_matter=max_weights_bytes is not None)
    matrix = compile_model(build_model(flow, max_weights_bytes))
    return FlowSolver(flow, matrix, max_weights_bytes)


def _point(outcome: Outcome, bound_ns: int) -> FrontPoint:
    assert outcome.selection is not None
    assert outcome.evaluation is not None
    time_ns = outcome.evaluation.time_ns
    bound_ns = min(bound_ns, time_ns)
    proven = bound_ns == time_ns
    gap = 0.0 if proven else (time_ns - bound_ns) / time_ns
    return FrontPoint(outcome.selection, outcome.evaluation, proven, bound_ns, gap, outcome.solve_s)


def _why(outcome: Outcome, budget_bytes: int | None) -> str:
    if outcome.stopped is Stopped.CANCELLED:
        return "cancelled"
    at = "without a budget" if budget_bytes is None else f"at a budget of {budget_bytes} bytes"
    return f"{outcome.stopped.replace('_', ' ')} {at} before any selection was found"


def _smallest(solver: FlowSolver, time_limit_s: float | None = None) -> FrontPoint | None:
    """The fastest selection of least memory, by bisection on the budget; None when not found or not proven.

    A selection that is fastest within a budget is also fastest within the memory it attains, so the last one found
    is the answer.
    """
    axis = solver.flow.axis
    solver.set_budget(None)
    outcome = solver.solve(time_limit_s)
    if outcome.evaluation is None:
        return None
    low, high = solver.least_bytes, outcome.evaluation.on(axis)
    best = outcome
    probe = low
    while low < high:
        solver.set_budget(probe)
        outcome = solver.solve(time_limit_s)
        if outcome.held is Held.INFEASIBILITY:
            low = probe + 1
        elif outcome.evaluation is None:
            return None
        else:
            best, high = outcome, outcome.evaluation.on(axis)
        probe = (low + high) // 2
    return _point(best, best.bound_ns)


def _infeasible(problem: Problem, axis: MemoryAxis, budget_bytes: int | None, solver: FlowSolver) -> Infeasible:
    least = _smallest(solver)
    if least is None:
        return Infeasible(axis, budget_bytes, None, None)
    step = bottleneck(problem, least.selection, axis)
    return Infeasible(axis, budget_bytes, least.evaluation.on(axis), step)


def _finish(
    solver: FlowSolver, points: list[FrontPoint], methods: list[str], because: str, verify: bool, started: float
) -> Front:
    """Order the points, find the smallest memory, certify."""
    problem, axis = solver.flow.problem, solver.flow.axis
    least = points[-1] if not because else None if because == "cancelled" else _smallest(solver)
    ordered = tuple(reversed(points))
    uncertified = _certify(solver, ordered, complete=not because) if verify else "not asked for"
    used = [method for method in ("lp", "mip") if method in methods]
    second = "dp" if solver.max_weights_bytes is None else "labels"
    return Front(
        axis=axis,
        points=ordered,
        certified_by="highs-" + "+".join(used) + ("" if uncertified else f"+{second}"),
        uncertified_because=uncertified,
        complete=not because,
        incomplete_because=because,
        solve_s=time.perf_counter() - started,
        smallest_bytes=None if least is None else least.evaluation.on(axis),
        smallest=None if least is None else bottleneck(problem, least.selection, axis),
    )


def _certify(solver: FlowSolver, points: tuple[FrontPoint, ...], *, complete: bool) -> str:
    """Solve each step of the front again without HiGHS; returns why that was not possible, or ""."""
    problem, axis, most = solver.flow.problem, solver.flow.axis, solver.max_weights_bytes
    steps: list[tuple[int | None, FrontPoint | None]] = []
    budget: int | None = None
    for point in reversed(points):
        steps.append((budget, point))
        budget = point.evaluation.on(axis) - 1
    if complete:
        steps.append((budget, None))
    if axis is MemoryAxis.TOTAL:
        return "the layouts interact too widely for a label search"
    try:
        if most is None:
            program = DynamicProgram(problem, axis)
            for within, claim in steps:
                solved = program.solve(within)
                _compare(within, claim, None if solved is None else solved.time_ns)
        else:
            search = ParetoProgram(problem, axis)
            for within, claim in steps:
                _compare(within, claim, search.fastest_ns(within, most, claim.evaluation.time_ns if claim else None))
    except TooWide as error:
        return str(error)
    return ""


def _compare(budget_bytes: int | None, point: FrontPoint | None, found_ns: int | None) -> None:
    """Raise Contradiction unless the other method's optimum is what the point claims (None: nothing fits)."""
    if point is None:
        agrees = found_ns is None
    elif point.proven:
        agrees = found_ns == point.evaluation.time_ns
    else:
        agrees = found_ns is not None and point.bound_ns <= found_ns <= point.evaluation.time_ns
    if not agrees:
        claimed = "nothing fits" if point is None else f"{point.bound_ns}..{point.evaluation.time_ns} ns"
        raise Contradiction(f"within {budget_bytes} bytes: HiGHS says {claimed}, the dynamic program {found_ns} ns")
