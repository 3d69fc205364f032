"""Orders and selections together: the search over segments and undominated orders against trying everything."""

from __future__ import annotations

import random
from dataclasses import replace
from math import prod
from typing import Any

import pytest

from solver.dp import DynamicProgram
from solver.order import Order, Precedence, kinds, segments
from solver.order_search import OrderSearch
from solver.order_tables import Stretch
from solver.problem import Conversion, Edge, MemoryAxis, Node, Option, Problem
from tests.solver import all_orders
from tests.solver.instances import random_problem

MOST_PLAYS = 20_000


class Permuted:
    """Any order of a problem without parts."""

    watched = frozenset[tuple[int, int]]()
    together = ()

    def __init__(self, problem: Problem):
        self.given = problem
        reads: list[set[int]] = [set() for _ in problem.nodes]
        for edge in problem.edges:
            reads[edge.dst].add(edge.src)
        self.precedence = Precedence(tuple(map(frozenset, reads)))

    def problem(self, order: Order) -> Problem:
        return all_orders.permuted(self.given, order)

    def offers(self, _order: Order) -> int:
        return 0

    def owners(self, problem: Problem) -> list[int]:
        names = [node.name for node in self.given.nodes]
        return [names.index(node.name) for node in problem.nodes]


def front_of(problem: Problem) -> list[tuple[int, int]]:
    """The front by asking the search, then the dynamic program in the order it names, for what it takes."""
    search, found, budget = OrderSearch(Permuted(problem)), [], None
    while (best := search.solve(budget)) is not None:
        solved = DynamicProgram(all_orders.permuted(problem, best.order), MemoryAxis.ARENA).solve(budget)
        assert solved is not None
        assert solved.time_ns == best.time_ns
        if found and found[-1][1] == solved.time_ns:
            found.pop()
        found.append((solved.need_bytes, solved.time_ns))
        budget = solved.need_bytes - 1
    return found[::-1]


def wide_problem(seed: int) -> Problem:
    """A random problem of up to 7 nodes whose orders are many: inputs from far back, and small enough to play."""
    rng = random.Random(seed)
    while True:
        problem = random_problem(rng.randrange(2**32), max_nodes=7)
        problem = replace(
            problem,
            edges=tuple(_from_elsewhere(edge, rng) for edge in problem.edges),
        )
        count = sum(1 for _ in all_orders.orders(problem))
        if count > 1 and count * prod(len(node.options) for node in problem.nodes) <= MOST_PLAYS:
            return problem


def _from_elsewhere(edge: Edge, rng: random.Random) -> Edge:
    return replace(edge, src=rng.randrange(edge.dst)) if rng.random() < 0.5 else edge


@pytest.mark.parametrize("seed", range(100))
def test_search_equals_all_orders_with_all_selections(seed: int) -> None:
    problem = wide_problem(seed)
    assert front_of(problem) == all_orders.front(problem)


@pytest.mark.parametrize("seed", range(30))
def test_segments_joined_in_any_way_are_orders_and_no_order_is_lost(seed: int) -> None:
    problem = wide_problem(seed)
    pieces = segments(Permuted(problem).precedence)
    assert sorted(v for piece in pieces for v in piece) == list(range(len(problem.nodes)))
    for order in all_orders.orders(problem):
        at = 0
        for piece in pieces:
            assert set(order[at : at + len(piece)]) == set(piece)
            at += len(piece)


def test_least_bytes_is_the_smallest_of_all_orders() -> None:
    for seed in range(40):
        problem = wide_problem(seed)
        expected = all_orders.front(problem)
        if expected:
            assert OrderSearch(Permuted(problem)).least_bytes(expected[-1][0] * 2) == expected[0][0]


def test_a_layer_that_has_to_need_as_much_spares_the_segments_of_many_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer 1 reads and writes 1024 bytes, whatever the order of the branches behind it; they are not looked at."""

    def node(v: int, out_bytes: int, reads: int) -> Node:
        return Node(f"n{v}", (Option("only", 1, ("a",) * reads, "a"),), {"a": out_bytes})

    nodes = (node(0, 1024, 0), node(1, 1024, 1), node(2, 64, 1), node(3, 64, 1), node(4, 64, 2))
    as_it_is = {("a", "a"): Conversion(0, 0, copies=False)}
    reads = ((0, 1, 0), (1, 2, 0), (1, 3, 0), (2, 4, 0), (3, 4, 1))
    problem = Problem(nodes, tuple(Edge(src, dst, port, as_it_is) for src, dst, port in reads))
    search = OrderSearch(Permuted(problem))
    assert search.segments == [(0, 1), (2, 3, 4)]
    looked_at: list[range] = []
    build = Stretch.__init__

    def noted(stretch: Stretch, problem: Problem, lo: int, hi: int, *shared: Any) -> None:
        looked_at.append(range(lo, hi))
        build(stretch, problem, lo, hi, *shared)

    monkeypatch.setattr(Stretch, "__init__", noted)
    assert search.least_bytes(2048) == 2048
    assert looked_at == [range(2)]
    assert search.first(2048) is not None
    assert looked_at == [range(2), range(2, 5)]


def test_nodes_kept_together_come_into_one_segment_where_an_order_is_free() -> None:
    diamond = Precedence(tuple(map(frozenset, ([], [0], [0], [1, 2], [3], [4]))))
    assert segments(diamond) == [(0,), (1, 2, 3), (4, 5)]
    assert segments(diamond, [frozenset({0, 4})]) == [(0, 1, 2, 3, 4), (5,)]
    assert segments(diamond, [frozenset({4, 5})]) == [(0,), (1, 2, 3), (4, 5)]


def test_kinds_part_the_orders() -> None:
    """Every order is of exactly one kind; a pair that another one settles makes no kind of its own."""
    branches = Precedence(tuple(map(frozenset, ([], [0], [0], [0], [1, 2, 3]))))
    found = list(kinds(branches, (0, 1, 2, 3, 4), [(1, 2), (2, 3), (1, 3), (0, 1)]))
    assert len({kind.order_of(range(5)) for kind in found}) == len(found) == 6
    assert found[0].order_of(range(5)) == (0, 1, 2, 3, 4)
