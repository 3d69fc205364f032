"""What consecutive nodes cost: their least time for every combination of the layouts that matter, within a budget.

Works on the tables of solver.tables, which hold time and memory of every way to run a node in one order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from solver.problem import MemoryAxis, Node, Option, Problem
from solver.tables import MOST_ENTRIES, NEVER, Grid, TableBuilder, TooWide

MOST_SUMMED = 100  # times NEVER that 64 bits hold, with what was there before

Layouts = dict[str, list[str]]
"""Layouts of each node's output, by node name; lists only ever grow."""


@dataclass(frozen=True)
class Factor:
    """Times by the layouts of the nodes named in `scope` (sorted), one axis each; NEVER where nothing is possible."""

    scope: tuple[str, ...]
    time_ns: Grid

    @property
    def key(self) -> Hashable:
        """The same for equal factors only."""
        return self.scope, self.time_ns.shape, self.time_ns.tobytes()

    def over(self, scope: Sequence[str], domains: Mapping[str, Sequence[str]]) -> Grid:
        """The same shaped to broadcast over a larger scope; layouts that came up since are never possible."""
        grid = self.time_ns
        grow = [(0, len(domains[name]) - size) for name, size in zip(self.scope, grid.shape, strict=True)]
        if any(more for _, more in grow):
            grid = np.pad(grid, grow, constant_values=NEVER)
        return grid.reshape([len(domains[name]) if name in self.scope else 1 for name in scope])


def add(factors: Iterable[Factor], domains: Mapping[str, Sequence[str]]) -> Factor:
    """The sum over the union of the scopes; TooWide when that is too large."""
    factors = list(factors)
    scope = tuple(sorted({name for factor in factors for name in factor.scope}))
    shape = [len(domains[name]) for name in scope]
    if prod(shape) > MOST_ENTRIES:
        raise TooWide(f"the layouts of {len(scope)} nodes would have to be compared at once")
    total = np.zeros(shape, np.int64)
    for number, factor in enumerate(factors, 1):
        total += factor.over(scope, domains)
        if number == len(factors) or number % MOST_SUMMED == 0:
            np.minimum(total, NEVER, out=total)
    return Factor(scope, total)


def without(factors: Sequence[Factor], names: Iterable[str], domains: Mapping[str, Sequence[str]]) -> Factor:
    """The sum of the factors, least over the layouts of `names`."""
    pool = list(factors)
    around = {name: {other for f in pool if name in f.scope for other in f.scope} for name in names}

    def entries(name: str) -> int:
        return prod(len(domains[other]) for other in around[name])

    sizes = {name: entries(name) for name in around}
    while sizes:
        name = min(sizes, key=lambda n: (sizes[n], n))
        del sizes[name]
        touched = [factor for factor in pool if name in factor.scope]
        if not touched:
            continue
        both = add(touched, domains)
        at = both.scope.index(name)
        pool = [factor for factor in pool if name not in factor.scope]
        pool.append(Factor(both.scope[:at] + both.scope[at + 1 :], both.time_ns.min(axis=at)))
        for other in pool[-1].scope:
            if other in sizes:
                around[other] = (around[other] | around[name]) - {name}
                sizes[other] = entries(other)
    return add(pool, domains)


class Stretch:
    """The nodes [lo, hi) of a problem by themselves: what is live around them, and every way to run them.

    `outside` are the names of nodes in [lo, hi) that later ones read or that stay live. What it takes is one of
    `factors` where it is the same as one of those, so that what is the same can be told by identity.
    """

    def __init__(self, problem: Problem, lo: int, hi: int, layouts: Layouts, factors: dict[Hashable, Factor]):
        part, first, self.outside = _cut_out(problem, lo, hi)
        known_here = [tuple(dict.fromkeys(o.out_layout for o in node.options)) for node in part.nodes]
        self.inside = [node.name for node in part.nodes[first:] if node.name not in self.outside]
        self._tables = TableBuilder(part, MemoryAxis.ARENA, known_here, False, MOST_ENTRIES).tables()[first:]
        self._scopes: list[tuple[str, ...]] = []
        self._where: list[tuple[Sequence[int], ...]] = []  # layouts of a table's axes among those known by name
        self.layouts = layouts
        self._factors = factors
        for table in self._tables:
            names = [part.nodes[u].name for u in table.scope]
            for u, name in zip(table.scope, names, strict=True):
                known = layouts.setdefault(name, [])
                known += [layout for layout in known_here[u] if layout not in known]
            self._scopes.append(tuple(sorted(names)))
            self._where.append(
                tuple(
                    [layouts[name].index(layout) for layout in known_here[u]]
                    for u, name in zip(table.scope, names, strict=True)
                )
            )
        self._order = [
            sorted(range(len(table.scope)), key=lambda i, t=table: part.nodes[t.scope[i]].name)  # type: ignore[misc]
            for table in self._tables
        ]
        self.levels = np.unique(np.concatenate([t.need_bytes for t in self._tables] or [np.zeros(0, np.int64)]))
        self._known: dict[int, Factor] = {}

    def within(self, budget_bytes: int | None) -> Factor:
        """The least time within a budget, by the layouts of the nodes outside."""
        level = len(self.levels) if budget_bytes is None else int(self.levels.searchsorted(budget_bytes, side="right"))
        if level not in self._known:
            factors = []
            for table, scope, where, order in zip(self._tables, self._scopes, self._where, self._order, strict=True):
                fits = True if budget_bytes is None else table.need_bytes <= budget_bytes
                best = table.least(np.where(fits, table.time_ns, NEVER))
                grid = np.full([len(self.layouts[scope[order.index(i)]]) for i in range(best.ndim)], NEVER, np.int64)
                grid[np.ix_(*where)] = best
                factors.append(Factor(scope, grid.transpose(order)))
            found = without(factors, self.inside, self.layouts)
            self._known[level] = self._factors.setdefault(found.key, found)
        return self._known[level]


def _cut_out(problem: Problem, lo: int, hi: int) -> tuple[Problem, int, set[str]]:
    """A problem of [lo, hi) behind the nodes whose outputs are live at its start, how many those are, and `outside`."""
    last = [-1] * len(problem.nodes)
    for edge in problem.edges:
        last[edge.src] = max(last[edge.src], edge.dst)
    reach = [len(problem.nodes) if node.stays_live else end for node, end in zip(problem.nodes, last, strict=True)]
    live = [u for u in range(lo) if reach[u] >= lo]
    number = {u: i for i, u in enumerate([*live, *range(lo, hi)])}
    nodes: list[Node] = []
    for u in number:
        node = dataclasses.replace(problem.nodes[u], stays_live=reach[u] >= hi)
        if u < lo:
            layouts = dict.fromkeys(option.out_layout for option in node.options)
            node = dataclasses.replace(node, options=tuple(Option("written", 0, (), layout) for layout in layouts))
        nodes.append(node)
    edges = tuple(
        dataclasses.replace(edge, src=number[edge.src], dst=number[edge.dst])
        for edge in problem.edges
        if lo <= edge.dst < hi
    )
    outside = {problem.nodes[u].name for u in range(lo, hi) if reach[u] >= hi}
    return Problem(tuple(nodes), edges, problem.align_bytes), len(live), outside
