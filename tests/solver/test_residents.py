"""Resident bytes: fronts, offsets and the checker against all selections, and label searches of three sums."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from solver import labels, weights, weights_labels
from solver.arena import place
from solver.check import check
from solver.evaluate import bottleneck, evaluate, lifetimes
from solver.front import Infeasible
from solver.frontier import solve_one, trace
from solver.planner import largest_first
from solver.problem import BufferKind, Evaluation, MemoryAxis, Node, Option, Placement, Problem, Selection
from solver.sums import SumsProgram
from solver.warm import WarmSolver
from solver.weights import WeightsFront, trace_weights
from tests.solver import brute_force
from tests.solver.instances import random_problem, residual


def with_residents(problem: Problem, rng: random.Random, share: float = 0.6) -> Problem:
    """Some options with a twin of the same time whose weights are lighter and that keeps bytes of the arena."""

    def options(node: Node) -> tuple[Option, ...]:
        twins = [
            replace(
                option,
                name=f"{option.name} resident",
                weights_bytes=option.weights_bytes // rng.choice([2, 4]),
                resident_bytes=option.weights_bytes * rng.choice([1, 4]) + rng.randrange(2),
            )
            for option in node.options
            if option.weights_bytes and not option.joins and rng.random() < share
        ]
        return (*node.options, *twins)

    return replace(problem, nodes=tuple(replace(node, options=options(node)) for node in problem.nodes))


def resident_problems(max_nodes: int = 4) -> st.SearchStrategy[Problem]:
    def build(seed: int) -> Problem:
        return with_residents(random_problem(seed, max_nodes), random.Random(seed))

    return st.integers(0, 2**32 - 1).map(build)


@settings(max_examples=100, deadline=None)
@given(resident_problems())
def test_every_selection_passes_with_its_residents_in_front(problem: Problem) -> None:
    played = brute_force.all_plays(problem)
    assume(played)
    for selection, figures in played[:: max(1, len(played) // 8)]:
        assert evaluate(problem, selection) == figures
        buffers = lifetimes(problem, selection).buffers
        resident = [b for b in buffers if b.kind is BufferKind.RESIDENT]
        for arena in (place(buffers, problem.align_bytes), largest_first(buffers)):
            assert arena.lower_bound_bytes == figures.arena_bytes
            ends = [p.offset_bytes + p.buffer.size_bytes for p in arena.placements if p.buffer in resident]
            assert max(ends, default=0) == sum(b.size_bytes for b in resident)
            assert not check(
                problem, selection, evaluation=figures, placements=arena.placements, arena_bytes=arena.arena_bytes
            )


def resident_pair() -> tuple[Problem, Selection]:
    """Two nodes, the second with resident weights."""
    problem = residual(seed=1, blocks=1, options_per_conv=2)
    nodes = list(problem.nodes)
    v = next(i for i, node in enumerate(nodes) if node.options[0].weights_bytes)
    twin = replace(nodes[v].options[-1], name="twin", resident_bytes=200)
    nodes[v] = replace(nodes[v], options=(*nodes[v].options, twin))
    problem = replace(problem, nodes=tuple(nodes))
    found = solve_one(problem, MemoryAxis.WORKSPACE, None).selection
    assert found is not None
    for index in range(len(nodes[v].options) - 1, -1, -1):
        chosen = Selection(tuple(index if i == v else o for i, o in enumerate(found.options)))
        if not check(problem, chosen) and nodes[v].options[index].resident_bytes:
            return problem, chosen
    picks = [len(node.options) - 1 for node in nodes]  # all direct, in one layout
    return problem, Selection(tuple(picks))


def test_the_checker_names_a_resident_that_is_overwritten_lost_or_behind_other_data() -> None:
    problem, selection = resident_pair()
    assert not check(problem, selection)
    arena = place(lifetimes(problem, selection).buffers, problem.align_bytes)
    at = next(i for i, p in enumerate(arena.placements) if p.buffer.kind is BufferKind.RESIDENT)
    mine = arena.placements[at]
    assert mine.offset_bytes == 0
    assert mine.buffer.size_bytes == 256

    def reasons(*changed: Placement) -> set[str]:
        others = [p for i, p in enumerate(arena.placements) if i != at]
        faults = check(problem, selection, placements=[*others, *changed], arena_bytes=arena.arena_bytes + 4096)
        return {fault.reason for fault in faults}

    assert not reasons(mine)
    assert "missing-buffer" in reasons()
    assert "overwritten" in reasons(replace(mine, offset_bytes=256))
    assert reasons(replace(mine, offset_bytes=arena.arena_bytes)) == {"resident-behind"}
    assert reasons(replace(mine, buffer=replace(mine.buffer, last=mine.buffer.last - 1))) == {"wrong-lifetime"}
    assert "wrong-size" in reasons(replace(mine, buffer=replace(mine.buffer, size_bytes=64)))


def test_a_bottleneck_counts_what_is_resident() -> None:
    problem, selection = resident_pair()
    step = bottleneck(problem, selection, MemoryAxis.ARENA)
    assert step.need_bytes == evaluate(problem, selection).arena_bytes == sum(size for _, size in step.parts)
    assert any(what.startswith("resident weights of") for what, _ in step.parts)


@pytest.mark.parametrize("axis", list(MemoryAxis))
@settings(max_examples=40, deadline=None)
@given(problem=resident_problems(), most=st.one_of(st.none(), st.integers(0, 50)))
def test_front_is_the_brute_force_front(axis: MemoryAxis, problem: Problem, most: int | None) -> None:
    expected = brute_force.front(problem, axis, most)
    try:
        front = trace(problem, axis, max_weights_bytes=most)
    except Infeasible:
        assert not expected
        return
    assert front.complete
    assert not front.uncertified_because
    assert all(point.proven for point in front.points)
    assert front.smallest_bytes == expected[0][0]
    assert [(p.evaluation.on(axis), p.evaluation.time_ns) for p in front.points] == expected


def efficient_weights(played: list[Evaluation]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for point in sorted((f.weights_bytes, f.time_ns) for f in played):
        if not found or point[1] < found[-1][1]:
            found.append(point)
    return found


@settings(max_examples=60, deadline=None)
@given(problem=resident_problems(), seed=st.integers(0, 2**32 - 1))
def test_weights_front_within_an_arena_is_the_brute_force_front(problem: Problem, seed: int) -> None:
    played = [figures for _, figures in brute_force.all_plays(problem)]
    arena = random.Random(seed).choice([None, *(f.arena_bytes for f in played)])
    expected = efficient_weights([f for f in played if arena is None or f.arena_bytes <= arena])
    if not expected:
        with pytest.raises(Infeasible):
            trace_weights(problem, arena)
        return
    front = trace_weights(problem, arena)
    assert front.complete
    assert not front.uncertified_because
    assert front.certified_by == "labels+highs-mip"
    assert [(p.evaluation.weights_bytes, p.evaluation.time_ns) for p in front.points] == expected


@pytest.mark.parametrize("axis", [MemoryAxis.ARENA, MemoryAxis.TOTAL])
@settings(max_examples=60, deadline=None)
@given(problem=resident_problems(), seed=st.integers(0, 2**32 - 1), slack_ns=st.integers(-1, 3))
def test_a_search_of_three_sums_finds_the_least_time(
    axis: MemoryAxis, problem: Problem, seed: int, slack_ns: int
) -> None:
    rng = random.Random(seed)
    played = [figures for _, figures in brute_force.all_plays(problem)]
    assume(played)
    budget = rng.choice([None, rng.choice(played).on(axis) - rng.choice([0, 1])])
    most = rng.choice([None, rng.choice(played).weights_bytes - rng.choice([0, 1])])
    within = [
        f.time_ns
        for f in played
        if (budget is None or f.on(axis) <= budget) and (most is None or f.weights_bytes <= most)
    ]
    program = SumsProgram(problem, axis)
    least = min(within, default=None)
    assert program.fastest_ns(budget, most, None) == least
    if least is not None:
        assert program.fastest_ns(budget, most, least + slack_ns) == (least if slack_ns >= 0 else None)


@settings(max_examples=40, deadline=None)
@given(problem=resident_problems(), seed=st.integers(0, 2**32 - 1))
def test_a_warm_model_answers_with_residents(problem: Problem, seed: int) -> None:
    rng = random.Random(seed)
    played = [figures for _, figures in brute_force.all_plays(problem)]
    assume(played)
    for axis in (MemoryAxis.ARENA, MemoryAxis.TOTAL):
        solver = WarmSolver(problem, axis)
        for _ in range(3):
            budget, most = rng.choice(played).on(axis), rng.choice([None, rng.choice(played).weights_bytes])
            within = [f.time_ns for f in played if f.on(axis) <= budget and (most is None or f.weights_bytes <= most)]
            solver.limit(max_weights_bytes=most)
            outcome = solver.ask(budget)
            assert (outcome.evaluation.time_ns if outcome.evaluation else None) == min(within, default=None)
            assert outcome.proven


def test_a_front_of_a_residual_network_is_confirmed_by_both_methods() -> None:
    problem = with_residents(residual(seed=3, blocks=2, options_per_conv=6), random.Random(3))
    fastest = solve_one(problem, MemoryAxis.WORKSPACE, None).evaluation
    assert fastest is not None
    front = trace_weights(problem, 2 * fastest.arena_bytes)
    assert front.certified_by == "labels+highs-mip"
    assert len(front.points) > 3


def figures_of(front: WeightsFront) -> list[tuple[int, int]]:
    return [(point.evaluation.weights_bytes, point.evaluation.time_ns) for point in front.points]


def test_a_search_of_too_many_labels_is_taken_over_by_highs(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = with_residents(residual(seed=3, blocks=2, options_per_conv=6), random.Random(3))
    fastest = solve_one(problem, MemoryAxis.WORKSPACE, None).evaluation
    assert fastest is not None
    by_labels = trace_weights(problem, 2 * fastest.arena_bytes)
    monkeypatch.setattr(labels, "BLOCK", 16)
    assert figures_of(trace_weights(problem, 2 * fastest.arena_bytes)) == figures_of(by_labels)
    monkeypatch.setattr(weights_labels, "MOST_LABELS", 1)
    by_highs = trace_weights(problem, 2 * fastest.arena_bytes)
    assert by_highs.certified_by == "highs-mip+labels"
    assert by_highs.complete
    assert figures_of(by_highs) == figures_of(by_labels)
    monkeypatch.setattr(weights, "DESCENT_S", 0.0)
    stopped = trace_weights(problem, 2 * fastest.arena_bytes)
    assert not stopped.complete
    assert not stopped.points
    assert stopped.incomplete_because.startswith("stopped after 0 s")
