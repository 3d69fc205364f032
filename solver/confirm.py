"""HiGHS on a problem, and as second method for fronts found by labels: their steps solved again, for some seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from solver import flow as flows
from solver.certificate import compare
from solver.dp import SecondOpinion
from solver.front import FrontPoint, Infeasible, ShouldCancel, Step
from solver.highs import FlowSolver
from solver.model import build_model, compile_model
from solver.offsets import PlacingSolver
from solver.problem import Cut, MemoryAxis, Problem, Selection, validate

CONFIRM_S = 5.0  # HiGHS takes about half a second per step of a total front; a whole one can have a thousand


def highs(problem: Problem, axis: MemoryAxis, max_weights_bytes: int | None) -> PlacingSolver[FlowSolver]:
    """HiGHS on a problem. Raises Infeasible where no selection is within the bound on weights."""
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


def confirm_total(
    problem: Problem, max_weights_bytes: int | None, points: list[FrontPoint], should_cancel: ShouldCancel | None
) -> str:
    """Solve the steps of a front in live bytes with HiGHS, evenly spread first; returns "" when all of them agree."""
    # Step i: one byte below point i, the answer is point i - 1; without a budget it is the last point.
    budgets: list[int | None] = [point.evaluation.total_bytes - 1 for point in points]
    steps = list(zip([*budgets, None], [None, *points], strict=True))
    return _confirm(highs(problem, MemoryAxis.TOTAL, max_weights_bytes).solver, steps, should_cancel)


def confirm_descent(solver: PlacingSolver[Any], steps: Sequence[Step], should_cancel: ShouldCancel | None) -> str:
    """Solve the steps of a descent by labels with HiGHS, which knows what they found; as confirm_total."""
    asked = highs(solver.problem, solver.axis, solver.solver.max_weights_bytes).solver
    for cut in solver.cuts:
        asked.forbid(cut)
    claims = dict(steps)

    def incumbent(budget_bytes: int | None, _: Sequence[Cut]) -> Selection | None:
        claim = claims[budget_bytes]
        return None if claim is None else claim.selection

    asked.incumbent_from = incumbent
    return _confirm(asked, steps[::-1], should_cancel)


def _confirm(asked: FlowSolver, steps: Sequence[Step], should_cancel: ShouldCancel | None) -> str:
    """Solve steps (budget, claim) by rising budget with HiGHS, evenly spread first; "" when it confirms all of them."""
    confirmed = 0
    for i, left_s in in_time(len(steps), should_cancel):
        budget, claim = steps[i]
        asked.set_budget(budget)
        outcome = asked.solve(left_s, should_cancel)
        if not outcome.proven:
            break
        if outcome.method != "dp":  # else it was left to the method that is to be confirmed
            compare(budget, claim, None if outcome.evaluation is None else outcome.evaluation.time_ns)
            confirmed += 1
    return confirmation(confirmed, len(steps))


def in_time(count: int, should_cancel: ShouldCancel | None) -> Iterator[tuple[int, float]]:
    """Steps to confirm, evenly spread first, each with the seconds left, while CONFIRM_S lasts."""
    deadline_s = time.perf_counter() + CONFIRM_S
    for i in sorted(range(count), key=lambda i: (-(i & -i) if i else -count, i)):
        left_s = deadline_s - time.perf_counter()
        if left_s <= 0 or (should_cancel is not None and should_cancel()):
            return
        yield i, left_s


def confirmation(confirmed: int, count: int) -> str:
    """Why a front is not confirmed; "" when all its steps are."""
    return "" if confirmed == count else f"HiGHS confirmed {confirmed} of {count} steps in {CONFIRM_S:g} s"
