"""Model, dynamic program and evaluation against all selections played by separately written code."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.dp import DynamicProgram
from solver.evaluate import ImpossibleSelection, evaluate
from solver.front import Infeasible
from solver.frontier import trace
from solver.problem import Conversion, Edge, MemoryAxis, Node, Option, Problem, Selection
from tests.solver import brute_force
from tests.solver.instances import problems

AXES = tuple(MemoryAxis)


def model_front(problem: Problem, axis: MemoryAxis, max_weights_bytes: int | None = None) -> list[tuple[int, int]]:
    try:
        front = trace(problem, axis, max_weights_bytes=max_weights_bytes)
    except Infeasible:
        return []
    assert front.complete
    assert not front.uncertified_because
    assert all(point.proven for point in front.points)
    assert front.smallest_bytes == front.points[0].evaluation.on(axis)
    assert all(evaluate(problem, p.selection) == p.evaluation for p in front.points)
    return [(p.evaluation.on(axis), p.evaluation.time_ns) for p in front.points]


@settings(max_examples=150, deadline=None)
@given(problems())
def test_evaluation_equals_playing_the_steps(problem):
    for choice in product(*(range(len(node.options)) for node in problem.nodes)):
        played = brute_force.play(problem, choice)
        if played is None:
            with pytest.raises(ImpossibleSelection):
                evaluate(problem, Selection(choice))
        else:
            assert evaluate(problem, Selection(choice)) == played


@pytest.mark.parametrize("axis", AXES)
@settings(max_examples=150, deadline=None)
@given(problem=problems())
def test_model_front_is_the_brute_force_front(axis, problem):
    assert model_front(problem, axis) == brute_force.front(problem, axis)


@pytest.mark.parametrize("axis", [MemoryAxis.ARENA, MemoryAxis.WORKSPACE])
@settings(max_examples=150, deadline=None)
@given(problem=problems())
def test_dynamic_program_front_is_the_brute_force_front(axis, problem):
    found = DynamicProgram(problem, axis).trace()
    assert [(s.need_bytes, s.time_ns) for s in found] == brute_force.front(problem, axis)
    for solved in found:
        figures = evaluate(problem, solved.selection)
        assert (figures.on(axis), figures.time_ns) == (solved.need_bytes, solved.time_ns)


@pytest.mark.parametrize("axis", AXES)
@settings(max_examples=40, deadline=None)
@given(problem=problems(), max_weights_bytes=st.integers(0, 60))
def test_bounded_weights_front_is_the_brute_force_front(axis, problem, max_weights_bytes):
    assert model_front(problem, axis, max_weights_bytes) == brute_force.front(problem, axis, max_weights_bytes)


FREE = Conversion(0, 0, copies=False)
COPY = Conversion(1, 64)


def pair_of_nodes(option: Option, edges: tuple[Edge, ...], out_bytes: int = 64, source_bytes: int = 64) -> Problem:
    source = Node("a", (Option("o", 1, (), "x"),), {"x": source_bytes})
    return Problem((source, Node("b", (option,), {"x": out_bytes, "y": out_bytes})), edges)


@pytest.mark.parametrize(
    ("problem", "arena_bytes"),
    [
        # The original is gone when b runs: copy, output and workspace; at the conversion there were only two.
        (pair_of_nodes(Option("o", 1, ("y",), "y", 64), (Edge(0, 1, 0, {("x", "y"): COPY}),)), 192),
        # Port 0 reads the original unconverted, so the conversion on port 1 does not free it.
        (
            pair_of_nodes(
                Option("o", 1, ("x", "y"), "y", 64),
                (Edge(0, 1, 0, {("x", "x"): FREE}), Edge(0, 1, 1, {("x", "y"): COPY})),
            ),
            256,
        ),
        # Both ports are converted: the original lives until the second conversion, then goes.
        (
            pair_of_nodes(
                Option("o", 1, ("y", "y"), "y"),
                (Edge(0, 1, 0, {("x", "y"): COPY}), Edge(0, 1, 1, {("x", "y"): COPY})),
            ),
            192,
        ),
        # In place on the copy: the original is gone, the output takes no new bytes.
        (pair_of_nodes(Option("o", 1, ("y",), "y", 0, 0, 0), (Edge(0, 1, 0, {("x", "y"): COPY}),)), 128),
        # Conversion workspace counts during the conversion alone.
        (
            pair_of_nodes(Option("o", 1, ("y",), "y"), (Edge(0, 1, 0, {("x", "y"): Conversion(1, 64, True, 128)}),)),
            256,
        ),
        # What lies outside the arena cannot be overwritten, not even by an output outside the arena.
        (
            pair_of_nodes(
                Option("o", 1, ("x",), "x", 0, 0, 0), (Edge(0, 1, 0, {("x", "x"): FREE}),), 0, source_bytes=0
            ),
            None,
        ),
    ],
)
def test_each_rule_of_the_memory_model_has_the_figure_worked_out_by_hand(problem, arena_bytes):
    expected = [] if arena_bytes is None else [arena_bytes]
    assert [b for b, _ in brute_force.front(problem, MemoryAxis.ARENA)] == expected
    assert [b for b, _ in model_front(problem, MemoryAxis.ARENA)] == expected
    assert [s.need_bytes for s in DynamicProgram(problem, MemoryAxis.ARENA).trace()] == expected
