"""Concats by slices: every exact method against all selections played by separately written code."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings

from solver.arena import place
from solver.check import check
from solver.dp import DynamicProgram
from solver.evaluate import ImpossibleSelection, bottleneck, evaluate, lifetimes
from solver.frontier import trace
from solver.problem import Conversion, Edge, MemoryAxis, Node, Option, Part, Placement, Problem, Selection, validate
from tests.solver import brute_force
from tests.solver.sliced_instances import sliced_problem, sliced_problems
from tests.solver.test_against_brute_force import model_front

AXES = tuple(MemoryAxis)


@settings(max_examples=120, deadline=None)
@given(sliced_problems())
def test_evaluation_and_checker_equal_playing_the_steps(problem):
    validate(problem)
    for choice in product(*(range(len(node.options)) for node in problem.nodes)):
        played = brute_force.play(problem, choice)
        faults = check(problem, Selection(choice))
        assert bool(faults) == (played is None)
        if played is None:
            with pytest.raises(ImpossibleSelection):
                evaluate(problem, Selection(choice))
        else:
            assert evaluate(problem, Selection(choice)) == played


@pytest.mark.parametrize("axis", AXES)
@settings(max_examples=120, deadline=None)
@given(problem=sliced_problems())
def test_model_front_is_the_brute_force_front(axis, problem):
    assert model_front(problem, axis) == brute_force.front(problem, axis)


@pytest.mark.parametrize("axis", [MemoryAxis.ARENA, MemoryAxis.WORKSPACE])
@settings(max_examples=120, deadline=None)
@given(problem=sliced_problems())
def test_dynamic_program_front_is_the_brute_force_front(axis, problem):
    found = DynamicProgram(problem, axis).trace()
    assert [(s.need_bytes, s.time_ns) for s in found] == brute_force.front(problem, axis)


@settings(max_examples=60, deadline=None)
@given(sliced_problems())
def test_every_allowed_selection_passes_the_checker_with_its_placement(problem):
    played = brute_force.all_plays(problem)
    for selection, figures in played[:: max(1, len(played) // 8)]:
        arena = place(lifetimes(problem, selection).buffers, problem.align_bytes)
        assert arena.lower_bound_bytes == figures.arena_bytes
        faults = check(
            problem, selection, evaluation=figures, placements=arena.placements, arena_bytes=arena.arena_bytes
        )
        assert not faults


def test_the_random_problems_have_what_they_are_for():
    """Fronts with joins, nests and buffers that cost more than copies."""
    found: Counter[str] = Counter()
    for seed in range(150):
        problem = sliced_problem(seed)
        played = brute_force.all_plays(problem)
        seen = set()
        for selection, _ in played:
            joined = [n.options[i] for n, i in zip(problem.nodes, selection.options, strict=True) if n.options[i].joins]
            seen |= {"joined"} if joined else set()
            seen |= {"nested"} if any("@" in option.out_layout for option in joined) else set()
            seen |= {"two buffers"} if len({option.in_layouts[0] for option in joined}) > 1 else set()
        found.update(seen)
        for point in trace(problem, MemoryAxis.ARENA).points if played else ():
            joins = [n.options[i].joins for n, i in zip(problem.nodes, point.selection.options, strict=True)]
            found["joined on a front"] += any(joins)
    assert min(found[what] for what in ("joined", "nested", "two buffers", "joined on a front")) >= 5, found


FREE = Conversion(0, 0, copies=False)


def block() -> tuple[Problem, Selection]:
    """DenseNet in small: x grows by b to c = [x, b], c by d to e = [c, d]; x and c are read on the way."""
    whole = "a@e"
    nodes = (
        Node("x", (Option("x", 1, (), whole),), {whole: 320}, parts={whole: Part(whole, 0, 128)}),
        Node("b", (Option("b", 1, ("a",), whole),), {whole: 0}, parts={whole: Part(whole, 128, 64)}),
        Node("c", (Option("j", 0, (whole,) * 2, whole, in_place=0, joins=True),), {whole: 320},
             parts={whole: Part(whole, 0, 192)}),
        Node("d", (Option("d", 1, ("a",), whole, 64),), {whole: 0}, parts={whole: Part(whole, 192, 128)}),
        Node("e", (Option("j", 0, (whole,) * 2, "a", in_place=0, joins=True),), {"a": 320}, stays_live=True),
    )  # fmt: skip
    read, join = {(whole, "a"): FREE}, {(whole, whole): FREE}
    edges = (
        Edge(0, 1, 0, read),
        Edge(0, 2, 0, join),
        Edge(1, 2, 1, join),
        Edge(2, 3, 0, read),
        Edge(2, 4, 0, join),
        Edge(3, 4, 1, join),
    )
    return Problem(nodes, edges), Selection((0,) * 5)


def test_a_growing_block_takes_its_whole_buffer_once():
    problem, selection = block()
    validate(problem)
    figures = evaluate(problem, selection)
    assert figures == brute_force.play(problem, selection.options)
    assert (figures.time_ns, figures.arena_bytes) == (3, 384)  # the buffer and the workspace of d
    assert [p.evaluation for p in trace(problem, MemoryAxis.ARENA).points] == [figures]
    (buffer, workspace) = lifetimes(problem, selection).buffers
    assert (buffer.first, buffer.last, buffer.size_bytes, workspace.size_bytes) == (0, 5, 320, 64)
    least = bottleneck(problem, selection, MemoryAxis.ARENA)
    assert (least.step, least.parts) == ("d", (("x with the rest of its concat", 320), ("workspace of d", 64)))


def spoilt(at: int, **changes: object) -> Problem:
    problem, _ = block()
    nodes = list(problem.nodes)
    nodes[at] = replace(nodes[at], **changes)
    return replace(problem, nodes=tuple(nodes))


WHOLE = "a@e"


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (spoilt(1, parts={WHOLE: Part(WHOLE, 192, 64)}), "side by side"),
        (spoilt(1, parts={WHOLE: Part("other", 128, 64)}), "one buffer"),
        (spoilt(1, parts={}), "one buffer"),
        (spoilt(3, parts={WHOLE: Part(WHOLE, 192, 64)}), "of the buffer, the output"),
        (spoilt(2, parts={WHOLE: Part(WHOLE, 0, 128)}), "of the buffer, the output"),
        (spoilt(0, stays_live=True), "one port of a join reads last"),
        (spoilt(1, out_bytes={WHOLE: 320}), "comes on ports"),
        (spoilt(4, options=(Option("o", 0, (WHOLE,) * 2, "a"),)), "other than by a join"),
        (spoilt(4, options=(Option("j", 0, (WHOLE,) * 2, "a", joins=True),)), "comes on ports"),
        (spoilt(3, options=(Option("d", 1, ("a",), WHOLE, in_place=0),)), "works in place and writes a part"),
    ],
)
def test_a_problem_whose_parts_could_come_apart_is_refused(problem, message):
    with pytest.raises(ValueError, match=message):
        validate(problem)


def test_the_checker_sees_a_buffer_that_is_not_held_and_a_part_that_is_not_its():
    problem, selection = block()
    lived = lifetimes(problem, selection)
    placements = place(lived.buffers, 64).placements
    assert not check(problem, selection, placements=placements)

    def reasons(placements: tuple[Placement, ...], of: Problem = problem) -> set[str]:
        return {fault.reason for fault in check(of, selection, placements=placements)}

    whole, scratch = placements
    assert "wrong-lifetime" in reasons((replace(whole, buffer=replace(whole.buffer, first=1)), scratch))
    assert "overlap" in reasons((whole, replace(scratch, offset_bytes=192)))  # over what d writes
    assert "overwritten" in reasons((whole, replace(scratch, offset_bytes=0)), spoilt_reader())
    assert reasons(placements, spoilt(1, parts={WHOLE: Part(WHOLE, 64, 64)})) == {"illegal-join"}
    assert reasons(placements, spoilt(3, parts={WHOLE: Part(WHOLE, 256, 128)})) == {"part-outside", "illegal-join"}
    assert reasons(placements, spoilt(1, out_bytes={WHOLE: 64})) == {"two-buffers"}


def spoilt_reader() -> Problem:
    """As `block`, but d reads nothing, so its workspace over x is seen only when e joins."""
    problem, _ = block()
    edges = list(problem.edges)
    edges[3] = replace(edges[3], src=1, conversions={("a@e", "a"): FREE})
    return replace(problem, edges=tuple(edges))
