"""Bucket elimination over output layouts: the same optimum as the model by another algorithm, without any LP.

One variable per node (the layout it writes), one table per node (its fastest option for every combination of the
layouts that matter to it), variables eliminated one by one. Shares nothing with flow, model or highs but the problem.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from solver.problem import Cut, MemoryAxis, Option, Problem, Selection
from solver.tables import MOST_ENTRIES, NEVER, Grid, Table, TableBuilder, TooWide

MOST_BRANCHES = 2000  # solves it will spend on getting out of the cuts of one budget
Choice = tuple[int, int]  # node, option index


@dataclass(frozen=True)
class Bucket:
    """Elimination of `variable`: the tables and earlier messages that mention it, over `scope` (variable included)."""

    variable: int
    scope: tuple[int, ...]
    axis: int  # of `variable` in scope
    shape: tuple[int, ...]
    tables: tuple[tuple[int, tuple[int, ...]], ...]  # (table, its shape broadcast into the scope)
    messages: tuple[tuple[int, tuple[int, ...]], ...]  # (earlier bucket, its message's shape broadcast into the scope)


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
        self.tables = self._builder.tables()
        self.buckets = eliminate(
            [table.scope for table in self.tables], [len(layouts) for layouts in self.layouts], most_entries
        )
        self._levels = list(map(_levels_of, self.tables))
        self._ordered: tuple[Grid, Grid] | None = None  # all levels, rising, and the table of each
        self._roots = [b for b, bucket in enumerate(self.buckets) if len(bucket.scope) == 1]
        self._best: list[Grid | None] = [None] * len(self.tables)
        self._sums: list[Grid | None] = [None] * len(self.buckets)
        self._messages: list[Grid | None] = [None] * len(self.buckets)
        self._budget: int | None = None
        self._closed: frozenset[Choice] = frozenset()

    def table_of(self, v: int, options: Sequence[Option]) -> Table:
        """The table node v would have with other options, of layouts and out_bytes that the problem knows."""
        return self._builder.table(v, options)

    def put(self, v: int, table: Table) -> None:
        """Give node v another table. Its options in selections found from then on are those of the table."""
        if table is not self.tables[v]:
            self.tables[v] = table
            self._levels[v] = _levels_of(table)
            self._best[v] = self._ordered = None

    def least_bytes(self) -> int | None:
        """The least budget that any selection fits; None when there is no selection."""
        messages: list[Grid] = []
        for bucket in self.buckets:
            most = np.zeros(bucket.shape, np.int64)
            for t, shape in bucket.tables:
                table = self.tables[t]
                np.maximum(most, table.least(table.need_bytes).reshape(shape), out=most)
            for m, shape in bucket.messages:
                np.maximum(most, messages[m].reshape(shape), out=most)
            messages.append(most.min(axis=bucket.axis))
        least = max(int(messages[b]) for b in self._roots)
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
        return sum(int(self._grid(self._messages[b])) for b in self._roots), budget

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

    def solve_outside(self, budget_bytes: int | None, cuts: Sequence[Cut]) -> Solved | None:
        """The fastest selection within the budget that no cut rules out; None when there is none.

        Best first: where the optimum falls under a cut, each of its nodes in turn is kept from the cut's options.
        """
        known: set[frozenset[Choice]] = {frozenset()}
        waiting: list[tuple[int, int, Solved, frozenset[Choice]]] = []

        def wait(closed: frozenset[Choice]) -> None:
            solved = self.solve(budget_bytes, closed)
            if solved is not None:
                heapq.heappush(waiting, (solved.time_ns, len(known), solved, closed))

        wait(frozenset())
        while waiting:
            _, _, solved, closed = heapq.heappop(waiting)
            broken = next((c for c in cuts if c.binds(budget_bytes) and c.rules_out(solved.selection)), None)
            if broken is None:
                return solved
            for v, taken in broken.options.items():
                fewer = closed | {(v, i) for i in taken}
                if fewer not in known:
                    known.add(fewer)
                    wait(fewer)
            if len(known) > MOST_BRANCHES:
                raise TooWide(f"offsets rule out selections in more than {MOST_BRANCHES} ways")
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
            self._best[t] = self.tables[t].least(self._fitting(t, budget))
            changed.add(t)
        self._budget = budget
        dirty = [False] * len(self.buckets)
        for b, bucket in enumerate(self.buckets):
            dirty[b] = any(t in changed for t, _ in bucket.tables) or any(dirty[m] for m, _ in bucket.messages)
            if not dirty[b] and self._messages[b] is not None:
                continue
            total = np.zeros(bucket.shape, np.int64)
            for t, shape in bucket.tables:
                total += self._grid(self._best[t]).reshape(shape)
                np.minimum(total, NEVER, out=total)
            for m, shape in bucket.messages:
                total += self._grid(self._messages[m]).reshape(shape)
                np.minimum(total, NEVER, out=total)
            self._sums[b] = total
            self._messages[b] = total.min(axis=bucket.axis)

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
            bucket = self.buckets[b]
            at = tuple(slice(None) if u == bucket.variable else layout[u] for u in bucket.scope)
            layout[bucket.variable] = int(self._grid(self._sums[b])[at].argmin())
        options, need = [], 0
        for t, table in enumerate(self.tables):
            entries = table.entries_at([layout[u] for u in table.scope])
            needs, fitting = table.need_bytes[entries], self._fitting(t, budget, entries)
            fastest = np.flatnonzero(fitting == fitting.min())
            entry = int(fastest[needs[fastest].argmin()])
            options.append(table.options[int(table.way[entries][entry])])
            need = max(need, int(needs[entry]))
        return Solved(total, need, Selection(tuple(options)))


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
        """The fastest selection within the budget that no cut rules out; None when there is none, or no program."""
        try:
            solved = self.program.solve_outside(budget_bytes, cuts)
        except TooWide:
            return None
        return None if solved is None else solved.selection


def eliminate(scopes: Sequence[tuple[int, ...]], domains: Sequence[int], most_entries: int) -> list[Bucket]:
    """An elimination order, smallest next table first, as buckets; TooWide when a table exceeds `most_entries`."""
    neighbours: list[set[int]] = [set() for _ in domains]
    for scope in scopes:
        for u in scope:
            neighbours[u].update(scope)
    left = set(range(len(domains)))
    pending_tables = dict(enumerate(scopes))
    pending_messages: dict[int, tuple[int, ...]] = {}
    buckets: list[Bucket] = []
    entries = {v: prod(domains[u] for u in neighbours[v] | {v}) for v in left}
    while left:
        v = min(left, key=lambda u: (entries[u], u))
        if entries[v] > most_entries:
            raise TooWide(f"a table of {entries[v]} entries would be needed")
        scope = tuple(sorted(neighbours[v] | {v}))
        shape = tuple(domains[u] for u in scope)

        def spread(part: tuple[int, ...], scope: tuple[int, ...] = scope) -> tuple[int, ...]:
            return tuple(domains[u] if u in part else 1 for u in scope)

        tables = [(t, spread(part)) for t, part in pending_tables.items() if v in part]
        messages = [(m, spread(part)) for m, part in pending_messages.items() if v in part]
        for t, _ in tables:
            del pending_tables[t]
        for m, _ in messages:
            del pending_messages[m]
        rest = tuple(u for u in scope if u != v)
        pending_messages[len(buckets)] = rest
        buckets.append(Bucket(v, scope, scope.index(v), shape, tuple(tables), tuple(messages)))
        left.remove(v)
        for u in rest:
            neighbours[u] = (neighbours[u] | set(rest)) - {v}
        for u in rest:
            entries[u] = prod(domains[w] for w in neighbours[u] | {u})
    return buckets
