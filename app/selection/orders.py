"""Which orders of a network's nodes a front is traced in: the file's, the one of least arena, or all that matter."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from app.candidates import Candidates
from app.chains import ChainCosts
from app.costs import CostTable
from app.errors import UserError
from app.order import JOINT, PROFILES, Orders, in_order
from app.points import Frontier, Point
from app.selection.limits import Limits
from app.selection.problem import Built, build_problem, time_from
from app.sites import Site
from app.slices import buffer_of
from solver import problem as sp
from solver.dp import DynamicProgram
from solver.front import Contradiction
from solver.order import Order
from solver.order_search import Cancelled, OrderSearch
from solver.tables import TooWide

ORDERED_AXES = ("arena", "total", "weights")
"""The axes on which the order counts; workspace is needed by one node at a time."""


LIMIT_S = {PROFILES: 20.0, JOINT: 600.0}
"""Irregular cells of many nodes have more orders than one waits for; then the front is that of the file's order."""


class NotOffered(Exception):
    """In another order the limits leave a layer nothing to run."""


class Arrangement:
    """The problems of a network in any order, at given limits and times. Builds few and permutes their nodes."""

    def __init__(self, offered: Candidates, limits: Limits, times: CostTable):
        self.orders = Orders(offered, exact=limits.order == JOINT)
        self.given: Order = tuple(range(len(self.orders.names)))
        self.precedence, self.watched = self.orders.precedence, self.orders.watched
        self.together: Sequence[frozenset[int]] = self.orders.together
        self._offered, self._limits, self._times = offered, limits, times
        self._chain_costs = ChainCosts(time_from(times))
        self._sites: dict[Site, Site] = {}
        self._built: dict[Order, Built] = {}
        self._known: dict[Hashable, tuple[Order, sp.Problem]] = {}

    def built(self, order: Order) -> Built:
        """The problem in that order with the meaning of its indices. Raises NotOffered."""
        if order not in self._built:
            candidates = in_order(self._offered, self.orders.named(order))
            try:
                narrowed = self._limits.narrow(candidates)
            except UserError as error:
                raise NotOffered(f"in some orders the limits leave a layer nothing to run: {error}") from None
            # Most orders leave most sites as they are, with all that has been worked out for them.
            sites = tuple(self._sites.setdefault(site, site) for site in narrowed.sites)
            chains = [chain for chain, _ in self._chain_costs.best(sites, narrowed.offers)]
            narrowed = dataclasses.replace(narrowed, sites=sites).of_chains(chains)
            self._built[order] = build_problem(narrowed, time_from(self._times))
        return self._built[order]

    def problem(self, order: Order) -> sp.Problem:
        """The same without the meaning, from a problem of another order where that is the same but for the order."""
        offers = self.orders.offers(order)
        if offers not in self._known:
            self._known[offers] = (order, self.built(order).problem)
        known, problem = self._known[offers]
        return problem if known == order else _permuted(problem, self.owners(problem), order)

    def offers(self, order: Order) -> Hashable:
        """For solver.order_search."""
        return self.orders.offers(order)

    def owners(self, problem: sp.Problem) -> Sequence[int]:
        """For solver.order_search: graph outputs run with the node they come from, graph inputs with the first."""
        place = {name: v for v, name in enumerate(self.orders.names)}
        found, owner = [], -1
        for node in problem.nodes:
            owner = place.get(node.name, owner)
            found.append(owner)
        return found


def _permuted(problem: sp.Problem, owners: Sequence[int], order: Order) -> sp.Problem:
    of: dict[int, list[int]] = {}
    for i, owner in enumerate(owners):
        of.setdefault(owner, []).append(i)
    nodes = [i for owner in (-1, *order) for i in of.get(owner, [])]
    place = {i: number for number, i in enumerate(nodes)}
    edges = [dataclasses.replace(edge, src=place[edge.src], dst=place[edge.dst]) for edge in problem.edges]
    edges.sort(key=lambda edge: (edge.dst, edge.port))
    carried = _carried([problem.nodes[i] for i in nodes], edges)
    return sp.Problem(carried, tuple(edges), problem.align_bytes, problem.tied)


def _carried(nodes: list[sp.Node], edges: list[sp.Edge]) -> tuple[sp.Node, ...]:
    """The nodes with each buffer of a concat brought along by whoever writes the first part in this order.

    Left alone are nests, where it depends on watched pairs only.
    """
    writers: dict[str, list[tuple[int, str]]] = {}
    for i, node in enumerate(nodes):
        for layout, part in node.parts.items():
            writers.setdefault(part.buffer, []).append((i, layout))
    for buffer, places in writers.items():
        head, layout_of_head = places[0]
        if any(o.joins and o.out_layout == layout for i, layout in places for o in nodes[i].options):
            continue
        if nodes[head].out_bytes[layout_of_head]:
            continue  # it does already
        whole_bytes = max(nodes[i].out_bytes[layout] for i, layout in places)
        for i, layout in places:
            size_bytes = whole_bytes if i == head else 0
            nodes[i] = dataclasses.replace(nodes[i], out_bytes={**nodes[i].out_bytes, layout: size_bytes})
        ends = [edge for edge in edges if edge.src == head]
        for edge in ends:
            joining = nodes[edge.dst]
            options = tuple(
                dataclasses.replace(o, in_place=edge.port) if o.joins and buffer_of(o.in_layouts[0]) == buffer else o
                for o in joining.options
            )
            if any(o.joins and buffer_of(o.in_layouts[0]) == buffer for o in joining.options):
                nodes[edge.dst] = dataclasses.replace(joining, options=options)
    return tuple(nodes)


@dataclass(frozen=True)
class Chosen:
    """Orders to trace beside the file's, and `because`: why orders were left out; "" when none was.

    `bound_ns` gives the least time within an arena over all orders, when it is known.
    """

    orders: tuple[Order, ...]
    because: str
    bound_ns: Callable[[int], int | None] | None = None


def choose(
    arrangement: Arrangement,
    rule: str,
    memory: str,
    known_bytes: int,
    should_cancel: Callable[[], bool] | None = None,
) -> Chosen:
    """The orders besides the file's that a rule wants a front traced in.

    `known_bytes` are live bytes that some selection takes in the file's order.

    PROFILES: an order of the least arena there is in any order, when that is less than in the file's; no segment is
    reordered that does not stand in the way. Chains with branches count as in the file's order there, for their inner
    orders would be too many to follow. JOINT: for every budget an order in which a selection
    is as fast as in any.
    """
    if memory not in ORDERED_AXES:
        return Chosen((), "")
    limit_s = LIMIT_S[rule]
    deadline_s = time.perf_counter() + limit_s

    def should_stop() -> bool:
        return time.perf_counter() > deadline_s or (should_cancel is not None and should_cancel())

    search = OrderSearch(arrangement, should_stop)
    if not search.has_orders:
        return Chosen((), "")
    names = [node.name for node in arrangement.problem(arrangement.given).nodes]
    if len(set(names)) < len(names):
        return Chosen((), "two nodes have one name")
    try:
        if rule == JOINT:
            orders = tuple(_joint(arrangement, search))
        else:
            orders = _smaller(arrangement, search, known_bytes)
    except (TooWide, NotOffered) as error:
        return Chosen((), str(error))
    except Cancelled:
        late = should_cancel is None or not should_cancel()
        return Chosen((), f"the search over orders took more than {limit_s:g} s" if late else "cancelled")
    because = ""
    deadline_s = math.inf  # the bounds of the points are asked for later, and most of them are known by now
    if search.capped:
        because = f"{len(search.capped)} segment(s) have more orders than were followed"
    return Chosen(orders, because, _bound(search) if rule == JOINT and not because else None)


def _smaller(arrangement: Arrangement, search: OrderSearch, known_bytes: int) -> tuple[Order, ...]:
    """An order of the least arena of all, unless that is the file's."""
    if search.first(known_bytes - 1) is None:
        return ()  # as a rule one layer alone needs that much, in whatever order
    least_bytes = DynamicProgram(arrangement.problem(arrangement.given), sp.MemoryAxis.ARENA).least_bytes()
    assert least_bytes is not None  # something takes `known_bytes`
    best = search.first(search.least_bytes(least_bytes))
    assert best is not None
    return () if best.order == arrangement.given else (best.order,)


def _joint(arrangement: Arrangement, search: OrderSearch) -> Iterator[Order]:
    """Descend over all budgets; whenever no order so far has a selection of the least time, another one is needed."""
    programs = {arrangement.given: DynamicProgram(arrangement.problem(arrangement.given), sp.MemoryAxis.ARENA)}
    budget: int | None = None
    while (best := search.solve(budget)) is not None:
        solved = [found for program in programs.values() if (found := program.solve(budget)) is not None]
        fast = [found for found in solved if found.time_ns == best.time_ns]
        if not fast:
            yield best.order
            programs[best.order] = DynamicProgram(arrangement.problem(best.order), sp.MemoryAxis.ARENA)
            found = programs[best.order].solve(budget)
            if found is None or found.time_ns != best.time_ns:
                raise Contradiction(f"within {budget} bytes: {best} by segments, {found} in that order")
            fast = [found]
        budget = min(found.need_bytes for found in fast) - 1


def _bound(search: OrderSearch) -> Callable[[int], int | None]:
    def bound_ns(arena_bytes: int) -> int | None:
        try:
            best = search.solve(arena_bytes)
        except Cancelled:
            return 0  # nothing is proven then
        return None if best is None else best.time_ns

    return bound_ns


def merged(fronts: Sequence[Frontier], rule: str, chosen: Chosen, seconds: float) -> Frontier:
    """One front of the efficient points of several orders; of equal points the one of the earlier front.

    `seconds` is how long it took to choose the orders.
    """
    first = fronts[0]
    size = f"{first.memory}_bytes"
    every = [(getattr(p, size), p.latency_ns, number, p) for number, f in enumerate(fronts) for p in f.points]
    every.sort(key=lambda entry: entry[:3])
    points: list[Point] = []
    for _, latency_ns, _, point in every:
        if not points or latency_ns < points[-1].latency_ns:
            points.append(point)
    started = time.perf_counter()
    if chosen.bound_ns is not None:
        points = [_bounded(point, chosen.bound_ns(point.arena_bytes)) for point in points]
    seconds += time.perf_counter() - started
    least = min((f for f in fronts if f.smallest_bytes is not None), key=lambda f: f.smallest_bytes or 0, default=first)
    return dataclasses.replace(
        first,
        order=rule,
        order_because=chosen.because,
        solve_s=sum(f.solve_s for f in fronts) + seconds,
        certified_by=" and ".join(dict.fromkeys(f.certified_by for f in fronts)),
        uncertified_because="; ".join(dict.fromkeys(f.uncertified_because for f in fronts if f.uncertified_because)),
        complete=all(f.complete for f in fronts),
        incomplete_because="; ".join(dict.fromkeys(f.incomplete_because for f in fronts if f.incomplete_because)),
        points=tuple(points),
        smallest_bytes=least.smallest_bytes,
        smallest_step=least.smallest_step,
    )


def _bounded(point: Point, bound_ns: int | None) -> Point:
    """The point with what no order can beat."""
    if bound_ns is None or bound_ns >= point.bound_ns:
        return point
    return dataclasses.replace(
        point, bound_ns=bound_ns, proven=False, gap=(point.latency_ns - bound_ns) / point.latency_ns
    )
