"""Bounds on weights beside a sum that shares the budget with the arena: label searches of three sums. No HiGHS.

Resident weights take bytes of the arena for ever, so a budget bounds the largest step plus their sum. With a bound on
shipped weights a selection has three sums (time, weights, added bytes) beside its largest step. A step of a front is
confirmed by searching all selections up to the claimed time: over ranges of levels of the largest step, each searched
only if Lagrangian bounds cannot rule it out, and halved down to one level.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from solver.front import FrontPoint
from solver.labels import Search, TooMany
from solver.levels import Bounds, Choice, LabelProgram, Level
from solver.min_sums import Reals
from solver.problem import MemoryAxis, Problem
from solver.region import FAR, SLACK, Corners

ASCENTS = 30  # steps towards the best multipliers of all levels
MORE_ASCENTS = 6  # from those to the best of half a range
MOST_LABELS = 2_000_000  # of one search
CONFIRM_S = 10.0  # for all steps of a front


Multipliers = tuple[float, float]
"""What a byte of weights and an added one are worth in nanoseconds."""


@dataclass(frozen=True)
class Step:
    """A step of a front: within a budget on the axis and a bound on weights (None: none), nothing beats `claim`.

    Without a claim: nothing fits.
    """

    budget_bytes: int | None
    max_weights_bytes: int | None
    claim: FrontPoint | None


class SumsProgram(LabelProgram):
    """The least time within both bounds, on the arena or the total axis. TooWide when the tables cannot be built."""

    def __init__(self, problem: Problem, axis: MemoryAxis):
        super().__init__(problem, MemoryAxis.ARENA, adds=axis)

    def fastest_ns(
        self,
        budget_bytes: int | None,
        max_weights_bytes: int | None,
        claim_ns: int | None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> int | None:
        """The least time within both bounds, None when nothing is as fast as the claim (None: nothing at all fits)."""
        if not len(self.levels):
            return None
        best = FAR if claim_ns is None else float(claim_ns + 1)
        most_weights = FAR if max_weights_bytes is None else float(max_weights_bytes)
        found: int | None = None
        pending: list[tuple[int, int, Multipliers | None]] = [(0, len(self.levels) - 1, None)]
        while pending:
            if should_stop():
                raise TooMany("the time is over")
            low, high, known = pending.pop()
            room = FAR if budget_bytes is None else float(budget_bytes - int(self.levels[low]))
            if room < 0:
                continue
            region = np.array([best - 1, most_weights, room])
            level = Level(self, int(self.levels[high]))
            multipliers, candidates = _multipliers(level, region, known)
            if low == high and multipliers is not None:
                directions = _directions(multipliers)
                corner = Corners([best - 1], [most_weights], directions, room)
                candidates += Search(Bounds(level, directions), corner, should_stop, MOST_LABELS).run()
            for choice in candidates:
                fits = budget_bytes is None or choice.need_bytes + choice.added_bytes <= budget_bytes
                if fits and choice.weights_bytes <= most_weights and choice.time_ns < best:
                    best, found = float(choice.time_ns), choice.time_ns
            if multipliers is not None and low < high:
                middle = (low + high) // 2
                pending += [(low, middle, multipliers), (middle + 1, high, multipliers)]  # larger levels first
        return found


def _multipliers(level: Level, region: Reals, known: Multipliers | None) -> tuple[Multipliers | None, list[Choice]]:
    """Good multipliers for bounding a region (most time, weights, added bytes); None when they show it empty.

    And selections met on the way. Ascent of min over selections of time + multipliers * (sums - bounds), by Polyak's
    step towards the time bound.
    """
    bounds = Bounds(level, np.eye(3))
    if not np.isfinite(bounds.total).all() or (bounds.total > region * (1 + SLACK)).any():
        return None, []
    met = bounds.optima()
    multipliers = np.array(known or (0.0, 0.0))
    best, best_value = multipliers, -np.inf
    for _ in range(ASCENTS if known is None else MORE_ASCENTS):
        direction = np.array([[1.0, *multipliers]])
        bounds = Bounds(level, direction)
        value = float(bounds.total[0]) - float(multipliers @ region[1:])
        if float(bounds.total[0]) > float(direction[0] @ region) * (1 + SLACK):
            return None, met
        if value > best_value:
            best, best_value = multipliers, value
        choice = bounds.trace_back(0)
        met.append(choice)
        over = np.array([choice.weights_bytes, choice.added_bytes]) - region[1:]
        over = np.where((multipliers <= 0) & (over < 0), 0.0, over)
        length = float(over @ over)
        if length == 0.0:
            break
        multipliers = np.maximum(0.0, multipliers + over * (max(region[0] - value, 1.0) / length))
    return (float(best[0]), float(best[1])), met


def _directions(multipliers: Multipliers) -> Reals:
    """The three sums alone, time with both multipliers, and with each of them."""
    both = [[1.0, *multipliers]]
    each = [[1.0, multipliers[0], 0.0], [1.0, 0.0, multipliers[1]]] if all(multipliers) else []
    return np.array([*np.eye(3).tolist(), *both, *each])


def confirm(
    problem: Problem,
    axis: MemoryAxis,
    steps: Sequence[Step],
    compare: Callable[[int | None, FrontPoint | None, int | None], None],
    should_cancel: Callable[[], bool] | None = None,
    limit_s: float = 0.0,
) -> str:
    """Search every step, evenly spread first, and `compare`; "" when all were, else how many in the time there is.

    That is CONFIRM_S, or `limit_s` if that is more.
    """
    deadline_s = time.perf_counter() + max(CONFIRM_S, limit_s)

    def should_stop() -> bool:
        return time.perf_counter() > deadline_s or (should_cancel is not None and should_cancel())

    program = SumsProgram(problem, axis)
    order = sorted(range(len(steps)), key=lambda i: (-(i & -i) if i else -len(steps), i))
    for confirmed, i in enumerate(order):
        step = steps[i]
        claim_ns = step.claim.evaluation.time_ns if step.claim else None
        try:
            found_ns = program.fastest_ns(step.budget_bytes, step.max_weights_bytes, claim_ns, should_stop)
        except TooMany as reason:
            return f"labels confirmed {confirmed} of {len(steps)} steps: {reason}"
        compare(step.budget_bytes, step.claim, found_ns)
    return ""
