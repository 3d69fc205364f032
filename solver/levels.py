"""Sums of selections within levels of memory: the dynamic program's tables, what is least in them, and selections.

A level is the largest that a step may need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from solver.dp import DynamicProgram
from solver.min_sums import Ints, MinSums, Reals
from solver.problem import MemoryAxis, Problem, Selection

Closed = frozenset[tuple[int, int]]
"""Options (node, index) that may not be taken."""

NOTHING: Ints = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Choice:
    """A complete selection with its exact sums. `need_bytes` is its largest step (or workspace, by the program's axis).

    `added_bytes` are what its options add to that, where the program counts them; else 0.
    """

    time_ns: int
    weights_bytes: int
    need_bytes: int
    selection: Selection
    added_bytes: int = 0


class LabelProgram:
    """Sums of a problem's selections at any level of memory. TooWide when the tables cannot be built.

    `adds`: what options add to their largest step is the third sum, on the arena or the total axis; None: two sums.
    """

    def __init__(self, problem: Problem, axis: MemoryAxis, adds: MemoryAxis | None = None):
        self.problem = problem
        self.program = DynamicProgram(problem, axis, weights_matter=True)
        self.tables, self.buckets = self.program.tables, self.program.buckets
        used = [table.need_bytes for table in self.tables]
        self.levels: Ints = np.unique(np.concatenate(used)) if used else np.zeros(0, np.int64)
        self.n_sums = 2 if adds is None else 3
        self.figures: list[Ints] = []  # [sum, way] of each table: all sums but time, which depends on layouts
        for table in self.tables:
            added = table.resident_bytes + (table.weights_bytes if adds is MemoryAxis.TOTAL else 0)
            self.figures.append(np.stack([table.weights_bytes, added][: self.n_sums - 1]))

    def sums_of(self, t: int, entries: Ints) -> Ints:
        """The sums of entries of table t; [sum, entry]."""
        table = self.tables[t]
        return np.concatenate([table.time_ns[None, entries], self.figures[t][:, table.way[entries]]])

    def choice(self, entries: Mapping[int, int]) -> Choice:
        """The figures of one entry per table."""
        time_ns = need_bytes = 0
        others = [0, 0]
        options = []
        for t, table in enumerate(self.tables):
            entry = entries[t]
            way = int(table.way[entry])
            time_ns += int(table.time_ns[entry])
            need_bytes = max(need_bytes, int(table.need_bytes[entry]))
            for i, figure in enumerate(self.figures[t][:, way].tolist()):
                others[i] += figure
            options.append(table.options[way])
        return Choice(time_ns, others[0], need_bytes, Selection(tuple(options)), others[1])


class Level:
    """The entries of a program's tables within a level of memory, without options that are closed.

    With an option all of the same layouts that it beats must be closed: those are not in the tables.
    """

    def __init__(self, owner: LabelProgram, level_bytes: int, closed: Closed = frozenset()):
        self.owner, self.level_bytes = owner, level_bytes
        self._shut = [
            np.array([k for k, i in enumerate(table.options) if (t, i) in closed], np.int64) if closed else NOTHING
            for t, table in enumerate(owner.tables)
        ]
        self._kept: list[Ints] = []  # entries of each table, the assignments they are of, and where those begin
        self._cells: list[tuple[Ints, Ints]] = []
        for t, table in enumerate(owner.tables):
            kept = self._open(t, slice(None))
            self._kept.append(kept)
            self._cells.append(np.unique(table.cell[kept], return_index=True))

    def best(self, t: int, directions: Reals) -> Reals:
        """The least cost of table t at each assignment of its scope, infinite where nothing fits; [k, ...]."""
        table, kept = self.owner.tables[t], self._kept[t]
        cells, first = self._cells[t]
        best = np.full((len(directions), prod(table.shape)), np.inf)
        if len(cells):
            best[:, cells] = np.minimum.reduceat(self.costs(t, directions, kept), first, axis=1)
        return best.reshape(-1, *table.shape)

    def costs(self, t: int, directions: Reals, entries: Ints) -> Reals:
        """What entries of table t cost in every direction; [k, entry]."""
        table = self.owner.tables[t]
        of_way = directions[:, 1:] @ self.owner.figures[t]
        return directions[:, :1] * table.time_ns[entries] + of_way[:, table.way[entries]]

    def entries_at(self, t: int, assignment: Sequence[int]) -> Ints:
        """The entries of table t at an assignment of its scope."""
        table = self.owner.tables[t]
        entries = table.entries_at(assignment)
        found: Ints = entries.start + self._open(t, entries)
        return found

    def _open(self, t: int, entries: slice) -> Ints:
        """Which of some entries of table t may be taken, counted from the first of them."""
        table = self.owner.tables[t]
        able = table.need_bytes[entries] <= self.level_bytes
        if len(self._shut[t]):
            able &= ~np.isin(table.way[entries], self._shut[t])
        found: Ints = np.flatnonzero(able)
        return found


class Bounds:
    """Least sums in every direction within a level.

    `directions[k]` weighs the sums; for a search the first ones are each sum alone.
    """

    def __init__(self, level: Level, directions: Reals):
        self.level, self.owner, self.directions = level, level.owner, directions
        self.best: list[Reals] = [level.best(t, directions) for t in range(len(level.owner.tables))]
        self.least = MinSums(level.owner.buckets, self.best)
        self.total = self.least.total

    def trace_back(self, k: int) -> Choice:
        """The best selection in direction k."""
        layout = self.least.layouts(k)
        chosen = {}
        for t, table in enumerate(self.owner.tables):
            entries = self.level.entries_at(t, [layout[u] for u in table.scope])
            chosen[t] = int(entries[self.level.costs(t, self.directions[k : k + 1], entries)[0].argmin()])
        return self.owner.choice(chosen)

    def optima(self) -> list[Choice]:
        """The best selection in each direction; none when nothing fits."""
        return [self.trace_back(k) for k in range(len(self.total)) if np.isfinite(self.total[k])]
