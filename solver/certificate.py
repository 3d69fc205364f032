"""The second opinion on a front: each of its steps solved again without HiGHS."""

from __future__ import annotations

from collections.abc import Sequence

from solver.dp import SecondOpinion
from solver.front import Contradiction, FrontPoint
from solver.front import Step as FrontStep
from solver.pareto import ParetoProgram
from solver.problem import Cut, MemoryAxis
from solver.sums import Step, confirm
from solver.tables import TooWide


def certify(
    opinion: SecondOpinion,
    max_weights_bytes: int | None,
    steps: Sequence[FrontStep],
    cuts: Sequence[Cut],
) -> str:
    """Solve each step (budget, what was found) of a front again; returns why that was not possible, or "".

    `cuts` are the selections that cannot be laid out within the budget at which they came up.
    """
    problem, axis = opinion.problem, opinion.axis
    if problem.has_residents and axis is not MemoryAxis.WORKSPACE:
        if any(cut.binds(within) for within, _ in steps for cut in cuts):
            return "offsets rule out selections, which the label search cannot leave out"
        try:
            return confirm(problem, axis, [Step(within, max_weights_bytes, claim) for within, claim in steps], compare)
        except TooWide as error:
            return str(error)
    if axis is MemoryAxis.TOTAL:
        return "the layouts interact too widely for a label search"
    try:
        if max_weights_bytes is None:
            program = opinion.program
            for within, claim in steps:
                compare(within, claim, program.fastest_ns(within, cuts))
        else:
            search = ParetoProgram(problem, axis)
            for within, claim in steps:
                known_ns = claim.evaluation.time_ns if claim else None
                found_ns = search.fastest_ns(within, max_weights_bytes, known_ns)
                if found_ns != known_ns and any(cut.binds(within) for cut in cuts):
                    return "offsets rule out selections, which the label search cannot leave out"
                compare(within, claim, found_ns)
    except TooWide as error:
        return str(error)
    return ""


def compare(budget_bytes: int | None, point: FrontPoint | None, found_ns: int | None) -> None:
    """Raise Contradiction unless the other method's optimum is what the point claims (None: nothing fits)."""
    if point is None:
        agrees = found_ns is None
    elif point.proven:
        agrees = found_ns == point.evaluation.time_ns
    else:
        agrees = found_ns is not None and point.bound_ns <= found_ns <= point.evaluation.time_ns
    if not agrees:
        claimed = "nothing fits" if point is None else f"{point.bound_ns}..{point.evaluation.time_ns} ns"
        raise Contradiction(f"within {budget_bytes} bytes: one method says {claimed}, the other {found_ns} ns")
