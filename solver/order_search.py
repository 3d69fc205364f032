"""The fastest order and selection within a budget, exact over all orders and selections.

Given the layouts that cross a cut, what a segment takes depends on its own order alone. So the least time of a segment
is a table over those layouts, the least over its orders; the tables of all segments add up like a path. Within a
segment, what node v costs within a budget depends on the order only by the set of nodes that ran before it. Orders are
therefore grown on the lattice of these sets, and of two ways to run the same set the one that is slower at no node for
no layouts makes the other one superfluous.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from solver.order import Order, Pair, Precedence, has_orders, kinds, segments
from solver.order_tables import Factor, Layouts, Stretch, add, without
from solver.problem import Problem
from solver.tables import NEVER, Grid

MOST_LABELS = 400
"""Ways to run equally many nodes of a segment that are followed at once; where there are more, the search says so."""
MOST_KINDS = 32
"""Kinds of orders of a segment that are looked at."""


class Arrangement(Protocol):
    """Problems of one network in any order of its nodes. Every node has a name, the same in all of them.

    `watched` are pairs of nodes whose order among each other decides which options there are; `together` sets of nodes
    whose options depend on the order of others in the set. Overwriting an input needs neither.
    """

    precedence: Precedence
    watched: frozenset[Pair]
    together: Sequence[frozenset[int]]

    def problem(self, order: Order) -> Problem:
        """The problem in which the nodes run in that order."""

    def offers(self, order: Order) -> Hashable:
        """The same for orders in which every node has the same options, up to working in place."""

    def owners(self, problem: Problem) -> Sequence[int]:
        """For each node of a problem the node in `order` that it runs with, or -1: with the first of all."""


@dataclass(frozen=True)
class Ordered:
    """The least time within a budget, and an order in which a selection takes it."""

    time_ns: int
    order: Order


@dataclass(frozen=True)
class _Table:
    """The least time of a segment by the layouts around it, and which of `orders` takes it; the first of equals."""

    factor: Factor
    chosen: Grid
    orders: tuple[Order, ...]

    @property
    def is_stuck(self) -> bool:
        """Whether nothing is possible, whatever the layouts around the segment."""
        return int(self.factor.time_ns.min()) >= NEVER


@dataclass(frozen=True)
class _Label:
    """One way to run a set of nodes, with what each of them costs."""

    order: Order
    costs: tuple[Factor, ...]  # by node, ascending


class Cancelled(Exception):
    """The search was told to stop."""


class OrderSearch:
    """Every budget question over all orders. Raises TooWide when too many layouts would have to be compared at once."""

    def __init__(self, arrangement: Arrangement, should_cancel: Callable[[], bool] | None = None):
        self.arrangement = arrangement
        self.segments = segments(arrangement.precedence, arrangement.together)
        self.given: Order = tuple(v for segment in self.segments for v in segment)
        self.capped: set[Order] = set()
        self.layouts: Layouts = {}
        self._factors: dict[Hashable, Factor] = {}
        self._should_cancel = should_cancel
        self._free = [has_orders(arrangement.precedence, segment) for segment in self.segments]
        self._kinds: dict[int, list[Precedence]] = {}
        self._runs: dict[tuple[int, Hashable, int, int], Stretch] = {}
        self._run_of: dict[tuple[int, int, int, int], Stretch] = {}  # the same by kind instead of offers
        self._sums: dict[tuple[int, ...], tuple[Factor, _Label]] = {}
        self._whole: dict[tuple[int, int, bool], Stretch] = {}
        self._known_bounds: dict[int, list[Factor]] = {}
        self._offers: dict[int, dict[Hashable, int]] = {}
        self._best: dict[tuple[int, int | None], _Table] = {}
        self._grown: dict[tuple[int, int], tuple[list[tuple[Stretch, Factor]], list[_Label]]] = {}
        self._at_most: dict[tuple[int, int], tuple[bool, Factor, Factor]] = {}

    @property
    def has_orders(self) -> bool:
        """Whether there is any order but the given one."""
        return any(self._free)

    def solve(self, budget_bytes: int | None) -> Ordered | None:
        """The least time within the budget over all orders and selections; None when nothing fits."""
        for s in sorted(range(len(self.segments)), key=self._free.__getitem__):  # those of one order are soon asked
            if self._least(s, budget_bytes).is_stuck:
                return None
        return self._path([self._least(s, budget_bytes) for s in range(len(self.segments))])

    def first(self, budget_bytes: int) -> Ordered | None:
        """An order with a selection within the budget, and its least time; None when nothing fits in any order.

        The given order, but for segments that nothing fits in it; where that is not enough, for the fewest in a row.
        """
        if any(not free and self._given(s, budget_bytes).is_stuck for s, free in enumerate(self._free)):
            return None  # before the segments of many orders, which have by far the larger tables
        tables = [self._given(s, budget_bytes) for s in range(len(self.segments))]
        stuck = [table.is_stuck for table in tables]
        for s in sorted(range(len(tables)), key=lambda s: (not stuck[s], self._free[s], s)):
            if not stuck[s] and (found := self._path(tables)) is not None:
                return found
            tables[s] = self._least(s, budget_bytes)
            if tables[s].is_stuck:
                return None
        return self._path(tables)

    def least_bytes(self, feasible_bytes: int) -> int:
        """The least arena of all orders and selections, given one that is possible."""
        align = self.arrangement.problem(self.given).align_bytes
        high = -(-feasible_bytes // align)  # arenas are multiples of the alignment
        if self.first((high - 1) * align) is None:
            return high * align
        low = 0
        while low < high:
            middle = (low + high) // 2
            if self.first(middle * align) is None:
                low = middle + 1
            else:
                high = middle
        return high * align

    def _given(self, s: int, budget_bytes: int | None) -> _Table:
        factor = self._stretch(s, 0, anywhere=False).within(budget_bytes)
        return _Table(factor, np.zeros(factor.time_ns.shape, np.int64), (self.segments[s],))

    def _least(self, s: int, budget_bytes: int | None) -> _Table:
        key = (s, budget_bytes)
        if key in self._best:
            return self._best[key]
        segment = self.segments[s]
        table = self._given(s, budget_bytes)
        if self._free[s] and not self._cannot_improve(s, table.factor):
            for kind in range(len(self._kinds_of(s))):
                for label in self._undominated(s, kind, budget_bytes):
                    if label.order != segment:
                        table = self._better(table, self._sum(s, label), label.order)
        self._best[key] = table
        return table

    def _sum(self, s: int, label: _Label) -> Factor:
        """What running all of segment s takes. What no later segment reads is the segment's own affair."""
        key = (s, *map(id, label.costs))
        if key not in self._sums:
            inside = self._stretch(s, 0, anywhere=False).inside
            self._sums[key] = (without(label.costs, inside, self.layouts), label)
        return self._sums[key][0]  # the label is kept, so that the ids of its costs stay theirs

    def _better(self, table: _Table, factor: Factor, order: Order) -> _Table:
        """The least of both. Layouts can have come up in between, so both are brought to what is known now."""
        scope = tuple(sorted({*table.factor.scope, *factor.scope}))
        shape = [len(self.layouts[name]) for name in scope]
        old = np.broadcast_to(table.factor.over(scope, self.layouts), shape)
        new = np.broadcast_to(factor.over(scope, self.layouts), shape)
        if (new >= old).all():
            return table
        was = np.broadcast_to(Factor(table.factor.scope, table.chosen).over(scope, self.layouts), shape)
        chosen = np.where(new < old, len(table.orders), was)
        return _Table(Factor(scope, np.minimum(old, new)), chosen, (*table.orders, order))

    def _undominated(self, s: int, kind: int, budget_bytes: int | None) -> list[_Label]:
        """The orders of one kind of which none is at most as slow as another one for all layouts."""
        if (s, kind) in self._grown:
            runs, labels = self._grown[s, kind]
            if all(run.within(budget_bytes) is cost for run, cost in runs):
                return labels  # nothing that was looked at is another at this budget
        precedence, segment = self._kinds_of(s)[kind], self.segments[s]
        level: dict[int, list[_Label]] = {0: [_Label((), ())]}
        inside = sum(1 << v for v in segment)
        runs = []
        for _ in segment:
            grown: dict[int, list[_Label]] = {}
            for done, labels in level.items():
                for v in segment:
                    if done >> v & 1 or precedence.before[v] & inside & ~done:
                        continue
                    if self._should_cancel is not None and self._should_cancel():
                        raise Cancelled
                    run = self._run(s, kind, done, v)
                    cost = run.within(budget_bytes)
                    runs.append((run, cost))
                    if int(cost.time_ns.min()) >= NEVER:
                        continue
                    at = (done & (1 << v) - 1).bit_count()
                    rivals = grown.setdefault(done | 1 << v, [])
                    for label in labels:
                        new = _Label((*label.order, v), (*label.costs[:at], cost, *label.costs[at:]))
                        if not any(self._beats(old, new) for old in rivals):
                            rivals[:] = [old for old in rivals if not self._beats(new, old)]
                            rivals.append(new)
            if sum(map(len, grown.values())) > MOST_LABELS:
                self.capped.add(segment)
                share = max(1, MOST_LABELS // len(grown))
                grown = {done: labels[:share] for done, labels in grown.items()}
            level = grown
        self._grown[s, kind] = (runs, level.get(inside, []))
        return self._grown[s, kind][1]

    def _beats(self, one: _Label, two: _Label) -> bool:
        at_most = self._at_most
        for a, b in zip(one.costs, two.costs, strict=True):
            if a is not b:
                known = at_most.get((id(a), id(b)))
                if not (self._is_at_most(a, b) if known is None else known[0]):
                    return False
        return True

    def _is_at_most(self, a: Factor, b: Factor) -> bool:
        scope = tuple(sorted({*a.scope, *b.scope}))
        fits = bool((a.over(scope, self.layouts) <= b.over(scope, self.layouts)).all())
        self._at_most[id(a), id(b)] = (fits, a, b)  # kept, so that their ids stay theirs
        return fits

    def _cannot_improve(self, s: int, found: Factor) -> bool:
        """Whether no order of the segment is faster than this for any layouts, even without a budget."""
        return all(self._is_at_most(found, bound) for bound in self._bounds(s))

    def _bounds(self, s: int) -> Iterator[Factor]:
        """The tables of a segment without a budget, by what its orders offer; as many as are asked for."""
        known = self._known_bounds.setdefault(s, [])
        yield from known
        if not known:
            known.append(self._stretch(s, 0, anywhere=True).within(None))
            yield known[0]
        if s not in self._offers:
            self._offers[s] = {
                self.arrangement.offers(self._whole_order(s, precedence.order_of(self.segments[s]))): kind
                for kind, precedence in enumerate(self._kinds_of(s))
            }
            self._offers[s].pop(self.arrangement.offers(self.given), None)
        for kind in list(self._offers[s].values())[len(known) - 1 :]:
            known.append(self._stretch(s, kind, anywhere=True).within(None))
            yield known[-1]

    def _kinds_of(self, s: int) -> list[Precedence]:
        if s not in self._kinds:
            found: list[Precedence] = []
            for kind in kinds(self.arrangement.precedence, self.segments[s], self.arrangement.watched):
                if len(found) == MOST_KINDS:
                    self.capped.add(self.segments[s])
                    break
                found.append(kind)
            self._kinds[s] = found
        return self._kinds[s]

    def _run(self, s: int, kind: int, done: int, v: int) -> Stretch:
        """Node v with what runs at once with it, after exactly the nodes in `done` of its segment."""
        if (known := self._run_of.get((s, kind, done, v))) is not None:
            return known
        order_of, segment = self._kinds_of(s)[kind].order_of, self.segments[s]
        first = [u for u in segment if done >> u & 1]
        rest = [u for u in segment if u != v and not done >> u & 1]
        order = (*order_of(first), v, *order_of(rest))
        key = (s, self.arrangement.offers(self._whole_order(s, order)), done, v)
        if key not in self._runs:
            self._runs[key] = self._cut(s, order, {v}, anywhere=False)
        self._run_of[s, kind, done, v] = self._runs[key]
        return self._runs[key]

    def _stretch(self, s: int, kind: int, *, anywhere: bool) -> Stretch:
        """A segment in one order of a kind, the given order for the first."""
        key = (s, kind, anywhere)
        if key not in self._whole:
            order = self._kinds_of(s)[kind].order_of(self.segments[s]) if kind else self.segments[s]
            self._whole[key] = self._cut(s, order, set(order), anywhere=anywhere)
        return self._whole[key]

    def _whole_order(self, s: int, order: Order) -> Order:
        return tuple(v for i, piece in enumerate(self.segments) for v in (order if i == s else piece))

    def _cut(self, s: int, order: Order, wanted: set[int], *, anywhere: bool) -> Stretch:
        """Some consecutive nodes of segment s in an order; `anywhere`: as if nothing worked in place."""
        whole = self._whole_order(s, order)
        problem = self.arrangement.problem(whole)
        if whole[0] in wanted:
            wanted = wanted | {-1}
        places = [i for i, owner in enumerate(self.arrangement.owners(problem)) if owner in wanted]
        if anywhere:
            nodes = list(problem.nodes)
            for i in places:
                options = tuple(dataclasses.replace(o, in_place=None) for o in nodes[i].options)
                nodes[i] = dataclasses.replace(nodes[i], options=options)
            problem = dataclasses.replace(problem, nodes=tuple(nodes))
        return Stretch(problem, places[0], places[-1] + 1, self.layouts, self._factors)

    def _path(self, tables: Sequence[_Table]) -> Ordered | None:
        """Add up the segments' tables and trace back which order each of them takes."""
        needed: list[set[str]] = []  # names that later segments still mention
        later: set[str] = set()
        for table in reversed(tables):
            needed.append(set(later))
            later |= set(table.factor.scope)
        so_far = Factor((), np.zeros((), np.int64))
        sums: list[Factor] = []
        for table, rest in zip(tables, reversed(needed), strict=True):
            total = add([so_far, table.factor], self.layouts)
            sums.append(total)
            gone = tuple(i for i, name in enumerate(total.scope) if name not in rest)
            so_far = Factor(tuple(n for n in total.scope if n in rest), total.time_ns.min(axis=gone))
        time_ns = int(so_far.time_ns)
        if time_ns >= NEVER:
            return None
        at: dict[str, int] = {}
        order: list[Order] = []
        for table, total in zip(reversed(tables), reversed(sums), strict=True):
            grid = total.time_ns[tuple(at.get(name, slice(None)) for name in total.scope)]
            best = np.unravel_index(int(grid.argmin()), grid.shape)
            at |= {name: int(i) for name, i in zip([n for n in total.scope if n not in at], best, strict=True)}
            order.append(table.orders[int(table.chosen[tuple(at[name] for name in table.factor.scope)])])
        return Ordered(time_ns, tuple(v for part in reversed(order) for v in part))
