"""Every order of the nodes of a tiny problem, each with every selection. Written apart from solver/order*.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

from solver.problem import MemoryAxis, Problem
from tests.solver.brute_force import all_plays


def permuted(problem: Problem, order: tuple[int, ...]) -> Problem:
    """The problem with node order[i] at place i."""
    place = {v: i for i, v in enumerate(order)}
    edges = tuple(replace(edge, src=place[edge.src], dst=place[edge.dst]) for edge in problem.edges)
    return replace(problem, nodes=tuple(problem.nodes[v] for v in order), edges=edges)


def orders(problem: Problem) -> Iterator[tuple[int, ...]]:
    """All of them, by trying every permutation."""
    for order in permutations(range(len(problem.nodes))):
        place = {v: i for i, v in enumerate(order)}
        if all(place[edge.src] < place[edge.dst] for edge in problem.edges):
            yield order


def front(problem: Problem) -> list[tuple[int, int]]:
    """Non-dominated (arena, time_ns) of all orders and selections, by rising arena."""
    found = sorted(
        (figures.on(MemoryAxis.ARENA), figures.time_ns)
        for order in orders(problem)
        for _, figures in all_plays(permuted(problem, order))
    )
    efficient: list[tuple[int, int]] = []
    for point in found:
        if not efficient or point[1] < efficient[-1][1]:
            efficient.append(point)
    return efficient
