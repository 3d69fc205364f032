"""Fronts in bytes that offsets take: against all selections laid out one by one, where live bytes are out of reach."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import pytest

from solver.arena import place
from solver.dp import DynamicProgram
from solver.evaluate import ImpossibleSelection, evaluate, lifetimes
from solver.front import Infeasible
from solver.frontier import smallest, solve_one, trace
from solver.offsets import conflict
from solver.problem import Conversion, Edge, MemoryAxis, Node, Option, Problem, Selection
from tests.solver.test_arena import BOUND_OUT_OF_REACH

UNIT = 64
SEEDS = range(4)
FREE = Conversion(0, 0, copies=False)
READ = {("a", "a"): FREE, ("b", "a"): FREE}


def staggered(
    rectangles: list[tuple[int, int, int]], rng: random.Random | None = None, choices: int = 3, plain: bool = False
) -> Problem:
    """A node per buffer (first, last, units), which writes it, and after each time a node that reads those that end.

    `choices` of the writers have a slower option with a smaller output, and some have options of other workspaces. At
    its fastest, the problem is the packing of the rectangles.
    """
    rng = rng or random.Random(0)
    nodes: list[Node] = []
    edges: list[Edge] = []
    writer: dict[int, int] = {}
    slower = set() if plain else set(rng.sample(range(len(rectangles)), min(choices, len(rectangles))))
    for time in range(max(last for _, last, _ in rectangles)):
        for i, (first, _, units) in enumerate(rectangles):
            if first != time:
                continue
            options = [Option("fast", 10, (), "a", weights_bytes=4 * rng.randrange(3))]
            if i in slower:
                options.append(Option("slow", 10 + rng.randrange(1, 5), (), "b", weights_bytes=4 * rng.randrange(3)))
                if rng.random() < 0.5:
                    options.append(Option("scratch", 9, (), "a", UNIT * rng.randrange(1, 3)))
            writer[i] = len(nodes)
            nodes.append(Node(f"b{i}", tuple(options), {"a": UNIT * units, "b": UNIT * max(0, units - 1)}))
        ending = [i for i, (_, last, _) in enumerate(rectangles) if last == time + 1]
        if ending:
            edges += [Edge(writer[i], len(nodes), port, READ) for port, i in enumerate(ending)]
            nodes.append(Node(f"t{time}", (Option("read", 1, ("a",) * len(ending), "none"),), {"none": 0}))
    return Problem(tuple(nodes), tuple(edges), UNIT)


def laid_out_front(problem: Problem, axis: MemoryAxis, max_weights_bytes: int | None = None) -> list[tuple[int, int]]:
    """(bytes with offsets, time) of all efficient selections, each laid out by itself."""
    found = []
    for choice in product(*(range(len(node.options)) for node in problem.nodes)):
        try:
            lived = lifetimes(problem, Selection(choice))
        except ImpossibleSelection:
            continue
        figures = evaluate(problem, Selection(choice))
        if max_weights_bytes is not None and figures.weights_bytes > max_weights_bytes:
            continue
        arena = place(lived.buffers, problem.align_bytes)
        assert arena.proven_minimal
        weights_bytes = figures.weights_bytes if axis is MemoryAxis.TOTAL else 0
        found.append((arena.arena_bytes + weights_bytes, figures.time_ns))
    efficient: list[tuple[int, int]] = []
    for point in sorted(found):
        if not efficient or point[1] < efficient[-1][1]:
            efficient.append(point)
    return efficient


def test_a_selection_whose_offsets_need_more_than_its_budget_is_cut_and_solved_again():
    problem = staggered(BOUND_OUT_OF_REACH, plain=True)
    front = trace(problem, MemoryAxis.ARENA)
    assert [point.evaluation.arena_bytes for point in front.points] == [6 * UNIT]
    assert [point.on(MemoryAxis.ARENA) for point in front.points] == [7 * UNIT]
    assert front.smallest_bytes == 7 * UNIT
    assert front.complete
    assert front.certified_by == "highs-lp+dp"
    with pytest.raises(Infeasible) as error:
        solve_one(problem, MemoryAxis.ARENA, 7 * UNIT - 1)
    assert error.value.smallest_bytes == 7 * UNIT
    assert smallest(problem, MemoryAxis.ARENA).on(MemoryAxis.ARENA) == 7 * UNIT


@pytest.mark.parametrize("axis", [MemoryAxis.ARENA, MemoryAxis.TOTAL])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_front_in_bytes_of_offsets_is_that_of_all_selections_laid_out(axis, seed):
    problem = staggered(BOUND_OUT_OF_REACH, random.Random(seed))
    front = trace(problem, axis)
    expected = laid_out_front(problem, axis)
    assert [(point.on(axis), point.evaluation.time_ns) for point in front.points] == expected
    assert front.complete
    assert all(point.proven for point in front.points)
    assert front.smallest_bytes == expected[0][0]
    if axis is MemoryAxis.ARENA:
        assert front.certified_by.endswith("+dp")


@pytest.mark.parametrize("max_weights_bytes", [16, 24, 32])
@pytest.mark.parametrize("seed", SEEDS)
def test_with_bounded_weights_too_the_front_is_that_of_all_selections_laid_out(max_weights_bytes, seed):
    problem = staggered(BOUND_OUT_OF_REACH, random.Random(seed))
    axis = MemoryAxis.ARENA
    expected = laid_out_front(problem, axis, max_weights_bytes)
    if not expected:
        with pytest.raises(Infeasible):
            trace(problem, axis, max_weights_bytes=max_weights_bytes)
        return
    front = trace(problem, axis, max_weights_bytes=max_weights_bytes)
    assert [(point.on(axis), point.evaluation.time_ns) for point in front.points] == expected
    assert front.complete
    assert all(point.proven for point in front.points)
    assert front.certified_by == "labels+highs-mip"
    assert front.smallest_bytes == expected[0][0]


def test_the_random_problems_have_fronts_that_live_bytes_alone_get_wrong():
    wrong = 0
    for seed in SEEDS:
        problem = staggered(BOUND_OUT_OF_REACH, random.Random(seed))
        in_live_bytes = [(s.need_bytes, s.time_ns) for s in DynamicProgram(problem, MemoryAxis.ARENA).trace()]
        front = trace(problem, MemoryAxis.ARENA, verify=False)
        wrong += in_live_bytes != [(point.on(MemoryAxis.ARENA), point.evaluation.time_ns) for point in front.points]
    assert wrong >= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cut_rules_out_selections_alone_that_need_more_than_the_room(seed):
    problem = staggered(BOUND_OUT_OF_REACH, random.Random(seed))
    selection = Selection((0,) * len(problem.nodes))
    room_bytes = 7 * UNIT - 1
    cut, live_bytes, need_bytes = conflict(problem, selection, lifetimes(problem, selection), room_bytes)
    assert len(cut) < len(problem.nodes)
    assert need_bytes > room_bytes
    ruled_out = 0
    for choice in product(*(range(len(node.options)) for node in problem.nodes)):
        if all(choice[v] in options for v, options in cut.items()):
            ruled_out += 1
            arena = place(lifetimes(problem, Selection(choice)).buffers, UNIT)
            assert arena.lower_bound_bytes >= live_bytes
            assert arena.arena_bytes >= need_bytes
    assert ruled_out >= 1


def test_without_a_proof_of_the_offsets_nothing_is_claimed(monkeypatch):
    """Neither that the next selection is the fastest, nor that there is none."""
    true_place = place

    def unsure(*args, **kwargs):
        arena = true_place(*args, **kwargs)
        return arena if arena.arena_bytes == arena.lower_bound_bytes else replace(arena, proven_minimal=False)

    monkeypatch.setattr("solver.offsets.place", unsure)
    front = trace(staggered(BOUND_OUT_OF_REACH, plain=True), MemoryAxis.ARENA)
    assert not front.complete
    assert "offsets" in front.incomplete_because
