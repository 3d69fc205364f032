"""All ways to run each node of a problem, as tables over the layouts that matter to it. No optimisation.

Written apart from flow, evaluate and check: what a node's steps keep live is worked out once more here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from solver.problem import MemoryAxis, Option, Problem

Grid = npt.NDArray[np.int64]
NEVER = 2**56  # a time no selection reaches (two years); sums of up to 127 of these stay below 2^63
MOST_ENTRIES = 1 << 21  # largest table it will build


class TooWide(Exception):
    """The problem's layouts interact so widely that the tables would not fit; no statement about optimality."""


@dataclass(frozen=True)
class Table:
    """All ways to run one node. `scope` are the nodes whose layouts matter, ascending; `shape` how many each has.

    Entry e says that way `way[e]` applied at the assignment `cell[e]` of the scope (its position in row-major order)
    takes `time_ns[e]` and needs `need_bytes[e]`; what has no entry is not possible. Entries come by rising cell. Way k
    is option `options[k]`, loads `weights_bytes[k]` and keeps `resident_bytes[k]`, aligned. Needs are those of the
    steps alone, without what is resident.
    """

    scope: tuple[int, ...]
    shape: tuple[int, ...]
    cell: Grid
    way: Grid
    time_ns: Grid
    need_bytes: Grid
    options: tuple[int, ...]
    weights_bytes: Grid
    resident_bytes: Grid

    @cached_property
    def cells(self) -> tuple[Grid, Grid]:
        """The assignments that have entries, and where the entries of each begin; one more number ends the last."""
        found, first = np.unique(self.cell, return_index=True)
        return found, np.append(first, len(self.cell))

    def entries_at(self, assignment: Sequence[int]) -> slice:
        """The entries of an assignment of the scope."""
        cell = int(np.ravel_multi_index(tuple(assignment), self.shape)) if self.shape else 0
        found, first = self.cells
        at = int(np.searchsorted(found, cell))
        return slice(int(first[at]), int(first[at + 1])) if at < len(found) and found[at] == cell else slice(0, 0)

    def least_by_cell(self, values: Grid) -> Grid:
        """The least of the values of the entries of each assignment that has entries."""
        found, first = self.cells
        return np.minimum.reduceat(values, first[:-1]) if len(found) else np.zeros(0, np.int64)

    def least(self, values: Grid) -> Grid:
        """The least of the values of the entries of each assignment, as a grid; NEVER where there is no entry."""
        best = np.full(prod(self.shape), NEVER, np.int64)
        best[self.cells[0]] = self.least_by_cell(values)
        return best.reshape(self.shape)

    def only(self, cells: Grid) -> Table:
        """The entries at these assignments, which rise."""
        found, first = self.cells
        wanted = np.isin(found, cells, assume_unique=True)
        if wanted.all():
            return self
        kept = np.repeat(wanted, np.diff(first))
        return dataclasses.replace(
            self,
            cell=self.cell[kept],
            way=self.way[kept],
            time_ns=self.time_ns[kept],
            need_bytes=self.need_bytes[kept],
        )


@dataclass(frozen=True)
class _Ways:
    """A table over the layouts a node sees, needs less what passes by; and the least and most it can need with that."""

    table: Table
    least_bytes: int
    most_bytes: int
    most_passing_bytes: int


class TableBuilder:
    """Builds the table of each node by going through its steps for every combination of layouts.

    With a floor, steps that need less than every selection needs somewhere have narrower tables.
    """

    def __init__(
        self,
        problem: Problem,
        axis: MemoryAxis,
        layouts: list[tuple[str, ...]],
        weights_matter: bool,
        most_entries: int,
        *,
        with_floor: bool = False,
    ):
        self.problem, self.axis, self.layouts = problem, axis, layouts
        self.weights_matter, self.most_entries = weights_matter, most_entries
        self._with_floor = with_floor
        self._binds: list[bool] = []  # whether needs of a node can matter
        self._floor, self._floor_node = -1, -1  # what every selection needs at least, and the node that shows it
        # By node and what its options read and write: _steps, which every table of the node with such options needs.
        self._known_steps: dict[tuple[int, tuple[tuple[str, ...], int | None, str]], tuple[Grid, Grid, Grid, Grid]] = {}
        self.last = list(range(len(problem.nodes)))
        self.feeds: list[list[int]] = [[] for _ in problem.nodes]
        for index, edge in enumerate(problem.edges):
            self.last[edge.src] = max(self.last[edge.src], edge.dst)
            self.feeds[edge.dst].append(index)
        for feeds in self.feeds:
            feeds.sort(key=lambda index: problem.edges[index].port)
        most_ns = sum(max(o.time_ns for o in node.options) for node in problem.nodes)
        most_ns += sum(max((c.time_ns for c in e.conversions.values()), default=0) for e in problem.edges)
        if most_ns >= NEVER:
            raise TooWide("times are too large for 64-bit sums")
        self.parents: list[list[int]] = []
        self.others: list[list[int]] = []  # whose output is there while a node runs that does not read it
        passing: list[int] = []
        for v, feeds in enumerate(self.feeds):
            self.parents.append(sorted({problem.edges[e].src for e in feeds}))
            passing = [u for u in passing if self._survives(u, v - 1)]
            self.others.append([u for u in passing if u not in self.parents[v] and self._survives(u, v)])
            passing.append(v)

    def tables(self) -> list[Table]:
        """The table of every node, in order."""
        narrow = [self._narrow(v, node.options) for v, node in enumerate(self.problem.nodes)]
        if self._with_floor:
            self._floor, self._floor_node = max((ways.least_bytes, v) for v, ways in enumerate(narrow))
        self._binds = [ways.most_bytes > self._floor for ways in narrow]
        return [self._table(v, ways) for v, ways in enumerate(narrow)]

    def table(self, v: int, options: Sequence[Option]) -> Table:
        """The table of a node that has these options instead, of layouts known to the problem. After `tables`.

        It has the scope it had: TooWide when other layouts would matter now.
        """
        ways = self._narrow(v, options)
        if v == self._floor_node and ways.least_bytes < self._floor:
            raise TooWide(f"{self.problem.nodes[v].name} needs less than what was the least of every selection")
        if ways.most_bytes > self._floor and not self._binds[v]:
            raise TooWide(f"{self.problem.nodes[v].name} needs more than what was the least of every selection")
        return self._table(v, ways)

    def _aligned(self, size_bytes: int) -> int:
        align = self.problem.align_bytes
        return (size_bytes + align - 1) // align * align

    def _sizes(self, u: int) -> list[int]:
        return [self._aligned(self.problem.nodes[u].out_bytes[layout]) for layout in self.layouts[u]]

    def _survives(self, u: int, v: int) -> bool:
        """Whether u's output is needed after v has run."""
        return self.problem.nodes[u].stays_live or self.last[u] > v

    def _narrow(self, v: int, options: Sequence[Option]) -> _Ways:
        """All ways over the layouts of v and what it reads; needs are less the outputs that merely pass by."""
        node = self.problem.nodes[v]
        scope = tuple(sorted({v, *self.parents[v]}))
        shape = tuple(len(self.layouts[u]) for u in scope)
        if prod(shape) > self.most_entries:
            raise TooWide(f"{node.name} depends on the layouts of {len(scope) - 1} other nodes")

        found: list[tuple[Grid, Grid, Grid]] = []  # cells, times, needs of each way
        taken: list[int] = []
        groups: dict[tuple[tuple[str, ...], int | None, str], list[int]] = {}
        for i, option in enumerate(options):
            groups.setdefault((option.in_layouts, option.in_place, option.out_layout), []).append(i)
        for layouts, members in groups.items():
            if (v, layouts) not in self._known_steps:
                self._known_steps[v, layouts] = self._steps(v, options[members[0]], scope)
            cells, times, before, running = self._known_steps[v, layouts]
            for i in self._useful(options, members):
                workspace = options[i].workspace_bytes
                scratch = workspace if self.axis is MemoryAxis.WORKSPACE else self._aligned(workspace)
                found.append((cells, times + options[i].time_ns, np.maximum(before, running + scratch)))
                taken.append(i)
        entries = sum(len(cells) for cells, _, _ in found)
        if entries > 8 * self.most_entries:
            raise TooWide(f"{node.name} has {entries} ways to run in {prod(shape)} combinations of layouts")
        others = [] if self.axis is MemoryAxis.WORKSPACE else [self._sizes(u) for u in self.others[v]]
        nothing = np.zeros(0, np.int64)
        cell, time_ns, needs = (np.concatenate([nothing, *(way[i] for way in found)]) for i in range(3))
        way = np.repeat(np.arange(len(found)), [len(cells) for cells, _, _ in found])
        table = _table_of(scope, shape, cell, way, time_ns, needs, options=options, taken=taken, align=self._aligned)
        return _Ways(
            table,
            least_bytes=sum(map(min, others)) + int(needs.min(initial=NEVER)),
            most_bytes=sum(map(max, others)) + int(needs.max(initial=0)),
            most_passing_bytes=sum(map(max, others)),
        )

    def _steps(self, v: int, option: Option, scope: tuple[int, ...]) -> tuple[Grid, Grid, Grid, Grid]:
        """What an option shares with all of its layouts, by cell of the scope where that is possible.

        Cells, ns of conversions, the most that these need, and what is live during the run besides the workspace.
        """
        node, parents = self.problem.nodes[v], self.parents[v]
        shape = tuple(len(self.layouts[u]) for u in scope)
        waiting = {u: self._visit(v, u, option) for u in parents}
        able = {u: [k for k, served in enumerate(visit) if served.time_ns < NEVER] for u, visit in waiting.items()}
        able[v] = [self.layouts[v].index(option.out_layout)]
        extents = tuple(len(able[u]) for u in scope)

        def along(u: int, values: Sequence[int]) -> Grid:
            """Values by u's layout where that is possible, shaped to broadcast over the scope."""
            kept = [values[k] for k in able[u]]
            return np.array(kept, np.int64).reshape([len(kept) if w == u else 1 for w in scope])

        cells = np.ravel_multi_index(np.ix_(*(able[u] for u in scope)), shape).ravel()
        times = np.zeros(extents, np.int64)
        before = np.zeros(extents, np.int64)
        running = np.zeros(extents, np.int64)
        for u, visit in waiting.items():
            times = times + along(u, [served.time_ns for served in visit])
        if self.axis is not MemoryAxis.WORKSPACE:
            for port in range(len(self.feeds[v])):
                step = np.zeros(extents, np.int64)
                for u, visit in waiting.items():
                    step = step + along(u, [served.at_port[port] for served in visit])
                before = np.maximum(before, step)
            for u, visit in waiting.items():
                running = running + along(u, [served.at_run for served in visit])
            if option.in_place is None:
                running = running + self._aligned(node.out_bytes[option.out_layout])
        return cells, times.ravel(), before.ravel(), running.ravel()

    def _table(self, v: int, ways: _Ways) -> Table:
        """The table with what passes by. Where its needs are below what every selection needs, no layout of it matters.

        They are all taken for the largest they can be then: the largest need of a selection stays what it is.
        """
        table = ways.table
        if not self._binds[v]:
            return dataclasses.replace(table, need_bytes=table.need_bytes + ways.most_passing_bytes)
        others = [] if self.axis is MemoryAxis.WORKSPACE else self.others[v]
        steady = sum(self._sizes(u)[0] for u in others if len(set(self._sizes(u))) == 1)
        varying = [u for u in others if len(set(self._sizes(u))) > 1]
        scope = tuple(sorted({*table.scope, *varying}))
        shape = tuple(len(self.layouts[u]) for u in scope)
        if prod(shape) > self.most_entries:
            raise TooWide(f"{self.problem.nodes[v].name} depends on the layouts of {len(scope) - 1} other nodes")
        extents = [len(self.layouts[u]) for u in varying]
        if len(table.cell) * prod(extents) > 8 * self.most_entries:
            raise TooWide(
                f"{self.problem.nodes[v].name} has {len(table.cell) * prod(extents)} ways to run "
                f"in {prod(shape)} combinations of layouts"
            )
        # Every entry, once for each combination of what passes by.
        passing = np.full(prod(extents), steady, np.int64)
        coordinates = dict(zip(table.scope, np.unravel_index(table.cell, table.shape), strict=True))
        at = {u: found[:, None] for u, found in coordinates.items()}
        for u, found in zip(
            varying, np.unravel_index(np.arange(prod(extents)), extents) if extents else (), strict=True
        ):
            passing = passing + np.array(self._sizes(u))[found]
            at[u] = found[None, :]
        whole = (len(table.cell), len(passing))
        cell = np.ravel_multi_index([np.broadcast_to(at[u], whole) for u in scope], shape).ravel()
        order = np.argsort(cell, kind="stable")
        return Table(
            scope,
            shape,
            cell[order],
            np.repeat(table.way, len(passing))[order],
            np.repeat(table.time_ns, len(passing))[order],
            (table.need_bytes[:, None] + passing[None, :]).ravel()[order],
            table.options,
            table.weights_bytes,
            table.resident_bytes,
        )

    def _useful(self, options: Sequence[Option], members: list[int]) -> list[int]:
        """Members that no other member equals or beats in time, workspace, what is resident and weights that matter."""
        stays = self.axis is not MemoryAxis.WORKSPACE
        figures = {
            i: (
                options[i].time_ns,
                options[i].workspace_bytes,
                options[i].weights_bytes if self.weights_matter else 0,
                options[i].resident_bytes if stays else 0,
            )
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


def _table_of(
    scope: tuple[int, ...],
    shape: tuple[int, ...],
    cell: Grid,
    way: Grid,
    time_ns: Grid,
    need_bytes: Grid,
    *,
    options: Sequence[Option],
    taken: Sequence[int],
    align: Callable[[int], int],
) -> Table:
    """A table of these entries, whose ways are the options `taken`."""
    order = np.argsort(cell, kind="stable")
    return Table(
        scope,
        shape,
        cell[order],
        way[order],
        time_ns[order],
        need_bytes[order],
        tuple(taken),
        np.array([options[i].weights_bytes for i in taken], np.int64),
        np.array([align(options[i].resident_bytes) for i in taken], np.int64),
    )


@dataclass(frozen=True)
class _Served:
    """One parent at one layout: conversion time, and its bytes at each port's step and at the run."""

    time_ns: int
    at_port: list[int]
    at_run: int
