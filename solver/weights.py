"""The exact front of weights against latency within a given arena: label searches, confirmed by HiGHS step by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from solver.certificate import compare
from solver.confirm import confirmation, in_time
from solver.evaluate import evaluate
from solver.front import Contradiction, FrontPoint
from solver.labels import TooMany
from solver.levels import Choice
from solver.outcome import Held
from solver.problem import MemoryAxis, Problem, validate
from solver.sums import Step, confirm
from solver.tables import TooWide
from solver.warm import WarmSolver
from solver.weights_labels import front

LABELS_S = 300.0  # for a front by labels with resident weights in a bounded arena
DESCENT_S = 300.0  # for a front by HiGHS


@dataclass(frozen=True)
class WeightsFront:
    """Efficient points by rising weights, all with an arena of at most `arena_bytes` (None: any).

    `certified_by` is "labels+highs-mip" when HiGHS confirmed every step, else "labels" and `uncertified_because`; or
    "highs-mip" when the tables of the label search would not fit or, with resident weights in a bounded arena, a search
    has too many labels; "highs-mip+labels" says that searches step by step (solver.sums) agree. `complete` and
    `incomplete_because` as in Front.
    """

    arena_bytes: int | None
    points: tuple[FrontPoint, ...]
    certified_by: str
    uncertified_because: str
    complete: bool
    incomplete_because: str
    solve_s: float


def trace_weights(
    problem: Problem,
    arena_bytes: int | None = None,
    *,
    max_weights_bytes: int | None = None,
    on_point: Callable[[FrontPoint], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
    max_points: int | None = None,
    time_limit_s_per_point: float | None = None,
    verify: bool = True,
) -> WeightsFront:
    """All efficient (weights, time) pairs within the arena, one selection each.

    Raises Infeasible, with the least arena that works, when nothing fits; Contradiction when HiGHS disagrees. Where
    the label search is too wide, HiGHS descends the bound on weights alone.
    """
    validate(problem)
    started = time.perf_counter()
    because = uncertified = ""
    solver: WarmSolver | None = None
    try:
        deadline_s = started + LABELS_S

        def should_stop() -> bool:
            return time.perf_counter() > deadline_s or (should_cancel is not None and should_cancel())

        choices = front(problem, arena_bytes, max_weights_bytes, should_stop)
        method = "labels"
        points = [_proven(problem, choice, arena_bytes) for choice in choices]
        if points and verify:
            solver = WarmSolver(problem, MemoryAxis.ARENA, prune=True)
            uncertified = _confirm(solver, arena_bytes, max_weights_bytes, points, should_cancel)
            method = "labels" if uncertified else "labels+highs-mip"
        elif not verify:
            uncertified = "not asked for"
    except (TooWide, TooMany) as error:
        solver = WarmSolver(problem, MemoryAxis.ARENA, prune=True)
        points, because = _descend(
            solver, arena_bytes, max_weights_bytes, should_cancel, max_points, time_limit_s_per_point
        )
        method, uncertified = "highs-mip", str(error)
        if problem.has_residents and points and verify:
            limit_s = time.perf_counter() - started  # as long as HiGHS took
            uncertified = _confirm_sums(
                problem, arena_bytes, max_weights_bytes, points, not because, should_cancel, limit_s
            )
            method = "highs-mip" if uncertified else "highs-mip+labels"
    if not points and not because:
        solver = solver or WarmSolver(problem, MemoryAxis.ARENA, prune=True)
        solver.limit(max_weights_bytes=max_weights_bytes)
        raise solver.infeasible(arena_bytes)
    if max_points is not None and len(points) > max_points:
        points, because = points[-max_points:], f"stopped after {max_points} points"
    for point in reversed(points):
        if on_point is not None:
            on_point(point)
    return WeightsFront(
        arena_bytes=arena_bytes,
        points=tuple(points),
        certified_by=method,
        uncertified_because=uncertified,
        complete=not because,
        incomplete_because=because,
        solve_s=time.perf_counter() - started,
    )


def _proven(problem: Problem, choice: Choice, arena_bytes: int | None) -> FrontPoint:
    figures = evaluate(problem, choice.selection)
    fits = arena_bytes is None or figures.arena_bytes <= arena_bytes
    if (figures.time_ns, figures.weights_bytes) != (choice.time_ns, choice.weights_bytes) or not fits:
        raise Contradiction(f"the label search says {choice}, the evaluation {figures}")
    return FrontPoint(choice.selection, figures, True, figures.time_ns, 0.0, 0.0)


def _confirm(
    solver: WarmSolver,
    arena_bytes: int | None,
    max_weights_bytes: int | None,
    points: list[FrontPoint],
    should_cancel: Callable[[], bool] | None,
) -> str:
    """Solve the steps of the front by HiGHS, evenly spread first; "" when all agree, else why not all were solved."""
    # Step i: one byte of weights below point i the answer is point i - 1; within the bound it is the last point.
    bounds = [*(point.evaluation.weights_bytes - 1 for point in points), max_weights_bytes]
    answers: list[FrontPoint | None] = [None, *points]
    confirmed = 0
    for i, left_s in in_time(len(bounds), should_cancel):
        solver.limit(max_weights_bytes=bounds[i])
        outcome = solver.ask(arena_bytes, time_limit_s=left_s, should_cancel=should_cancel)
        if not outcome.proven:
            break
        answer = answers[i]
        found_ns = None if outcome.evaluation is None else outcome.evaluation.time_ns
        claimed_ns = None if answer is None else answer.evaluation.time_ns
        if found_ns != claimed_ns:
            raise Contradiction(f"within {bounds[i]} bytes of weights: labels say {claimed_ns} ns, HiGHS {found_ns} ns")
        confirmed += 1
    return confirmation(confirmed, len(bounds))


def _confirm_sums(
    problem: Problem,
    arena_bytes: int | None,
    max_weights_bytes: int | None,
    points: list[FrontPoint],
    complete: bool,
    should_cancel: Callable[[], bool] | None,
    limit_s: float,
) -> str:
    """Search the steps of HiGHS' front by labels of three sums; "" when all agree, else why not all were searched."""
    bounds = [*(point.evaluation.weights_bytes - 1 for point in points[1:]), max_weights_bytes]
    steps = [Step(arena_bytes, bound, point) for bound, point in zip(bounds, points, strict=True)]
    if complete:
        steps.append(Step(arena_bytes, points[0].evaluation.weights_bytes - 1, None))
    try:
        return confirm(problem, MemoryAxis.ARENA, steps, compare, should_cancel, limit_s)
    except TooWide as error:
        return str(error)


def _descend(
    solver: WarmSolver,
    arena_bytes: int | None,
    max_weights_bytes: int | None,
    should_cancel: Callable[[], bool] | None,
    max_points: int | None,
    time_limit_s: float | None,
) -> tuple[list[FrontPoint], str]:
    """The front by HiGHS alone, by rising weights, and why it is incomplete."""
    found: list[FrontPoint] = []
    deadline_s = time.perf_counter() + DESCENT_S
    bound_ns = 0  # what cannot be beaten with more weights cannot be beaten with fewer
    most = max_weights_bytes
    because = ""
    while True:
        if should_cancel is not None and should_cancel():
            because = "cancelled"
            break
        if max_points is not None and len(found) > max_points:
            because = f"stopped after {max_points} points"
            break
        left_s = deadline_s - time.perf_counter()
        if left_s <= 0:
            because = f"stopped after {DESCENT_S:g} s: points of fewer than {most} bytes of weights are not known"
            break
        solver.limit(max_weights_bytes=most)
        limit_s = left_s if time_limit_s is None else min(time_limit_s, left_s)
        outcome = solver.ask(arena_bytes, time_limit_s=limit_s, should_cancel=should_cancel)
        if outcome.held is Held.INFEASIBILITY:
            break
        if outcome.selection is None or outcome.evaluation is None:
            because = f"{outcome.stopped.replace('_', ' ')} within {most} bytes of weights"
            break
        bound_ns = max(bound_ns, outcome.bound_ns)
        figures = outcome.evaluation
        low_ns = min(bound_ns, figures.time_ns)
        gap = (figures.time_ns - low_ns) / figures.time_ns if figures.time_ns else 0.0
        point = FrontPoint(outcome.selection, figures, low_ns == figures.time_ns, low_ns, gap, outcome.solve_s)
        while found and found[-1].evaluation.time_ns >= figures.time_ns:
            found.pop()  # equal time with more weights, or an unproven point that a smaller bound beat
        found.append(point)
        most = figures.weights_bytes - 1
    return found[::-1], because
