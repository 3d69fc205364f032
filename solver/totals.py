"""The exact front of arena plus weights: label searches over ranges of arena levels. No HiGHS."""

from __future__ import annotations

from collections.abc import Callable

from solver.levels import Choice
from solver.pareto import ParetoProgram
from solver.problem import MemoryAxis, Problem
from solver.region import FAR, Corners
from solver.tables import TooWide


class Cancelled(Exception):
    """The caller asked to stop."""


def trace_total(
    problem: Problem, max_weights_bytes: int | None = None, should_cancel: Callable[[], bool] | None = None
) -> list[Choice]:
    """All efficient (arena + weights, time), by rising total. Raises TooWide or Cancelled.

    Arena levels are the needs of single choices. A range of levels is searched only if something within its largest
    level, charged with its smallest, can still improve the front found so far; ranges are halved down to one level.
    """
    if problem.has_residents:
        raise TooWide("resident weights are a sum beside the weights")
    owner = ParetoProgram(problem, MemoryAxis.ARENA)
    front: list[Choice] = []
    pending = [(0, len(owner.levels) - 1)] if len(owner.levels) else []
    while pending:
        if should_cancel is not None and should_cancel():
            raise Cancelled
        low, high = pending.pop()
        bounds, optima = owner.optima(int(owner.levels[high]))
        if not optima:
            continue
        front = _merge(front, optima, max_weights_bytes)
        corners = _improving(owner, front, int(owner.levels[low]), max_weights_bytes)
        if not corners.reach(bounds.total[:, None])[0]:
            continue
        if low < high:
            middle = (low + high) // 2
            pending += [(middle + 1, high), (low, middle)]  # the smaller levels first
        else:
            front = _merge(front, owner.search(bounds, corners), max_weights_bytes)
    return front


def _merge(front: list[Choice], found: list[Choice], max_weights_bytes: int | None) -> list[Choice]:
    """The efficient ones of both, by rising total; of equals the one already there."""
    best: list[Choice] = []
    for choice in sorted([*front, *found], key=lambda c: (c.need_bytes + c.weights_bytes, c.time_ns)):
        if max_weights_bytes is not None and choice.weights_bytes > max_weights_bytes:
            continue
        if not best or choice.time_ns < best[-1].time_ns:
            best.append(choice)
    return best


def _improving(owner: ParetoProgram, front: list[Choice], level_bytes: int, max_weights_bytes: int | None) -> Corners:
    """Where a selection charged with `level_bytes` of arena must lie to improve the front."""
    most = FAR if max_weights_bytes is None else float(max_weights_bytes)
    rising = front[::-1]  # by rising time, falling total
    times = [*(float(c.time_ns - 1) for c in rising), FAR]
    totals = [FAR, *(float(c.need_bytes + c.weights_bytes - 1 - level_bytes) for c in rising)]
    return owner.corners(times, [min(most, total) for total in totals])
