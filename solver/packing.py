"""One packing problem and the methods for it, each alone; in which order they are tried, solver.arena says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property, reduce

import highspy
import numpy as np
import numpy.typing as npt

from solver.disjunctive import Disjunctive, Undecided
from solver.highs import quiet, run
from solver.problem import Buffer

EFFORT = 50_000  # comparisons of a job shop, 30 ms: 35 buffers of networks take 20,000, hard ones no end of them
SEARCH_NODES = 3000  # per order of the skyline search: 0.05-0.2 s on 400 buffers
NODES_PER_BUFFER = 30  # a few buffers are soon told by the MILP
COMPLAINTS = 30  # rounds of greedy placement per order

Ints = npt.NDArray[np.int64]


class Packing:
    """Buffers as arrays: sizes, half-open intervals of sections, who overlaps whom in time.

    `bound` is the lower bound of the height, `goal` the height that is low enough.
    """

    def __init__(self, buffers: Sequence[Buffer], enough_bytes: int = 0):
        self.buffers = buffers
        times = sorted({t for b in buffers for t in (b.first, b.last)})
        section = {t: i for i, t in enumerate(times)}
        self.sizes: Ints = np.array([b.size_bytes for b in buffers], np.int64)
        self.first: Ints = np.array([section[b.first] for b in buffers], np.int64)
        self.last: Ints = np.array([section[b.last] for b in buffers], np.int64)
        self.neighbours: list[list[int]] = [[] for _ in buffers]  # who overlaps whom in time
        living: list[int] = []
        ends = self.last.tolist()
        for i in np.argsort(self.first, kind="stable").tolist():
            living = [j for j in living if ends[j] > self.first[i]]
            for j in living:
                self.neighbours[i].append(j)
                self.neighbours[j].append(i)
            living.append(i)
        self.pairs = sum(map(len, self.neighbours)) // 2
        change: Ints = np.zeros(len(times) + 1, np.int64)
        np.add.at(change, self.first, self.sizes)
        np.subtract.at(change, self.last, self.sizes)
        self.live: Ints = change.cumsum()[: len(times)]
        self.bound = int(self.live.max(initial=0))
        self.goal = max(self.bound, enough_bytes)

    def core(self) -> tuple[list[int], list[int]]:
        """The buffers that may be in each other's way, and the others, each of which fits when those before it do.

        Around k buffers are at most k + 1 gaps, all of whole units. A buffer that does not fit into any of them leaves
        them each a unit shorter than itself at least: where more than that is free below the goal, it fits.
        """
        sizes: list[int] = self.sizes.tolist()
        unit = reduce(math.gcd, sizes, 0)
        goal = self.goal - self.goal % unit
        beside = [sum(sizes[j] for j in some) for some in self.neighbours]
        count = [len(some) for some in self.neighbours]
        easy: list[int] = []
        left = set(range(len(sizes)))

        def fits(i: int) -> bool:
            return goal - beside[i] > (count[i] + 1) * (sizes[i] - unit)

        waiting = [i for i in left if fits(i)]
        while waiting:
            i = waiting.pop()
            if i not in left:
                continue
            left.remove(i)
            easy.append(i)
            for j in self.neighbours[i]:
                beside[j] -= sizes[i]
                count[j] -= 1
                if j in left and fits(j):
                    waiting.append(j)
        return sorted(left), easy[::-1]

    @cached_property
    def key(self) -> bytes:
        """The same for the same sizes, of which the same overlap in time."""
        return self.sizes.tobytes() + np.packbits(self.overlap).tobytes()

    @cached_property
    def overlap(self) -> npt.NDArray[np.bool_]:
        """Who overlaps whom in time, as a matrix."""
        overlap = (self.first[:, None] < self.last[None, :]) & (self.first[None, :] < self.last[:, None])
        np.fill_diagonal(overlap, False)
        return overlap

    def height(self, offsets: Ints) -> int:
        """The bytes that these offsets take."""
        return int((offsets + self.sizes).max(initial=0))

    def orders(self) -> Iterator[list[int]]:
        """Six orders to place in, the most useful first; ties by size, then by index."""
        length = self.last - self.first
        yield np.lexsort((np.arange(len(length)), -self.sizes)).tolist()
        crowd = np.array([self.live[a:b].max() for a, b in zip(self.first, self.last, strict=True)])
        for key in (-crowd, -self.sizes * length, -length, self.first, -self.last):
            yield sorted(range(len(key)), key=lambda i, key=key: (key[i], -self.sizes[i], i))  # type: ignore[misc]

    def lowest_fit(self, order: Sequence[int], placed: Ints | None = None) -> Ints:
        """Each buffer at the lowest offset free during its life, in the given order, behind those `placed` (not -1)."""
        sizes = self.sizes.tolist()
        offsets = [-1] * len(sizes) if placed is None else placed.tolist()
        for i in order:
            bottom = 0
            for offset, j in sorted((offsets[j], j) for j in self.neighbours[i] if offsets[j] >= 0):
                if offset - bottom >= sizes[i]:
                    break
                bottom = max(bottom, offset + sizes[j])
            offsets[i] = bottom
        return np.array(offsets, np.int64)

    def greedy(self) -> Ints:
        """The best of the orders, each buffer as low as it fits; the first that reaches the goal."""
        best: Ints | None = None
        for order in self.orders():
            offsets = self.lowest_fit(order)
            if best is None or self.height(offsets) < self.height(best):
                best = offsets
            if self.height(best) <= self.goal:
                break
        assert best is not None
        return best

    def complaints(self, best: Ints) -> Ints:
        """Greedy again and again, each time with the buffers that ended above the goal placed earlier.

        Joslin, Clements: Squeaky wheel optimization, JAIR 1999. A buffer moves to the front half of what was before
        it, so those that complain often come first in the end.
        """
        for start in itertools.islice(self.orders(), 2):
            order = list(start)
            for _ in range(COMPLAINTS):
                offsets = self.lowest_fit(order)
                if self.height(offsets) < self.height(best):
                    best = offsets
                if self.height(best) <= self.goal:
                    return best
                above = offsets + self.sizes > self.goal
                rank = {i: r / 2 - 0.5 if above[i] else r for r, i in enumerate(order)}
                order.sort(key=rank.__getitem__)
        return best

    def job_shop(self, best: Ints) -> tuple[Ints, bool]:
        """The goal, or else the least height below that of `best`: (offsets, whether nothing lower is possible).

        `best` itself, and no proof, where solver.disjunctive does not get to an end.
        """
        unit = reduce(math.gcd, self.sizes.tolist())
        shop = Disjunctive((self.sizes // unit).tolist(), self.crowds())
        try:
            offsets = shop.within(self.goal // unit, EFFORT)
            if offsets is not None:
                return np.array(offsets, np.int64) * unit, False
            while (offsets := shop.within(self.height(best) // unit - 1, EFFORT)) is not None:
                best = np.array(offsets, np.int64) * unit
        except Undecided:
            return best, False
        return best, True

    def crowds(self) -> list[list[int]]:
        """The largest sets of buffers that live at the same time."""
        found: list[set[int]] = []
        for section in range(len(self.live)):
            crowd = set(np.flatnonzero((self.first <= section) & (section < self.last)).tolist())
            if found and found[-1] <= crowd:
                found.pop()
            if not found or not crowd <= found[-1]:
                found.append(crowd)
        return [sorted(crowd) for crowd in found]

    def skyline(self) -> Ints | None:
        """A packing as high as the goal, or None when there is none or the search limit comes first.

        Depth first over buffers by rising offset (Moffitt, MiniMalloc, ASPLOS 2023): each rests on the highest one
        below it, so what stays free under it is lost; a section with too little left above prunes the branch.
        """
        length = self.last - self.first
        for preference in (self.sizes * length, self.sizes, length):
            skyline = _Skyline(self, preference)
            found = skyline.search()
            if found is not None or skyline.nodes <= skyline.most_nodes:  # found, or searched to the end: there is none
                return found
        return None

    def milp(self, best: Ints, time_limit_s: float) -> tuple[Ints, bool]:
        """Minimise the height exactly: for each overlapping pair one lies above the other. Returns (offsets, proven).

        The offsets HiGHS finds only give the order; the buffers are placed again in integers, which never is higher.
        """
        unit = reduce(math.gcd, (int(size_bytes) for size_bytes in self.sizes))
        sizes = self.sizes // unit
        n, top, goal = len(self.sizes), self.height(best) // unit, self.goal // unit
        lows, highs = np.nonzero(np.triu(self.overlap))
        solver = quiet()
        # Columns: n offsets, the height, then one binary per pair (1: `high` lies above `low`).
        columns = n + 1 + len(lows)
        lower = np.zeros(columns)
        upper = np.concatenate([top - sizes, [top], np.ones(len(lows))]).astype(np.float64)
        lower[n] = goal
        cost = np.zeros(columns)
        cost[n] = 1.0
        solver.addVars(columns, lower, upper)
        solver.changeColsCost(columns, np.arange(columns, dtype=np.int32), cost)
        binary = np.arange(n + 1, columns, dtype=np.int32)
        solver.changeColsIntegrality(len(binary), binary, np.full(len(binary), 1, np.uint8))
        for i in range(n):
            solver.addRow(-math.inf, -float(sizes[i]), 2, np.array([i, n], np.int32), np.array([1.0, -1.0]))
        for k, (i, j) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True)):
            index = np.array([i, j, n + 1 + k], np.int32)
            solver.addRow(-math.inf, float(top - sizes[i]), 3, index, np.array([1.0, -1.0, float(top)]))
            solver.addRow(-math.inf, -float(sizes[j]), 3, index, np.array([-1.0, 1.0, -float(top)]))
        solver.setOptionValue("mip_abs_gap", 0.5)
        solver.setOptionValue("presolve", "off")  # that of HiGHS 1.15.1 can lose optima (solver.highs)
        run(solver, time_limit_s)
        if solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return best, False
        offsets = np.asarray(solver.getSolution().col_value)[:n]
        placed = self.lowest_fit([int(i) for i in np.argsort(offsets, kind="stable")])
        height = self.height(placed) // unit
        return placed, height <= goal or height - solver.getInfo().mip_dual_bound < 1.0 - 1e-6


class _Skyline:
    """One depth-first search for a packing within the goal."""

    def __init__(self, packing: Packing, preference: Ints):
        self.packing, self.preference = packing, preference
        self.nodes = 0
        n = len(packing.sizes)
        self.most_nodes = min(SEARCH_NODES, NODES_PER_BUFFER * n)
        self.offsets: Ints = np.full(n, -1, np.int64)
        self.left: Ints = packing.live.copy()
        self.unplaced = np.ones(n, np.bool_)

    def search(self) -> Ints | None:
        lowest: Ints = np.zeros(len(self.offsets), np.int64)
        # An explicit stack: one generator of children per level, so depth is not bounded by the interpreter.
        stack = [self._children(lowest, 0)]
        while stack:
            if not self.unplaced.any():
                return self.offsets
            child = next(stack[-1], None)
            if child is None:
                stack.pop()
                continue
            self.nodes += 1
            if self.nodes > self.most_nodes:
                return None
            stack.append(self._children(*child))
        return None

    def _children(self, lowest: Ints, level: int) -> Iterator[tuple[Ints, int]]:
        """Place each buffer that can come next, give back (lowest offsets after it, its offset), then take it off."""
        p = self.packing
        waiting = np.flatnonzero(self.unplaced)
        tops = lowest[waiting] + p.sizes[waiting]
        # Whoever lies at or above the top of the lowest-topped buffer can wait until that one is placed.
        able = waiting[(lowest[waiting] >= level) & (lowest[waiting] < tops.min())]
        for i in able[np.lexsort((able, -self.preference[able], lowest[able]))]:
            sections = slice(int(p.first[i]), int(p.last[i]))
            offset = int(lowest[i])
            top = offset + int(p.sizes[i])
            left = self.left[sections] - p.sizes[i]
            if (top + left).max() > p.goal:
                continue
            self.left[sections] = left
            self.unplaced[i] = False
            self.offsets[i] = offset
            yield np.where(p.overlap[i], np.maximum(lowest, top), lowest), offset
            self.left[sections] += p.sizes[i]
            self.unplaced[i] = True
            self.offsets[i] = -1
