"""The warm model and the weights front against all selections played by separately written code."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import weights as sw
from solver.evaluate import evaluate
from solver.front import Infeasible
from solver.outcome import Held
from solver.problem import MemoryAxis, Problem
from solver.tables import TooWide
from solver.warm import WarmSolver
from solver.weights import trace_weights
from tests.solver import brute_force
from tests.solver.instances import problems, random_problem, residual

AXES = tuple(MemoryAxis)


def plays_within(problem: Problem, closed, max_weights_bytes=None, arena_bytes=None):
    """Every play that takes no closed option and keeps both bounds."""
    return [
        (selection, figures)
        for selection, figures in brute_force.all_plays(problem)
        if not any((v, i) in closed for v, i in enumerate(selection.options))
        and (max_weights_bytes is None or figures.weights_bytes <= max_weights_bytes)
        and (arena_bytes is None or figures.arena_bytes <= arena_bytes)
    ]


@pytest.mark.parametrize("axis", AXES)
@settings(max_examples=40, deadline=None)
@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_questions_to_one_warm_model_get_the_brute_force_answer(axis, problem, seed):
    rng = random.Random(seed)
    solver = WarmSolver(problem, axis)
    choices = [(v, i) for v, node in enumerate(problem.nodes) for i in range(len(node.options))]
    for _ in range(4):
        closed = {choice for choice in choices if rng.random() < 0.25}
        most = rng.choice([None, None, rng.randrange(40)])
        within = plays_within(problem, closed, most)
        budget = rng.choice([None, *(figures.on(axis) + rng.choice([0, -1]) for _, figures in within)])
        solver.limit(closed, most)
        outcome = solver.ask(budget)
        fitting = [figures.time_ns for _, figures in within if budget is None or figures.on(axis) <= budget]
        assert outcome.proven
        if not fitting:
            assert outcome.held is Held.INFEASIBILITY
            least = min((figures.on(axis) for _, figures in within), default=None)
            error = solver.infeasible(budget)
            assert error.smallest_bytes == least
        else:
            assert outcome.evaluation.time_ns == min(fitting)
            assert not any(choice in closed for choice in enumerate(outcome.selection.options))


@pytest.mark.parametrize("axis", AXES)
@settings(max_examples=25, deadline=None)
@given(problem=problems(max_nodes=4), seed=st.integers(0, 2**32 - 1))
def test_other_times_get_the_brute_force_answer_and_the_old_ones_come_back(axis, problem, seed):
    rng = random.Random(seed)
    solver = WarmSolver(problem, axis)
    usual = solver.ask(None)
    flow = solver.flow
    within = plays_within(problem, ())
    if not within:
        return
    budget = rng.choice([None, *(figures.on(axis) for _, figures in within)])
    for _ in range(3):
        x_ns = np.array([rng.randrange(9) for _ in flow.options], np.int64)
        y_ns = np.array([rng.randrange(9) for _ in flow.pairs], np.int64)
        times = []
        for selection, figures in within:
            if budget is None or figures.on(axis) <= budget:
                times.append(solver.time_of(selection, x_ns, y_ns))
        found = solver.retime(x_ns, y_ns, budget)
        assert found.proven
        assert found.time_ns == min(times)
        assert budget is None or evaluate(problem, found.selection).on(axis) <= budget
    solver.restore_times()
    again = solver.ask(None)
    assert again.evaluation.time_ns == usual.evaluation.time_ns


@settings(max_examples=30, deadline=None)
@given(problem=problems(max_nodes=4))
def test_the_sum_over_the_flow_is_the_evaluated_time(problem):
    solver = WarmSolver(problem, MemoryAxis.ARENA)
    flow = solver.flow
    x_ns = np.array([flow.option(j).time_ns for j in range(len(flow.options))], np.int64)
    y_ns = np.array([pair.time_ns for pair in flow.pairs], np.int64)
    for selection, figures in brute_force.all_plays(problem):
        assert solver.time_of(selection, x_ns, y_ns) == figures.time_ns


def weights_front(problem, arena_bytes, max_weights_bytes):
    found = sorted(
        (figures.weights_bytes, figures.time_ns)
        for _, figures in plays_within(problem, (), max_weights_bytes, arena_bytes)
    )
    efficient = []
    for point in found:
        if not efficient or point[1] < efficient[-1][1]:
            efficient.append(point)
    return efficient


@pytest.mark.parametrize("labels", [True, False])
@settings(max_examples=50, deadline=None)
@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_weights_front_is_the_brute_force_front(labels, problem, seed):
    rng = random.Random(seed)
    played = [figures for _, figures in brute_force.all_plays(problem)]
    arena = rng.choice([None, *(figures.arena_bytes - rng.choice([0, 0, 1]) for figures in played)])
    most = rng.choice([None, None, rng.randrange(60)])
    with pytest.MonkeyPatch.context() as patch:
        if not labels:
            patch.setattr(sw, "front", too_wide)
        expected = weights_front(problem, arena, most)
        if not expected:
            with pytest.raises(Infeasible) as caught:
                trace_weights(problem, arena, max_weights_bytes=most)
            within = [f.arena_bytes for f in played if most is None or f.weights_bytes <= most]
            assert caught.value.smallest_bytes == min(within, default=None)
            return
        front = trace_weights(problem, arena, max_weights_bytes=most)
    assert front.complete
    assert front.certified_by == ("labels+highs-mip" if labels else "highs-mip")
    assert all(point.proven for point in front.points)
    assert [(p.evaluation.weights_bytes, p.evaluation.time_ns) for p in front.points] == expected


def too_wide(*_):
    raise TooWide("as the test wants it")


def test_weights_front_of_a_residual_network_at_a_tight_arena_is_confirmed_by_highs():
    problem = residual(seed=3, blocks=3, options_per_conv=8)
    free = trace_weights(problem)
    solver = WarmSolver(problem, MemoryAxis.ARENA)
    least, _ = solver.least()
    tight = trace_weights(problem, least)
    assert tight.certified_by == "labels+highs-mip"
    assert all(point.evaluation.arena_bytes <= least for point in tight.points)
    assert tight.points[-1].evaluation.time_ns >= free.points[-1].evaluation.time_ns


def test_a_cut_front_keeps_the_fastest_points_and_says_so():
    problem = residual(seed=3, blocks=3, options_per_conv=8)
    whole = trace_weights(problem)
    assert len(whole.points) > 4
    cut = trace_weights(problem, max_points=4)
    assert not cut.complete
    assert cut.incomplete_because == "stopped after 4 points"
    assert [p.evaluation for p in cut.points] == [p.evaluation for p in whole.points[-4:]]


def test_an_exclusion_does_not_outlive_its_question():
    problem = next(p for p in map(random_problem, range(50)) if brute_force.all_plays(p))
    solver = WarmSolver(problem, MemoryAxis.ARENA)
    first = solver.ask(None)
    solver.exclude(first.selection)
    assert solver.ask(None).selection != first.selection
    solver.limit()
    assert solver.ask(None).evaluation.time_ns == first.evaluation.time_ns
