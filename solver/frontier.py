"""Exact fronts: descend the budget just below each optimum's memory on one solver, then certify by the other method."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from solver import flow as flows
from solver.dp import DynamicProgram, TooWide
from solver.evaluate import Bottleneck, bottleneck
from solver.highs import FlowSolver
from solver.model import build_model, compile_model
from solver.outcome import Held, Outcome, Stopped
from solver.problem import Evaluation, MemoryAxis, Problem, Selection, validate


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
    given are still the ones of largest memory). `certified_by` names the methods that agree, "highs-lp+dp" or
    "highs-lp+mip+dp"; without a "+dp" `uncertified_because` says why the second method gives no answer.
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
    Contradiction when the certificate disagrees.
    """
    started = time.perf_counter()
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
    return Front(
        axis=axis,
        points=ordered,
        certified_by="highs-" + "+".join(used) + ("" if uncertified else "+dp"),
        uncertified_because=uncertified,
        complete=not because,
        incomplete_because=because,
        solve_s=time.perf_counter() - started,
        smallest_bytes=None if least is None else least.evaluation.on(axis),
        smallest=None if least is None else bottleneck(problem, least.selection, axis),
    )


def _certify(solver: FlowSolver, points: tuple[FrontPoint, ...], *, complete: bool) -> str:
    """Solve each step of the front again by dynamic programming; returns why that was not possible, or ""."""
    axis = solver.flow.axis
    if axis is MemoryAxis.TOTAL or solver.max_weights_bytes is not None:
        return "weights are bounded, which the dynamic program does not model"
    try:
        program = DynamicProgram(solver.flow.problem, axis)
    except TooWide as error:
        return str(error)
    budget: int | None = None
    for point in reversed(points):
        _compare(program, budget, point)
        budget = point.evaluation.on(axis) - 1
    if complete:
        _compare(program, budget, None)
    return ""


def _compare(program: DynamicProgram, budget_bytes: int | None, point: FrontPoint | None) -> None:
    solved = program.solve(budget_bytes)
    found_ns = None if solved is None else solved.time_ns
    if point is None:
        agrees = found_ns is None
    elif point.proven:
        agrees = found_ns == point.evaluation.time_ns
    else:
        agrees = found_ns is not None and point.bound_ns <= found_ns <= point.evaluation.time_ns
    if not agrees:
        claimed = "nothing fits" if point is None else f"{point.bound_ns}..{point.evaluation.time_ns} ns"
        raise Contradiction(f"within {budget_bytes} bytes: HiGHS says {claimed}, the dynamic program {found_ns} ns")
