"""The warm dynamic program against all selections, and its tables where most steps cannot bind."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.dp import DynamicProgram
from solver.evaluate import ImpossibleSelection, evaluate
from solver.front import Contradiction
from solver.outcome import Held
from solver.problem import Cut, MemoryAxis
from solver.tables import TableBuilder, TooWide
from solver.warm_program import WarmProgram
from tests.solver import brute_force
from tests.solver.instances import Network, problems, random_problem

AXES = (MemoryAxis.ARENA, MemoryAxis.WORKSPACE)


def other_options(node, rng):
    """Fewer options, and some with other figures: never of another layout."""
    kept = [option for option in node.options if rng.random() < 0.6] or [rng.choice(node.options)]
    for option in rng.sample(kept, rng.randrange(len(kept) + 1)):
        time_ns, workspace = rng.randrange(9), rng.randrange(4) * 64
        kept.append(dataclasses.replace(option, name=f"{option.name}'", time_ns=time_ns, workspace_bytes=workspace))
    return tuple(kept)


def alike(node, taken):
    """The options of the same layouts with at least the workspace: what offsets rule out."""
    one = node.options[taken]
    return tuple(
        i
        for i, o in enumerate(node.options)
        if (o.in_layouts, o.out_layout, o.in_place) == (one.in_layouts, one.out_layout, one.in_place)
        and o.workspace_bytes >= one.workspace_bytes
    )


@pytest.mark.parametrize("axis", AXES)
@settings(max_examples=60, deadline=None)
@given(problem=problems(max_nodes=5), seed=st.integers(0, 2**32 - 1))
def test_one_program_answers_questions_about_other_options_like_brute_force(axis, problem, seed):
    rng = random.Random(seed)
    program = WarmProgram(problem, axis)
    for _ in range(5):
        options = {v: other_options(node, rng) for v, node in enumerate(problem.nodes) if rng.random() < 0.4}
        try:
            program.take(options)
        except TooWide:  # something needs less than what was the least of all selections
            continue
        nodes = [dataclasses.replace(n, options=options.get(v, n.options)) for v, n in enumerate(problem.nodes)]
        assert program.problem == dataclasses.replace(problem, nodes=tuple(nodes))
        plays = list(brute_force.all_plays(program.problem))
        sizes = sorted({figures.on(axis) for _, figures in plays})
        assert program.least_bytes == (sizes[0] if sizes else None)
        budget = rng.choice([None, *sizes, *(size - 1 for size in sizes)])
        program.set_budget(budget)
        outcome = program.solve()
        times = [figures.time_ns for _, figures in plays if budget is None or figures.on(axis) <= budget]
        assert outcome.proven
        assert outcome.method == "dp"
        if not times:
            assert outcome.held is Held.INFEASIBILITY
            continue
        assert outcome.evaluation == evaluate(program.problem, outcome.selection)
        assert outcome.evaluation.time_ns == outcome.bound_ns == min(times)
        cut = Cut({v: alike(node, outcome.selection.options[v]) for v, node in enumerate(nodes)})
        program.forbid(cut)
        left = [figures for selection, figures in plays if not cut.rules_out(selection)]
        rest = [figures.time_ns for figures in left if budget is None or figures.on(axis) <= budget]
        second = program.solve()
        assert (None if second.evaluation is None else second.evaluation.time_ns) == min(rest, default=None)


def test_a_limit_or_a_cancellation_before_the_answer_leaves_nothing():
    program = WarmProgram(random_problem(3), MemoryAxis.ARENA)
    assert program.solve(time_limit_s=0.0).held is Held.NOTHING
    assert program.solve(should_cancel=lambda: True).held is Held.NOTHING


def test_sums_over_all_nodes_are_refused():
    with pytest.raises(TooWide):
        WarmProgram(random_problem(3), MemoryAxis.TOTAL)


def test_a_table_that_lies_is_found_out(monkeypatch):
    program = WarmProgram(late_skips(2), MemoryAxis.ARENA)
    solved = program.program.solve(None)
    wrong = dataclasses.replace(solved, time_ns=solved.time_ns + 1)
    monkeypatch.setattr(program.program, "solve", lambda *_: wrong)
    with pytest.raises(Contradiction):
        program.solve()


def late_skips(count: int):
    """Large tensors first; then `count` small ones of several sizes that all live until the end."""
    rng = random.Random(1)
    net = Network(rng, options_per_conv=4)
    at = net.conv("wide", net.source(3, 1 << 14), 8, 3)
    at = net.conv("narrow", at, 3, 3, stride=16)
    kept = []
    for number in range(count):
        at = net.conv(f"late{number}", at, 3, 1)
        kept.append(at)
    net.same("join", kept, 3 * count, net.dims[at][1], stays_live=True)
    return net.problem()


def test_steps_below_what_every_selection_needs_have_narrow_tables():
    problem = late_skips(6)
    layouts = [tuple(dict.fromkeys(o.out_layout for o in node.options)) for node in problem.nodes]

    def widest(with_floor):
        builder = TableBuilder(problem, MemoryAxis.ARENA, layouts, False, 1 << 21, with_floor=with_floor)
        return [len(table.scope) for table in builder.tables()]

    assert max(widest(True)[:-1]) == 2 < max(widest(False)[:-1])
    narrow = DynamicProgram(problem, MemoryAxis.ARENA)
    for solved in narrow.trace():
        figures = evaluate(problem, solved.selection)
        assert (figures.time_ns, figures.arena_bytes) == (solved.time_ns, solved.need_bytes)


@pytest.mark.parametrize("seed", range(30))
def test_tables_with_a_floor_have_the_same_front(seed):
    problem = random_problem(seed)
    try:
        front = DynamicProgram(problem, MemoryAxis.ARENA).trace()
    except ImpossibleSelection:
        return
    efficient = {}
    for _, figures in brute_force.all_plays(problem):
        efficient[figures.arena_bytes] = min(figures.time_ns, efficient.get(figures.arena_bytes, figures.time_ns))
    best, expected = None, []
    for size in sorted(efficient):
        if best is None or efficient[size] < best:
            best = efficient[size]
            expected.append((size, best))
    assert [(solved.need_bytes, solved.time_ns) for solved in front] == expected


def test_tables_of_other_options_keep_their_scope(monkeypatch):
    problem = late_skips(4)
    monkeypatch.setattr("solver.warm_program.DynamicProgram", lambda *given, **_: DynamicProgram(*given))
    program = WarmProgram(problem, MemoryAxis.ARENA)
    scopes = [table.scope for table in program.program.tables]
    lean = {v: node.options[:1] for v, node in enumerate(problem.nodes)}
    program.take(lean)
    assert [table.scope for table in program.program.tables] == scopes
    small = next(v for v, node in enumerate(problem.nodes) if node.name == "late2")
    greedy = dataclasses.replace(problem.nodes[small].options[0], name="greedy", time_ns=0, workspace_bytes=1 << 30)
    with pytest.raises(TooWide, match="needs more"):
        program.take({small: (*problem.nodes[small].options, greedy)})
    program.take({})
    assert program.problem == problem
    assert program.solve().evaluation.time_ns == DynamicProgram(problem, MemoryAxis.ARENA).solve().time_ns
