"""Bucket elimination over output layouts: the same optimum as the model by another algorithm, without any LP.

One variable per node (the layout it writes), one table per node (its fastest option for every combination of the
layouts that matter to it), variables eliminated one by one. Shares nothing with flow, model or highs but the problem.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from solver.problem import Cut, MemoryAxis, Option, Problem, Selection

Grid = npt.NDArray[np.int64]
NEVER = 2**56  # a time no selection reaches (two years); sums of up to 127 of these stay below 2^63
MOST_ENTRIES = 1 << 21  # largest table it will build
MOST_BRANCHES = 2000  # solves it will spend on getting out of the cuts of one budget
Choice = tuple[int, int]  # node, option index


class TooWide(Exception):
    """The problem's layouts interact so widely that the tables would not fit; no statement about optimality."""


@dataclass(frozen=True)
class Table:
    """All ways to run one node. `scope` are the nodes whose layouts matter, ascending.

    Way k applied at an assignment of the scope takes `time_ns[k, ...]` (NEVER: not possible) and needs
    `need_bytes[k, ...]`; it is option `options[k]` and loads `weights_bytes[k]`.
    """

    scope: tuple[int, ...]
    time_ns: Grid
    need_bytes: Grid
    options: tuple[int, ...]
    weights_bytes: Grid


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
        self, problem: Problem, axis: MemoryAxis, *, weights_matter: bool = False, most_entries: int = MOST_ENTRIES
    ):
        self.problem, self.axis = problem, axis
        self.layouts = [tuple(dict.fromkeys(o.out_layout for o in node.options)) for node in problem.nodes]
        self.tables = _Builder(problem, axis, self.layouts, weights_matter, most_entries).tables()
        self.buckets = eliminate(
            [table.scope for table in self.tables], [len(layouts) for layouts in self.layouts], most_entries
        )
        self._levels = [np.unique(table.need_bytes[table.time_ns < NEVER]) for table in self.tables]
        self._best: list[Grid | None] = [None] * len(self.tables)
        self._sums: list[Grid | None] = [None] * len(self.buckets)
        self._messages: list[Grid | None] = [None] * len(self.buckets)
        self._budget: int | None = None
        self._closed: frozenset[Choice] = frozenset()

    def solve(self, budget_bytes: int | None = None, closed: frozenset[Choice] = frozenset()) -> Solved | None:
        """The fastest selection within the budget without the closed options; None when none fits.

        With an option, all of the same layouts and at least its workspace must be closed: those that another one beats
        in time and workspace are not in the tables.
        """
        top = max((int(levels[-1]) for levels in self._levels if len(levels)), default=0)
        budget = top if budget_bytes is None else min(budget_bytes, top)
        self._refresh(budget, closed)
        total = 0
        for bucket, message in zip(self.buckets, self._messages, strict=True):
            if len(bucket.scope) == 1:
                assert message is not None
                total += int(message)
        if total >= NEVER:
            return None
        return self._trace_back(total, budget)

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
        self._closed = closed
        for t in range(len(self.tables)):
            levels = self._levels[t]
            if self._best[t] is not None and self._budget is not None and t not in reopened:
                old, new = np.searchsorted(levels, (self._budget, budget), side="right")
                if old == new:
                    continue
            self._best[t] = self._fitting(t, budget).min(axis=0)
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

    def _fitting(self, t: int, budget: int, at: tuple[int | slice, ...] = ()) -> Grid:
        """Time of each way of a table, at an assignment of its scope: NEVER where it does not fit or is closed."""
        table = self.tables[t]
        fitting = np.where(table.need_bytes[at] <= budget, table.time_ns[at], NEVER)
        shut = [k for k, i in enumerate(table.options) if (t, i) in self._closed] if self._closed else []
        fitting[shut] = NEVER
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
            at = (slice(None), *(layout[u] for u in table.scope))
            needs, fitting = table.need_bytes[at], self._fitting(t, budget, at)
            ways = np.flatnonzero(fitting == fitting.min())
            way = int(ways[needs[ways].argmin()])
            options.append(table.options[way])
            need = max(need, int(needs[way]))
        return Solved(total, need, Selection(tuple(options)))


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


class _Builder:
    """Builds the table of each node by going through its steps for every combination of layouts."""

    def __init__(
        self,
        problem: Problem,
        axis: MemoryAxis,
        layouts: list[tuple[str, ...]],
        weights_matter: bool,
        most_entries: int,
    ):
        self.problem, self.axis, self.layouts = problem, axis, layouts
        self.weights_matter, self.most_entries = weights_matter, most_entries
        self.readers: list[set[int]] = [set() for _ in problem.nodes]
        self.feeds: list[list[int]] = [[] for _ in problem.nodes]
        for index, edge in enumerate(problem.edges):
            self.readers[edge.src].add(edge.dst)
            self.feeds[edge.dst].append(index)
        for feeds in self.feeds:
            feeds.sort(key=lambda index: problem.edges[index].port)
        most_ns = sum(max(o.time_ns for o in node.options) for node in problem.nodes)
        most_ns += sum(max((c.time_ns for c in e.conversions.values()), default=0) for e in problem.edges)
        if most_ns >= NEVER:
            raise TooWide("times are too large for 64-bit sums")

    def tables(self) -> list[Table]:
        return [self._table(v) for v in range(len(self.problem.nodes))]

    def _aligned(self, size_bytes: int) -> int:
        align = self.problem.align_bytes
        return (size_bytes + align - 1) // align * align

    def _sizes(self, u: int) -> list[int]:
        return [self._aligned(self.problem.nodes[u].out_bytes[layout]) for layout in self.layouts[u]]

    def _survives(self, u: int, v: int) -> bool:
        """Whether u's output is needed after v has run."""
        return self.problem.nodes[u].stays_live or any(reader > v for reader in self.readers[u])

    def _table(self, v: int) -> Table:
        node = self.problem.nodes[v]
        parents = sorted({self.problem.edges[e].src for e in self.feeds[v]})
        others = [u for u in range(v) if u not in parents and self._survives(u, v)]
        if self.axis is MemoryAxis.WORKSPACE:
            others = []
        steady = sum(self._sizes(u)[0] for u in others if len(set(self._sizes(u))) == 1)
        varying = [u for u in others if len(set(self._sizes(u))) > 1]
        scope = tuple(sorted({v, *parents, *varying}))
        shape = tuple(len(self.layouts[u]) for u in scope)
        if prod(shape) > self.most_entries:
            raise TooWide(f"{node.name} depends on the layouts of {len(scope) - 1} other nodes")

        def along(u: int, values: Sequence[int]) -> Grid:
            """Values by u's layout, shaped to broadcast over the scope."""
            return np.array(values, np.int64).reshape([len(values) if w == u else 1 for w in scope])

        passing = np.full([1] * len(scope), steady, np.int64)
        for u in varying:
            passing = passing + along(u, self._sizes(u))
        ways: list[tuple[int, Grid, Grid]] = []
        groups: dict[tuple[tuple[str, ...], int | None, str], list[int]] = {}
        for i, option in enumerate(node.options):
            groups.setdefault((option.in_layouts, option.in_place, option.out_layout), []).append(i)
        for members in groups.values():
            first = node.options[members[0]]
            wrote = self.layouts[v].index(first.out_layout)
            times = along(v, [0 if k == wrote else NEVER for k in range(len(self.layouts[v]))])
            before = np.zeros([1] * len(scope), np.int64)
            running = passing
            if self.axis is MemoryAxis.WORKSPACE:
                running = np.zeros_like(passing)
            waiting = [self._visit(v, u, first) for u in parents]
            for u, visit in zip(parents, waiting, strict=True):
                times = times + along(u, [min(served.time_ns, NEVER) for served in visit])
            if self.axis is not MemoryAxis.WORKSPACE:
                for port in range(len(self.feeds[v])):
                    step = passing
                    for u, visit in zip(parents, waiting, strict=True):
                        step = step + along(u, [served.at_port[port] for served in visit])
                    before = np.maximum(before, step)
                for u, visit in zip(parents, waiting, strict=True):
                    running = running + along(u, [served.at_run for served in visit])
                if first.in_place is None:
                    running = running + self._aligned(node.out_bytes[first.out_layout])
            for i in self._useful(node.options, members):
                workspace = node.options[i].workspace_bytes
                scratch = workspace if self.axis is MemoryAxis.WORKSPACE else self._aligned(workspace)
                need = np.maximum(before, running + scratch)
                ways.append((i, np.minimum(times + node.options[i].time_ns, NEVER), need))
        if prod(shape) * len(ways) > 8 * self.most_entries:
            raise TooWide(f"{node.name} has {len(ways)} ways to run in {prod(shape)} combinations of layouts")
        return Table(
            scope,
            np.stack([np.broadcast_to(times, shape) for _, times, _ in ways]),
            np.stack([np.broadcast_to(need, shape) for _, _, need in ways]),
            tuple(i for i, _, _ in ways),
            np.array([node.options[i].weights_bytes for i, _, _ in ways], np.int64),
        )

    def _useful(self, options: Sequence[Option], members: list[int]) -> list[int]:
        """Members that no other member equals or beats in time, workspace and (when they matter) weights."""
        figures = {
            i: (options[i].time_ns, options[i].workspace_bytes, options[i].weights_bytes if self.weights_matter else 0)
            for i in members
        }
        kept: list[int] = []
        for i in sorted(members, key=lambda i: (figures[i], options[i].weights_bytes)):
            if not any(all(a <= b for a, b in zip(figures[k], figures[i], strict=True)) for k in kept):
                kept.append(i)
        return kept

    def _visit(self, v: int, u: int, option: Option) -> list[_Served]:
        """What v's steps keep of parent u, for each layout u may have written."""
        return [self._serve(v, u, option, layout) for layout in self.layouts[u]]

    def _serve(self, v: int, u: int, option: Option, layout: str) -> _Served:
        problem = self.problem
        mine = [e for e in self.feeds[v] if problem.edges[e].src == u]
        impossible = _Served(NEVER, [0] * len(self.feeds[v]), 0)
        chosen = {}
        for e in mine:
            port = problem.edges[e].port
            conversion = problem.edges[e].conversions.get((layout, option.in_layouts[port]))
            if conversion is None:
                return impossible
            chosen[port] = conversion
        original = self._aligned(problem.nodes[u].out_bytes[layout])
        if option.in_place in chosen:
            target = self._aligned(problem.nodes[v].out_bytes[option.out_layout])
            over = chosen[option.in_place]
            if over.copies:
                legal = self._aligned(over.copy_bytes) == target > 0
            else:
                legal = original == target > 0 and not self._survives(u, v) and len(mine) == 1
            if not legal:
                return impossible
        converting = [port for port, conversion in chosen.items() if conversion.copies]
        needed_by_run = self._survives(u, v) or len(converting) < len(chosen)
        at_port = []
        copied = 0
        original_live = True
        for port in range(len(self.feeds[v])):
            live = copied + (original if original_live else 0)
            if port in converting:
                copied += self._aligned(chosen[port].copy_bytes)
                live += self._aligned(chosen[port].copy_bytes) + self._aligned(chosen[port].workspace_bytes)
                if not needed_by_run and port == max(converting):
                    original_live = False
            at_port.append(live)
        run = copied + (original if original_live else 0)
        return _Served(sum(c.time_ns for c in chosen.values()), at_port, run)


@dataclass(frozen=True)
class _Served:
    """One parent at one layout: conversion time, and its bytes at each port's step and at the run."""

    time_ns: int
    at_port: list[int]
    at_run: int
