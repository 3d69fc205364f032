"""The checker accepts every right plan and names what is wrong with every planted fault."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings

from solver.arena import place
from solver.check import check
from solver.evaluate import evaluate, lifetimes
from solver.problem import BufferKind, Conversion, Edge, MemoryAxis, Node, Option, Placement, Problem, Selection
from tests.solver import brute_force
from tests.solver.instances import problems, residual


def reasons(*args, **kwargs) -> set[str]:
    return {fault.reason for fault in check(*args, **kwargs)}


@settings(max_examples=100, deadline=None)
@given(problems())
def test_every_allowed_selection_passes_with_its_placement(problem):
    played = brute_force.all_plays(problem)
    assume(played)
    for selection, figures in played[:: max(1, len(played) // 8)]:
        arena = place(lifetimes(problem, selection).buffers, problem.align_bytes)
        assert arena.lower_bound_bytes == figures.arena_bytes
        assert not check(
            problem, selection, evaluation=figures, placements=arena.placements, arena_bytes=arena.arena_bytes
        )


@settings(max_examples=60, deadline=None)
@given(problems())
def test_it_refuses_exactly_what_cannot_be_played(problem):
    for choice in brute_force.product(*(range(len(node.options)) for node in problem.nodes)):
        faults = check(problem, Selection(choice))
        assert bool(faults) == (brute_force.play(problem, choice) is None)


def chain() -> tuple[Problem, Selection]:
    """a -> b (converted) -> c (in place); d adds a and c. Every feature that a plan can get wrong, in four nodes."""
    free = Conversion(0, 0, copies=False)
    nodes = (
        Node("a", (Option("a", 5, (), "x", 64, 4),), {"x": 128}),
        Node("b", (Option("b", 7, ("y",), "x", 192, 8), Option("slow", 9, ("x",), "x", 0, 8)), {"x": 128}),
        Node("c", (Option("c", 3, ("x",), "x", in_place=0), Option("far", 3, ("z",), "x")), {"x": 128}),
        Node("d", (Option("d", 2, ("x", "x"), "x"),), {"x": 128}, stays_live=True),
    )
    edges = (
        Edge(0, 1, 0, {("x", "y"): Conversion(4, 256, True, 64), ("x", "x"): free}),
        Edge(1, 2, 0, {("x", "x"): free}),
        Edge(0, 3, 0, {("x", "x"): free}),
        Edge(2, 3, 1, {("x", "x"): free}),
    )
    return Problem(nodes, edges), Selection((0, 0, 0, 0))


PROBLEM, SELECTION = chain()
EVALUATION = evaluate(PROBLEM, SELECTION)
PLACED = place(lifetimes(PROBLEM, SELECTION).buffers, 64).placements


def test_the_unspoilt_plan_passes():
    faults = check(
        PROBLEM,
        SELECTION,
        evaluation=EVALUATION,
        placements=PLACED,
        axis=MemoryAxis.ARENA,
        budget_bytes=EVALUATION.arena_bytes,
        max_weights_bytes=12,
    )
    assert faults == ()


@pytest.mark.parametrize("figure", ["time_ns", "arena_bytes", "workspace_bytes", "weights_bytes"])
@pytest.mark.parametrize("by", [-64, 64])
def test_a_wrong_figure_is_named(figure, by):
    wrong = replace(EVALUATION, **{figure: getattr(EVALUATION, figure) + by})
    assert reasons(PROBLEM, SELECTION, evaluation=wrong) == {f"wrong-{figure.split('_')[0]}"}


@pytest.mark.parametrize(
    ("axis", "used_bytes"),
    [
        (MemoryAxis.ARENA, EVALUATION.arena_bytes),
        (MemoryAxis.WORKSPACE, EVALUATION.workspace_bytes),
        (MemoryAxis.TOTAL, EVALUATION.total_bytes),
    ],
)
def test_one_byte_over_budget_is_named(axis, used_bytes):
    assert not reasons(PROBLEM, SELECTION, axis=axis, budget_bytes=used_bytes)
    assert reasons(PROBLEM, SELECTION, axis=axis, budget_bytes=used_bytes - 1) == {"over-budget"}


def test_one_byte_of_weights_too_many_is_named():
    assert reasons(PROBLEM, SELECTION, max_weights_bytes=11) == {"over-weights"}


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (Selection((0, 0, 1, 0)), "layout-mismatch"),
        (Selection((0, 0, 0)), "selection-shape"),
        (Selection((0, 2, 0, 0)), "selection-shape"),
    ],
)
def test_a_selection_that_is_not_allowed_is_named(selection, reason):
    assert reasons(PROBLEM, selection) == {reason}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: replace(p, edges=(*p.edges[:3], replace(p.edges[2], src=1, dst=3, port=1))),  # b read after c
        lambda p: replace(p, nodes=(p.nodes[0], replace(p.nodes[1], stays_live=True), *p.nodes[2:])),
        lambda p: replace(p, nodes=(p.nodes[0], replace(p.nodes[1], out_bytes={"x": 0}), *p.nodes[2:])),
        lambda p: replace(p, nodes=(p.nodes[0], replace(p.nodes[1], out_bytes={"x": 192}), *p.nodes[2:])),
    ],
)
def test_overwriting_what_is_still_needed_is_named(spoil):
    assert reasons(spoil(PROBLEM), SELECTION) == {"illegal-in-place"}


def respun(kind: BufferKind, index: int, **change: int) -> list[Placement]:
    """The good placements with one changed: offset_bytes of the placement, or a field of its buffer."""
    spoilt = []
    for p in PLACED:
        if (p.buffer.kind, p.buffer.index) == (kind, index):
            offset_bytes = change.pop("offset_bytes", p.offset_bytes)
            p = Placement(replace(p.buffer, **change), offset_bytes)
        spoilt.append(p)
    return spoilt


def at(kind: BufferKind, index: int) -> int:
    return next(p.offset_bytes for p in PLACED if (p.buffer.kind, p.buffer.index) == (kind, index))


OUTPUT, COPY, WORKSPACE, CONVERSION_WORKSPACE, _ = BufferKind


@pytest.mark.parametrize(
    ("placements", "reason"),
    [
        (respun(OUTPUT, 1, offset_bytes=at(OUTPUT, 0)), "overwritten"),  # b over a, which d still reads
        (respun(OUTPUT, 1, offset_bytes=at(COPY, 0)), "overlap"),  # b over the copy it is reading
        (respun(WORKSPACE, 1, offset_bytes=at(OUTPUT, 0)), "overwritten"),  # scratch of b over a, which d still reads
        (respun(WORKSPACE, 1, offset_bytes=at(COPY, 0)), "overlap"),  # scratch over the node's input
        (respun(WORKSPACE, 1, offset_bytes=at(OUTPUT, 1)), "overlap"),  # scratch over the node's output
        (respun(CONVERSION_WORKSPACE, 0, offset_bytes=at(OUTPUT, 0)), "overlap"),
        (respun(OUTPUT, 3, offset_bytes=at(OUTPUT, 1)), "overlap"),  # d over c, which lies in b's storage
        (respun(OUTPUT, 0, offset_bytes=at(OUTPUT, 0) + 1), "misaligned"),
        (respun(OUTPUT, 0, offset_bytes=-64), "outside-arena"),
        (respun(OUTPUT, 0, offset_bytes=EVALUATION.arena_bytes), "outside-arena"),
        (respun(OUTPUT, 0, size_bytes=64), "wrong-size"),
        (respun(OUTPUT, 0, first=1), "wrong-lifetime"),
        (respun(OUTPUT, 1, last=3), "wrong-lifetime"),
        (respun(OUTPUT, 3, last=9), "wrong-lifetime"),
        ([*PLACED, Placement(replace(PLACED[0].buffer, index=9), 0)], "unknown-buffer"),
        (PLACED[1:], "missing-buffer"),
        ([*PLACED, PLACED[0]], "placed-twice"),
    ],
)
def test_a_spoilt_placement_is_named(placements, reason):
    assert reason in reasons(PROBLEM, SELECTION, evaluation=EVALUATION, placements=placements)


def test_a_kept_tensor_overwritten_after_its_last_reader_is_named():
    nodes = (
        Node("kept", (Option("o", 1, (), "x"),), {"x": 64}, stays_live=True),
        Node("other", (Option("o", 1, (), "x"),), {"x": 64}, stays_live=True),
    )
    problem, selection = Problem(nodes, ()), Selection((0, 0))
    good = place(lifetimes(problem, selection).buffers, 64).placements
    assert not check(problem, selection, placements=good)
    spoilt = [good[0], replace(good[1], offset_bytes=good[0].offset_bytes)]
    assert reasons(problem, selection, placements=spoilt) == {"overwritten"}


def test_swapping_any_two_equal_live_buffers_of_a_network_changes_nothing_but_moving_one_is_caught():
    problem = residual(blocks=2, options_per_conv=6)
    selection = Selection(tuple(len(node.options) - 1 if "add" not in node.name else 0 for node in problem.nodes))
    lived = lifetimes(problem, selection)
    arena = place(lived.buffers, 64)
    assert not check(problem, selection, evaluation=evaluate(problem, selection), placements=arena.placements)
    caught = 0
    for i, p in enumerate(arena.placements):
        for q in arena.placements:
            together = p.buffer.first < q.buffer.last and q.buffer.first < p.buffer.last
            if p is q or not together or p.buffer.size_bytes > q.buffer.size_bytes:
                continue
            moved = list(arena.placements)
            moved[i] = replace(p, offset_bytes=q.offset_bytes)
            assert reasons(problem, selection, placements=moved, arena_bytes=arena.arena_bytes)
            caught += 1
    assert caught > 10
