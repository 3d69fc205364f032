"""Exact trade-offs with weights: label sets over the dynamic program's tables, cut by Lagrangian bounds.

Where weights are bounded or counted, cost has two sums (time, weights) and the linear relaxation is far from integral.
A label search finds all non-dominated ones of a region (solver.labels). The bounds on a completion are min-sums of
alpha * time + beta * weights over the rest, for a few directions (alpha, beta), the two axes among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from solver.labels import Search
from solver.levels import Bounds, Choice, LabelProgram, Level
from solver.problem import MemoryAxis, Problem
from solver.region import FAR, Corners

DIRECTIONS = 14  # besides time alone and weights alone


class ParetoProgram(LabelProgram):
    """Bi-objective optimum over a problem's layouts at any memory level. TooWide when the tables cannot be built."""

    def __init__(self, problem: Problem, axis: MemoryAxis):
        super().__init__(problem, axis)
        self.directions = np.eye(2)
        self._choose_directions()

    def _choose_directions(self) -> None:
        """Directions along the supported trade-offs without a memory limit, found by dichotomy."""
        if not len(self.levels):
            return
        level = Level(self, int(self.levels[-1]))
        found = Bounds(level, self.directions).optima()
        if len(found) < 2:
            return
        pending = [(found[0], found[1])]
        while pending and len(self.directions) < 2 + DIRECTIONS:
            left, right = pending.pop(0)
            down, across = left.weights_bytes - right.weights_bytes, right.time_ns - left.time_ns
            if down <= 0 or across <= 0:
                continue
            direction = np.array([[down / (down + across), across / (down + across)]])
            self.directions = np.concatenate([self.directions, direction])
            middle = Bounds(level, direction).trace_back(0)
            if middle.time_ns not in (left.time_ns, right.time_ns):
                pending += [(left, middle), (middle, right)]

    def corners(self, time_ns: Sequence[float], weights_bytes: Sequence[float]) -> Corners:
        """A wanted region in this program's directions."""
        return Corners(time_ns, weights_bytes, self.directions)

    def optima(self, level_bytes: int) -> tuple[Bounds, list[Choice]]:
        """Bounds within `level_bytes`, and the best selection in each direction (none when nothing fits)."""
        bounds = Bounds(Level(self, level_bytes), self.directions)
        return bounds, bounds.optima()

    def search(self, bounds: Bounds, corners: Corners, should_stop: Callable[[], bool] = lambda: False) -> list[Choice]:
        """All non-dominated (time, weights) within the level of `bounds` and the wanted region. Raises TooMany."""
        return Search(bounds, corners, should_stop).run()

    def fastest_ns(self, budget_bytes: int | None, max_weights_bytes: int, claim_ns: int | None) -> int | None:
        """The least time within both bounds; None when nothing fits. A right `claim_ns` makes the search short.

        The region searched reaches up to the claim, so an answer above a claim is never given: None says that nothing
        is as fast as the claim.
        """
        if not len(self.levels):
            return None
        top = int(self.levels[-1])
        bounds = Bounds(Level(self, top if budget_bytes is None else min(budget_bytes, top)), self.directions)
        corners = self.corners([FAR if claim_ns is None else float(claim_ns)], [float(max_weights_bytes)])
        if not corners.reach(bounds.total[:, None])[0]:
            return None
        return min((c.time_ns for c in self.search(bounds, corners)), default=None)
