"""The front of weights against latency within an arena, by label searches. No HiGHS.

Without resident weights a level of memory bounds the arena, and one search of two sums finds the front. Resident
weights share the arena with the largest step: for each level of that step, a search of three sums finds what improves
the front known so far with resident weights in the rest of the arena. Bounds come from a few directions: trade-offs of
time and weights, each with the best price of an added byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from solver.labels import Search
from solver.levels import Bounds, Choice, Level
from solver.min_sums import Reals
from solver.pareto import ParetoProgram
from solver.problem import MemoryAxis, Problem
from solver.region import FAR, Corners
from solver.sums import SumsProgram

SAMPLES = 12  # levels at which directions are chosen
DIRECTIONS = 10  # between least time and least weights, at each of them
STEPS = 20  # towards the best price of an added byte; four or five are usual
MOST_LABELS = 20_000_000  # of the search of one level


def front(
    problem: Problem,
    arena_bytes: int | None,
    max_weights_bytes: int | None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Choice]:
    """All efficient (weights, time) within the arena, by rising weights. Raises TooWide, TooMany."""
    if problem.has_residents and arena_bytes is not None:
        return _with_residents(SumsProgram(problem, MemoryAxis.ARENA), arena_bytes, max_weights_bytes, should_stop)
    owner = ParetoProgram(problem, MemoryAxis.ARENA)
    if not len(owner.levels):
        return []
    top = int(owner.levels[-1])
    bounds, optima = owner.optima(top if arena_bytes is None else min(arena_bytes, top))
    if not optima:
        return []
    known = _efficient(optima, max_weights_bytes)
    corners = _improving(known, max_weights_bytes, owner.directions)
    if corners.reach(bounds.total[:, None])[0]:
        known = _efficient([*known, *owner.search(bounds, corners, should_stop)], max_weights_bytes)
    return known


def _efficient(found: list[Choice], max_weights_bytes: int | None) -> list[Choice]:
    best: list[Choice] = []
    for choice in sorted(found, key=lambda c: (c.weights_bytes, c.time_ns)):
        if max_weights_bytes is not None and choice.weights_bytes > max_weights_bytes:
            break
        if not best or choice.time_ns < best[-1].time_ns:
            best.append(choice)
    return best


def _improving(
    known: Sequence[Choice], max_weights_bytes: int | None, directions: Reals, room_bytes: float = FAR
) -> Corners:
    """Where a selection must lie to be neither equal to nor worse than a known one."""
    most = FAR if max_weights_bytes is None else float(max_weights_bytes)
    rising = known[::-1]  # by rising time, falling weights
    times = [*(float(c.time_ns - 1) for c in rising), FAR]
    weights = [most, *(float(c.weights_bytes - 1) for c in rising)]
    return Corners(times, weights, directions, room_bytes)


def _with_residents(
    owner: SumsProgram, arena_bytes: int, max_weights_bytes: int | None, should_stop: Callable[[], bool]
) -> list[Choice]:
    """The front where what is resident and the largest step share the arena.

    A range of levels is searched only if something within its largest level, with the room that its smallest leaves,
    can still improve the front found so far; ranges are halved down to one level.
    """
    levels = owner.levels[owner.levels <= arena_bytes]
    known: list[Choice] = []

    def meet(found: Sequence[Choice]) -> None:
        fitting = [choice for choice in found if choice.need_bytes + choice.added_bytes <= arena_bytes]
        known[:] = _efficient([*known, *fitting], max_weights_bytes)

    chosen: list[tuple[int, Reals]] = []
    for i in sorted(set(np.linspace(0, len(levels) - 1, SAMPLES).astype(int).tolist())) if len(levels) else []:
        supported = _Supported(Level(owner, int(levels[i])), float(arena_bytes - int(levels[i])))
        meet(supported.met)
        if supported.able:
            chosen.append((i, supported.directions))
    pending = [(0, len(levels) - 1)] if len(levels) else []
    while pending:
        low, high = pending.pop()
        directions = min(chosen, key=lambda c: abs(c[0] - low))[1] if chosen else np.eye(3)
        bounds = Bounds(Level(owner, int(levels[high])), directions)
        corners = _improving(known, max_weights_bytes, directions, float(arena_bytes - int(levels[low])))
        if not corners.reach_together(bounds.total[:, None])[0]:
            continue
        if low < high:
            middle = (low + high) // 2
            pending += [(middle + 1, high), (low, middle)]  # the smaller levels first
        else:
            meet(Search(bounds, corners, should_stop, MOST_LABELS).run())
    return known


@dataclass(frozen=True)
class _Mixture:
    """What two selections that are best at the same price average to with exactly the room there is; or one with room
    to spare, at no price.
    """

    value: float  # of alpha * time + beta * weights
    time_ns: float
    weights_bytes: float


class _Supported:
    """Directions along the trade-offs of time and weights that a level supports, with added bytes at their best price.

    `able`: something fits. `met`: selections seen on the way.
    """

    def __init__(self, level: Level, room_bytes: float):
        self.level, self.room_bytes = level, room_bytes
        self.directions: Reals = np.eye(3)
        self.met: list[Choice] = []
        alone = Bounds(level, self.directions)
        self.able = bool(np.isfinite(alone.total).all()) and alone.total[2] <= room_bytes
        if not self.able:
            return
        self.met = alone.optima()
        self._least_added = self.met[2]
        pending = [(self._mixture(1.0, 0.0), self._mixture(0.0, 1.0))]
        while pending and len(self.directions) < 5 + DIRECTIONS:
            left, right = pending.pop(0)
            down, across = left.weights_bytes - right.weights_bytes, right.time_ns - left.time_ns
            if down < 1 or across < 1:
                continue
            alpha, beta = down / (down + across), across / (down + across)
            middle = self._mixture(alpha, beta)
            if middle.value < (alpha * left.time_ns + beta * left.weights_bytes) * (1 - 1e-9):
                pending += [(left, middle), (middle, right)]

    def _mixture(self, alpha: float, beta: float) -> _Mixture:
        """The price at which alpha * time + beta * weights + price * (added - room) has its largest minimum."""

        def cost(choice: Choice) -> float:
            return alpha * choice.time_ns + beta * choice.weights_bytes

        def best(price: float) -> Choice:
            choice = Bounds(self.level, np.array([[alpha, beta, price]])).trace_back(0)
            self.met.append(choice)
            return choice

        price, over, fits = 0.0, best(0.0), self._least_added
        if over.added_bytes <= self.room_bytes:
            fits = over
        else:
            for _ in range(STEPS):  # the minimum is concave in the price: two lines of it meet above the next one
                price = (cost(fits) - cost(over)) / (over.added_bytes - fits.added_bytes)
                choice = best(price)
                if cost(choice) + price * choice.added_bytes >= (cost(over) + price * over.added_bytes) * (1 - 1e-12):
                    break
                if choice.added_bytes <= self.room_bytes:
                    fits = choice
                else:
                    over = choice
        self.directions = np.concatenate([self.directions, [[alpha, beta, price]]])
        of_over = 0.0 if fits is over else (self.room_bytes - fits.added_bytes) / (over.added_bytes - fits.added_bytes)
        time_ns = fits.time_ns + of_over * (over.time_ns - fits.time_ns)
        weights_bytes = fits.weights_bytes + of_over * (over.weights_bytes - fits.weights_bytes)
        return _Mixture(alpha * time_ns + beta * weights_bytes, time_ns, weights_bytes)
