"""Bucket elimination over output layouts: the same optimum as the model by another algorithm, without any LP.

One variable per node (the layout it writes), one table per node (its fastest option for every combination of the
layouts that matter to it), variables eliminated one by one. Shares nothing with flow, model or highs but the problem.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.buckets import eliminate
from solver.joins import joined
from solver.problem import Cut, MemoryAxis, Option, Problem, Selection
from solver.tables import MOST_ENTRIES, NEVER, Grid, Table, TableBuilder, TooWide

MOST_BRANCHES = 2000  # solves it will spend on getting out of the cuts of one budget
FEW_BRANCHES = 100  # for a selection to start from, which is not worth more
Choice = tuple[int, int]  # node, option index


@dataclass(frozen=True)
class Solved:
    """An optimum: exact time, the least budget this selection fits, and the selection."""

    time_ns: int
    need_bytes: int
    selection: Selection


class DynamicProgram:
    """Exact optimum of a problem at any budget on the arena or workspace axis. TooWide when it cannot be built."""

    def __init__(
        self,
        problem: Problem,
        axis: MemoryAxis,
        *,
        weights_matter: bool = False,
        most_entries: int = MOST_ENTRIES,
        with_floor: bool = True,
    ):
        self.problem, self.axis = problem, axis
        self.layouts = [tuple(dict.fromkeys(o.out_layout for o in node.options)) for node in problem.nodes]
        self._builder = TableBuilder(problem, axis, self.layouts, weights_matter, most_entries, with_floor=with_floor)
        self._given = self._builder.tables()
        self._domains = [len(layouts) for layouts in self.layouts]
        self.buckets = eliminate([table.scope for table in self._given], self._domains, most_entries)
        self._roots = [b for b, bucket in enumerate(self.buckets) if not bucket.rest]
        self._closed: frozenset[Choice] = frozenset()
        self._join()

    def _join(self) -> None:
        """Work out what can be with the tables given, and forget all that was computed."""
        self._known = [table.cells[0] for table in self._given]
        scopes = [table.scope for table in self._given]
        self._joins, self._kept = joined(self.buckets, scopes, self._known, self._domains)
        self.tables = [table.only(kept) for table, kept in zip(self._given, self._kept, strict=True)]
        self._places: list[Grid | None] = [None] * len(self.tables)  # of a table's assignments among those kept
        for t in range(len(self.tables)):
            self._find_places(t)
        self._levels = list(map(_levels_of, self.tables))
        self._ordered: tuple[Grid, Grid] | None = None  # all levels, rising, and the table of each
        self._best: list[Grid | None] = [None] * len(self.tables)
        self._sums: list[Grid | None] = [None] * len(self.buckets)
        self._messages: list[Grid | None] = [None] * len(self.buckets)
        self._budget: int | None = None

    def _find_places(self, t: int) -> None:
        found = self.tables[t].cells[0]
        self._places[t] = None if len(found) == len(self._kept[t]) else np.searchsorted(self._kept[t], found)

    @property
    def given(self) -> tuple[Table, ...]:
        """The tables with all their entries; `tables` have those that are part of a selection."""
        return tuple(self._given)

    def table_of(self, v: int, options: Sequence[Option]) -> Table:
        """The table node v would have with other options, of layouts and out_bytes that the problem knows."""
        return self._builder.table(v, options)

    def put(self, v: int, table: Table) -> None:
        """Give node v another table. Its options in selections found from then on are those of the table."""
        if table is self._given[v]:
            return
        self._given[v] = table
        if not np.isin(table.cells[0], self._known[v], assume_unique=True).all():
            self._join()
            return
        self.tables[v] = table.only(self._kept[v])
        self._find_places(v)
        self._levels[v] = _levels_of(self.tables[v])
        self._best[v] = self._ordered = None

    def _least(self, t: int, values: Grid) -> Grid:
        """The least of the values of a table's entries, by its assignments kept; NEVER where there is none any more."""
        least = self.tables[t].least_by_cell(values)
        places = self._places[t]
        if places is None:
            return least
        spread = np.full(len(self._kept[t]), NEVER, np.int64)
        spread[places] = least
        return spread

    def least_bytes(self) -> int | None:
        """The least budget that any selection fits; None when there is no selection."""
        messages: list[Grid] = []
        for join in self._joins:
            most = np.zeros(len(join.value), np.int64)
            for t, at in join.tables:
                np.maximum(most, self._least(t, self.tables[t].need_bytes)[at], out=most)
            for m, at in join.messages:
                np.maximum(most, messages[m][at], out=most)
            messages.append(_least_of_groups(most, join.first))
        least = max(int(messages[b].min(initial=NEVER)) for b in self._roots)
        return None if least >= NEVER else least

    def solve(self, budget_bytes: int | None = None, closed: frozenset[Choice] = frozenset()) -> Solved | None:
        """The fastest selection within the budget without the closed options; None when none fits.

        With an option, all of the same layouts and at least its workspace must be closed: those that another one beats
        in time and workspace are not in the tables.
        """
        total, budget = self._optimum(budget_bytes, closed)
        return None if total >= NEVER else self._trace_back(total, budget)

    def fastest_ns(self, budget_bytes: int | None, cuts: Sequence[Cut] = ()) -> int | None:
        """The least time within the budget of a selection that no cut rules out; None when there is none."""
        if any(cut.binds(budget_bytes) for cut in cuts):
            solved = self.solve_outside(budget_bytes, cuts)
            return None if solved is None else solved.time_ns
        total, _ = self._optimum(budget_bytes, frozenset())
        return None if total >= NEVER else total

    def _optimum(self, budget_bytes: int | None, closed: frozenset[Choice]) -> tuple[int, int]:
        """The least time, and the budget as a level of the tables."""
        top = max((int(levels[-1]) for levels in self._levels if len(levels)), default=0)
        budget = top if budget_bytes is None else min(budget_bytes, top)
        self._refresh(budget, closed)
        return sum(int(self._grid(self._messages[b]).min(initial=NEVER)) for b in self._roots), budget

    def trace(self) -> list[Solved]:
        """The whole front, by rising memory: descend below the memory of each optimum until nothing fits."""
        front: list[Solved] = []
        budget: int | None = None
        while (solved := self.solve(budget)) is not None:
            if front and front[-1].time_ns == solved.time_ns:
                front.pop()
            front.append(solved)
            budget = solved.need_bytes - 1
        return front[::-1]

    def solve_outside(
        self, budget_bytes: int | None, cuts: Sequence[Cut], most_branches: int = MOST_BRANCHES
    ) -> Solved | None:
        """The fastest selection within the budget that no cut rules out; None when there is none.

        Best first: where the optimum falls under a cut, each of its nodes in turn is kept from the cut's options.
        Raises TooWide after `most_branches` of that.
        """
        known: set[frozenset[Choice]] = {frozenset()}
        waiting: list[tuple[int, int, frozenset[Choice]]] = []

        def wait(closed: frozenset[Choice]) -> None:
            total, _ = self._optimum(budget_bytes, closed)
            if total < NEVER:
                heapq.heappush(waiting, (total, len(known), closed))

        wait(frozenset())
        while waiting:
            *_, closed = heapq.heappop(waiting)
            solved = self.solve(budget_bytes, closed)  # most that wait are never looked at
            assert solved is not None
            broken = next((c for c in cuts if c.binds(budget_bytes) and c.rules_out(solved.selection)), None)
            if broken is None:
                return solved
            for v, taken in broken.options.items():
                fewer = closed | {(v, i) for i in taken}
                if fewer in known:
                    continue
                known.add(fewer)
                if len(known) > most_branches:
                    raise TooWide(f"offsets rule out selections in more than {most_branches} ways")
                wait(fewer)
        return None

    def _refresh(self, budget: int, closed: frozenset[Choice]) -> None:
        """Recompute the tables with a level between the old and the new budget, and every bucket they reach."""
        changed = set()
        reopened = {v for v, _ in closed ^ self._closed}
        crossed: set[int] = set()
        if self._budget is not None:
            levels, owners = self._by_level()
            low, high = np.searchsorted(levels, sorted((self._budget, budget)), side="right")
            crossed = set(owners[low:high].tolist())
        self._closed = closed
        for t in range(len(self.tables)):
            if self._best[t] is not None and t not in reopened and t not in crossed:
                continue
            self._best[t] = self._least(t, self._fitting(t, budget))
            changed.add(t)
        self._budget = budget
        dirty = [False] * len(self.buckets)
        for b, join in enumerate(self._joins):
            dirty[b] = any(t in changed for t, _ in join.tables) or any(dirty[m] for m, _ in join.messages)
            if not dirty[b] and self._messages[b] is not None:
                continue
            total = np.zeros(len(join.value), np.int64)
            for t, at in join.tables:
                total += self._grid(self._best[t])[at]
                np.minimum(total, NEVER, out=total)
            for m, at in join.messages:
                total += self._grid(self._messages[m])[at]
                np.minimum(total, NEVER, out=total)
            self._sums[b] = total
            self._messages[b] = _least_of_groups(total, join.first)

    def _by_level(self) -> tuple[Grid, Grid]:
        if self._ordered is None:
            levels = np.concatenate(self._levels)
            owners = np.repeat(np.arange(len(self.tables)), [len(found) for found in self._levels])
            order = np.argsort(levels, kind="stable")
            self._ordered = levels[order], owners[order]
        return self._ordered

    def _fitting(self, t: int, budget: int, at: slice = slice(None)) -> Grid:
        """Time of entries of a table: NEVER where one does not fit or is closed."""
        table = self.tables[t]
        fitting = np.where(table.need_bytes[at] <= budget, table.time_ns[at], NEVER)
        if self._closed and (shut := [k for k, i in enumerate(table.options) if (t, i) in self._closed]):
            fitting[np.isin(table.way[at], shut)] = NEVER
        return fitting

    @staticmethod
    def _grid(grid: Grid | None) -> Grid:
        assert grid is not None
        return grid

    def _trace_back(self, total: int, budget: int) -> Solved:
        layout = [0] * len(self.problem.nodes)
        for b in reversed(range(len(self.buckets))):
            bucket, join = self.buckets[b], self._joins[b]
            cell = 0
            for u in bucket.rest:
                cell = cell * self._domains[u] + layout[u]
            group = int(np.searchsorted(join.group, cell))
            first = int(join.first[group])
            end = int(join.first[group + 1]) if group + 1 < len(join.first) else len(join.value)
            layout[bucket.variable] = int(join.value[first + int(self._grid(self._sums[b])[first:end].argmin())])
        options, need = [], 0
        for t, table in enumerate(self.tables):
            entries = table.entries_at([layout[u] for u in table.scope])
            needs, fitting = table.need_bytes[entries], self._fitting(t, budget, entries)
            fastest = np.flatnonzero(fitting == fitting.min())
            entry = int(fastest[needs[fastest].argmin()])
            options.append(table.options[int(table.way[entries][entry])])
            need = max(need, int(needs[entry]))
        return Solved(total, need, Selection(tuple(options)))


def _least_of_groups(values: Grid, first: Grid) -> Grid:
    return np.minimum.reduceat(values, first) if len(first) else np.zeros(0, np.int64)


def _levels_of(table: Table) -> Grid:
    return np.unique(table.need_bytes)


class SecondOpinion:
    """The dynamic program of a problem, built when it is first asked for."""

    def __init__(self, problem: Problem, axis: MemoryAxis):
        self.problem, self.axis = problem, axis
        self._refused: TooWide | None = None

    @cached_property
    def _program(self) -> DynamicProgram:
        return DynamicProgram(self.problem, self.axis)

    @property
    def program(self) -> DynamicProgram:
        """The program; raises TooWide."""
        if self.problem.has_residents and self.axis is not MemoryAxis.WORKSPACE:
            raise TooWide("resident weights add up over all nodes, of which the dynamic program knows no sums")
        if self._refused is not None:
            raise self._refused
        try:
            return self._program
        except TooWide as refused:
            self._refused = refused
            raise

    def fastest(self, budget_bytes: int | None, cuts: Sequence[Cut]) -> Selection | None:
        """The fastest selection within the budget that no cut rules out, where it is soon found."""
        try:
            solved = self.program.solve_outside(budget_bytes, cuts, FEW_BRANCHES)
        except TooWide:
            return None
        return None if solved is None else solved.selection
