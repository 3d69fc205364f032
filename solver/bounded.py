"""The fastest selection within a budget and a bound on weights: a Lagrangian bound, and labels inside its gap.

The multiplier of the weights that bounds best is found by secants. The bound it gives and the best selection met on the
way leave a gap of times, which label searches look through from below, in slices that grow. No HiGHS.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from solver.dp import MOST_BRANCHES
from solver.evaluate import evaluate_lifetimes, lifetimes
from solver.front import Contradiction
from solver.labels import Search, TooMany
from solver.levels import Bounds, Choice, Closed, LabelProgram, Level
from solver.min_sums import Reals
from solver.outcome import Held, Outcome, Stopped
from solver.problem import Cut, MemoryAxis, Problem
from solver.region import SLACK, Corners

SLICES = 16  # the first search looks through this part of the gap, each later one through GROWTH times as much
GROWTH = 4
MOST_LABELS = 1 << 25  # of one search: some seconds, and at most 800 MB at once


@dataclass(frozen=True)
class Gap:
    """What the multipliers leave open: `best` is within both bounds, nothing is faster than `bound_ns`.

    `directions` bound labels well there. Without `best` nothing is within both bounds.
    """

    bounds: Bounds | None
    directions: Reals
    bound_ns: int
    best: Choice | None

    @property
    def closed(self) -> bool:
        """Nothing is left to search."""
        return self.best is None or self.best.time_ns <= self.bound_ns


class LabelSolver:
    """Optima within a budget on the arena or workspace axis and a bound on weights, as offsets.Solver.

    For problems whose resident weights the axis does not count. TooWide when the tables cannot be built.
    """

    def __init__(self, problem: Problem, axis: MemoryAxis, max_weights_bytes: int):
        self._problem, self._axis, self.max_weights_bytes = problem, axis, max_weights_bytes
        self.program = LabelProgram(problem, axis)
        self.cuts: list[Cut] = []
        self._budget: int | None = None
        self._floor: tuple[float, int] = (-math.inf, 0)  # nothing within this budget is faster than that

    @property
    def problem(self) -> Problem:
        """What its selections are of."""
        return self._problem

    @property
    def axis(self) -> MemoryAxis:
        """What a budget bounds."""
        return self._axis

    @property
    def least_bytes(self) -> int:
        """A lower bound on the axis of every selection."""
        least = [int(table.need_bytes.min(initial=0)) for table in self.program.tables if len(table.need_bytes)]
        return max(least, default=0)

    def set_budget(self, budget_bytes: int | None) -> None:
        """What the next answer has to fit."""
        self._budget = budget_bytes

    def forbid(self, cut: Cut) -> None:
        """Rule out what the cut rules out, at the budgets where it does."""
        self.cuts.append(cut)

    def solve(self, time_limit_s: float | None = None, should_cancel: Callable[[], bool] | None = None) -> Outcome:
        """The fastest selection within both bounds that no cut rules out.

        Best first: where the optimum falls under a cut, each of its nodes in turn is kept from the cut's options. A
        limit leaves the best selection met, and what bounds it.
        """
        started = time.perf_counter()
        deadline_s = math.inf if time_limit_s is None else started + time_limit_s
        cancelled = False

        def should_stop() -> bool:
            nonlocal cancelled
            cancelled = cancelled or (should_cancel is not None and should_cancel())
            return cancelled or time.perf_counter() >= deadline_s

        budget = math.inf if self._budget is None else float(self._budget)
        known_ns = self._floor[1] if budget <= self._floor[0] else 0
        best, bound_ns, finished = self._outside(known_ns, should_stop)
        stopped = Stopped.FINISHED
        if not finished:
            stopped = Stopped.CANCELLED if cancelled else Stopped.TIME_LIMIT
            stopped = Stopped.SOLVER_LIMIT if not should_stop() else stopped
        elapsed_s = time.perf_counter() - started
        if best is None:
            held = Held.INFEASIBILITY if finished else Held.NOTHING
            return Outcome(stopped, held, None, None, 0 if finished else bound_ns, elapsed_s, "labels")
        lived = lifetimes(self._problem, best.selection)
        figures = evaluate_lifetimes(self._problem, best.selection, lived)
        fits = figures.on(self._axis) <= budget and figures.weights_bytes <= self.max_weights_bytes
        if not fits or figures.time_ns != best.time_ns:
            raise Contradiction(f"the label search says {best}, the evaluation {figures}")
        bound_ns = best.time_ns if finished else min(bound_ns, best.time_ns)
        self._floor = (budget, bound_ns)
        held = Held.OPTIMUM if bound_ns == best.time_ns else Held.INCUMBENT
        return Outcome(stopped, held, best.selection, figures, bound_ns, elapsed_s, "labels", lived)

    def _outside(self, known_ns: int, should_stop: Callable[[], bool]) -> tuple[Choice | None, int, bool]:
        """The best selection outside of all cuts, what bounds it, and whether the search came to its end."""
        cuts = [cut for cut in self.cuts if cut.binds(self._budget)]
        nothing: Closed = frozenset()
        seen = {nothing}
        gap = self._gap(nothing, known_ns, should_stop)
        waiting = [(gap.bound_ns, 0, nothing, gap)] if gap.best is not None else []
        low_ns = known_ns
        while waiting:
            low_ns, _, closed, gap = heapq.heappop(waiting)
            if not gap.closed:
                narrowed, stopped = self._narrow(gap, should_stop)
                if not stopped:
                    heapq.heappush(waiting, (narrowed.bound_ns, len(seen), closed, narrowed))
                    continue
                outside = narrowed.best is not None and not any(c.rules_out(narrowed.best.selection) for c in cuts)
                return narrowed.best if outside else None, narrowed.bound_ns, False
            assert gap.best is not None
            broken = next((cut for cut in cuts if cut.rules_out(gap.best.selection)), None)
            if broken is None:
                return gap.best, gap.best.time_ns, True
            for v, taken in broken.options.items():
                fewer = closed | {(v, i) for i in taken}
                if fewer in seen:
                    continue
                seen.add(fewer)
                if len(seen) > MOST_BRANCHES or should_stop():
                    return None, low_ns, False
                found = self._gap(fewer, low_ns, should_stop)
                if found.best is not None:
                    heapq.heappush(waiting, (found.bound_ns, len(seen), fewer, found))
        return None, low_ns, True

    def _gap(self, closed: Closed, known_ns: int, should_stop: Callable[[], bool]) -> Gap:
        """Secants of (time, weights): the best multiplier of the weights, and the best selection met."""
        program, most = self.program, self.max_weights_bytes
        empty = Gap(None, np.eye(2), known_ns, None)
        if not len(program.levels):
            return empty
        top = int(program.levels[-1])
        level = Level(program, top if self._budget is None else min(self._budget, top), closed)
        bounds = Bounds(level, np.eye(2))
        optima = bounds.optima()
        if not optima or optima[1].weights_bytes > most:
            return empty
        left, right = optima
        if left.weights_bytes <= most:
            return Gap(bounds, np.eye(2), max(known_ns, left.time_ns), left)
        low_ns = max(known_ns, left.time_ns)
        tried: list[Reals] = []
        while right.time_ns > low_ns and not should_stop():
            down, across = left.weights_bytes - right.weights_bytes, right.time_ns - left.time_ns
            direction = np.array([[down, across]]) / (down + across)
            priced = Bounds(level, direction)
            bound = (float(priced.total[0]) * (1 - SLACK) - float(direction[0, 1]) * most) / float(direction[0, 0])
            low_ns = max(low_ns, math.ceil(bound))
            tried.append(direction)
            middle = priced.trace_back(0)
            if middle.time_ns in (left.time_ns, right.time_ns) or not left.time_ns < middle.time_ns < right.time_ns:
                break
            if middle.weights_bytes <= most:
                right = middle
            else:
                left = middle
        directions = np.concatenate([np.eye(2), *tried[::-1][:3]])
        return Gap(bounds, directions, min(low_ns, right.time_ns), right)

    def _narrow(self, gap: Gap, should_stop: Callable[[], bool]) -> tuple[Gap, bool]:
        """Search the gap from below until something is found; or stop, with what was excluded by then."""
        assert gap.best is not None
        assert gap.bounds is not None
        best, bound_ns = gap.best, gap.bound_ns
        bounds = Bounds(gap.bounds.level, gap.directions)
        slice_ns = max(1, (best.time_ns - bound_ns) // SLICES)
        while bound_ns < best.time_ns:
            up_to_ns = min(bound_ns + slice_ns, best.time_ns) - 1
            corners = Corners([float(up_to_ns)], [float(self.max_weights_bytes)], gap.directions)
            try:
                found = (
                    Search(bounds, corners, should_stop, MOST_LABELS).run() if self._reaches(bounds, corners) else []
                )
            except TooMany:
                return Gap(gap.bounds, gap.directions, bound_ns, best), True
            if found:
                best = min(found, key=lambda choice: choice.time_ns)
                return Gap(gap.bounds, gap.directions, best.time_ns, best), False
            bound_ns = up_to_ns + 1
            slice_ns *= GROWTH
        return Gap(gap.bounds, gap.directions, best.time_ns, best), False

    @staticmethod
    def _reaches(bounds: Bounds, corners: Corners) -> bool:
        return bool(corners.reach(bounds.total[:, None])[0])
