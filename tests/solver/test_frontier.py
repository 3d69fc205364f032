"""What a front promises beyond being right: order, limits, messages, invariances, cancellation."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from solver import dp, frontier
from solver.check import check
from solver.dp import DynamicProgram
from solver.evaluate import bottleneck, evaluate
from solver.front import Contradiction, Infeasible
from solver.frontier import fastest, smallest, solve_one, trace
from solver.highs import status
from solver.outcome import Held, Stopped
from solver.problem import Conversion, Edge, Evaluation, MemoryAxis, Node, Option, Problem, Selection, validate
from solver.tables import TooWide
from tests.solver import brute_force
from tests.solver.instances import googlenet, problems, residual

AXES = tuple(MemoryAxis)


def figures(front: frontier.Front) -> list[tuple[int, int]]:
    return [(p.evaluation.on(front.axis), p.evaluation.time_ns) for p in front.points]


@pytest.mark.parametrize("axis", AXES)
@settings(max_examples=25, deadline=None)
@given(problem=problems(), budget_bytes=st.integers(0, 700), more_bytes=st.integers(0, 300))
def test_larger_budget_is_never_slower_and_the_optimum_is_the_brute_force_one(axis, problem, budget_bytes, more_bytes):
    played = [e for _, e in brute_force.all_plays(problem)]
    fitting = [e.time_ns for e in played if e.on(axis) <= budget_bytes]
    if not fitting:
        with pytest.raises(Infeasible) as error:
            solve_one(problem, axis, budget_bytes)
        assert error.value.smallest_bytes == min((e.on(axis) for e in played), default=None)
        return
    tight = solve_one(problem, axis, budget_bytes)
    loose = solve_one(problem, axis, budget_bytes + more_bytes)
    assert tight.held is Held.OPTIMUM
    assert tight.evaluation is not None
    assert loose.evaluation is not None
    assert tight.evaluation.time_ns == min(fitting)
    assert loose.evaluation.time_ns <= tight.evaluation.time_ns


@settings(max_examples=30, deadline=None)
@given(problem=problems(), factor=st.integers(2, 1000))
def test_scaling_times_scales_the_front_and_renaming_leaves_it(problem, factor):
    assume(brute_force.front(problem, MemoryAxis.ARENA))
    base = figures(trace(problem, MemoryAxis.ARENA))
    scaled = replace(
        problem,
        nodes=tuple(
            replace(
                n, name=f"renamed {n.name}", options=tuple(replace(o, time_ns=o.time_ns * factor) for o in n.options)
            )
            for n in problem.nodes
        ),
        edges=tuple(
            replace(e, conversions={k: replace(c, time_ns=c.time_ns * factor) for k, c in e.conversions.items()})
            for e in problem.edges
        ),
    )
    assert figures(trace(scaled, MemoryAxis.ARENA)) == [(b, t * factor) for b, t in base]


@settings(max_examples=30, deadline=None)
@given(problem=problems(), factor=st.sampled_from([2, 64, 1000]))
def test_scaling_bytes_scales_the_front(problem, factor):
    assume(brute_force.front(problem, MemoryAxis.ARENA))

    def grown(conversion: Conversion) -> Conversion:
        copy_bytes, workspace_bytes = conversion.copy_bytes * factor, conversion.workspace_bytes * factor
        return replace(conversion, copy_bytes=copy_bytes, workspace_bytes=workspace_bytes)

    scaled = Problem(
        tuple(
            replace(
                n,
                out_bytes={k: size_bytes * factor for k, size_bytes in n.out_bytes.items()},
                options=tuple(replace(o, workspace_bytes=o.workspace_bytes * factor) for o in n.options),
            )
            for n in problem.nodes
        ),
        tuple(replace(e, conversions={k: grown(c) for k, c in e.conversions.items()}) for e in problem.edges),
        problem.align_bytes * factor,
    )
    base = figures(trace(problem, MemoryAxis.ARENA))
    assert figures(trace(scaled, MemoryAxis.ARENA)) == [(b * factor, t) for b, t in base]


@pytest.mark.parametrize("axis", [MemoryAxis.ARENA, MemoryAxis.WORKSPACE])
def test_front_of_a_googlenet_sized_problem_is_certified_and_every_point_passes_the_checker(axis):
    problem = googlenet()
    started = time.perf_counter()
    alone = trace(problem, axis, verify=False)
    between = time.perf_counter()
    front = trace(problem, axis)
    print(f"{axis}: {len(front.points)} points, {between - started:.2f} s, with certificate {front.solve_s:.2f} s")
    assert len(problem.nodes) == 85
    assert figures(alone) == figures(front)
    assert front.certified_by.startswith("highs-lp")
    assert front.certified_by.endswith("+dp")
    assert not front.uncertified_because
    times = [p.evaluation.time_ns for p in front.points]
    assert times == sorted(set(times), reverse=True)
    for point in front.points:
        used_bytes = point.evaluation.on(axis)
        faults = check(problem, point.selection, evaluation=point.evaluation, axis=axis, budget_bytes=used_bytes)
        assert not faults
    assert front.smallest is not None
    assert front.smallest_bytes == front.points[0].evaluation.on(axis)


def test_fractional_relaxations_fall_back_to_the_mip_and_agree_with_the_dynamic_program():
    front = trace(residual(), MemoryAxis.ARENA)
    assert front.certified_by == "highs-lp+mip+dp"
    assert figures(front) == [(s.need_bytes, s.time_ns) for s in DynamicProgram(residual(), MemoryAxis.ARENA).trace()]


def test_total_front_agrees_with_the_mip_at_every_budget():
    problem = residual(blocks=2, options_per_conv=12)
    front = trace(problem, MemoryAxis.TOTAL)
    assert front.complete
    for lower, point in zip(front.points, front.points[1:], strict=False):
        outcome = solve_one(problem, MemoryAxis.TOTAL, point.evaluation.total_bytes - 1)
        assert outcome.proven
        assert outcome.evaluation is not None
        assert outcome.evaluation.time_ns == lower.evaluation.time_ns


def test_bounded_weights_are_certified_by_the_label_search():
    problem = residual(blocks=3, options_per_conv=10)
    unbounded = fastest(problem)
    assert unbounded.evaluation is not None
    bound = unbounded.evaluation.weights_bytes - 1
    front = trace(problem, MemoryAxis.ARENA, max_weights_bytes=bound)
    assert front.certified_by == "labels+highs-mip"
    assert all(p.evaluation.weights_bytes <= bound for p in front.points)
    assert front.points[-1].evaluation.time_ns > unbounded.evaluation.time_ns


def test_bounded_weights_without_labels_are_left_to_the_mip_and_agree(monkeypatch):
    problem = residual(blocks=2, options_per_conv=8)
    unbounded = fastest(problem)
    assert unbounded.evaluation is not None
    bound = unbounded.evaluation.weights_bytes * 2 // 3
    by_labels = trace(problem, MemoryAxis.ARENA, max_weights_bytes=bound)

    def refuse(*_args, **_kwargs):
        raise TooWide("a table of 9 entries would be needed")

    monkeypatch.setattr("solver.bounded.LabelProgram", refuse)
    by_highs = trace(problem, MemoryAxis.ARENA, max_weights_bytes=bound)
    assert by_highs.certified_by == "highs-lp+mip+labels"
    assert len(by_highs.points) > 3
    assert figures(by_labels) == figures(by_highs)


def test_bounded_weights_cancelled_or_out_of_time_claim_nothing():
    problem = residual(blocks=3)
    unbounded = fastest(problem)
    assert unbounded.evaluation is not None
    bound = unbounded.evaluation.weights_bytes // 2
    calls = iter(range(1000))
    front = trace(problem, MemoryAxis.ARENA, max_weights_bytes=bound, should_cancel=lambda: next(calls) >= 2)
    assert front.incomplete_because == "cancelled"
    late = trace(problem, MemoryAxis.ARENA, max_weights_bytes=bound, time_limit_s_per_point=0.0)
    whole = trace(problem, MemoryAxis.ARENA, max_weights_bytes=bound)
    for point in (*front.points, *late.points):
        fitting = [
            p.evaluation.time_ns for p in whole.points if p.evaluation.arena_bytes <= point.evaluation.arena_bytes
        ]
        assert point.bound_ns <= min(fitting, default=point.evaluation.time_ns) <= point.evaluation.time_ns


@pytest.mark.parametrize("bounded", [False, True])
def test_a_descent_out_of_time_keeps_its_points_and_says_where_it_stopped(monkeypatch, bounded):
    problem = residual(blocks=3)
    unbounded = fastest(problem)
    assert unbounded.evaluation is not None
    bound = unbounded.evaluation.weights_bytes // 2 if bounded else None
    whole = trace(problem, MemoryAxis.ARENA, max_weights_bytes=bound)
    monkeypatch.setattr(frontier, "DESCENT_S", 0.3)
    front = trace(problem, MemoryAxis.ARENA, max_weights_bytes=bound, on_point=lambda _: time.sleep(0.1))
    assert not front.complete
    assert "stopped after 0.3 s: points of less than" in front.incomplete_because
    proven = [(p.evaluation.arena_bytes, p.evaluation.time_ns) for p in front.points if p.proven]
    assert 0 < len(proven) < len(whole.points)
    assert proven == figures(whole)[-len(proven) :]  # the last solve may have been cut short
    assert front.smallest_bytes == whole.smallest_bytes


def test_points_are_announced_once_by_falling_memory():
    seen: list[frontier.FrontPoint] = []
    front = trace(residual(blocks=3), MemoryAxis.ARENA, on_point=seen.append)
    assert tuple(reversed(seen)) == front.points


@pytest.mark.parametrize("axis", AXES)
def test_a_cap_on_points_is_said_and_the_smallest_budget_is_still_exact(axis):
    problem = residual(blocks=3, options_per_conv=6)
    whole = trace(problem, axis)
    assert len(whole.points) > 5
    capped = trace(problem, axis, max_points=2)
    assert whole.complete
    assert not capped.complete
    assert capped.incomplete_because == "stopped after 2 points"
    assert figures(capped) == figures(whole)[-2:]
    assert capped.smallest_bytes == whole.smallest_bytes


@pytest.mark.parametrize("axis", AXES)
def test_cancelling_keeps_what_is_done_and_says_so(axis):
    calls = iter(range(1000))
    front = trace(residual(blocks=3), axis, should_cancel=lambda: next(calls) >= 2)
    assert not front.complete
    assert front.incomplete_because == "cancelled"
    assert front.smallest_bytes is None


def test_no_time_gives_no_claim():
    front = trace(residual(blocks=3), MemoryAxis.ARENA, time_limit_s_per_point=0.0)
    assert not front.complete
    assert "time limit" in front.incomplete_because
    assert not any(p.proven for p in front.points)


def test_infeasible_budget_names_the_least_and_the_step_that_needs_it():
    problem = residual(blocks=2)
    least = smallest(problem, MemoryAxis.ARENA)
    need_bytes = least.evaluation.arena_bytes
    with pytest.raises(Infeasible) as error:
        solve_one(problem, MemoryAxis.ARENA, need_bytes - 1)
    assert error.value.smallest_bytes == need_bytes
    assert error.value.step is not None
    assert sum(size_bytes for _, size_bytes in error.value.step.parts) == need_bytes
    assert str(need_bytes) in str(error.value)
    assert solve_one(problem, MemoryAxis.ARENA, need_bytes).evaluation == least.evaluation


def test_bottleneck_counts_weights_on_the_total_axis():
    problem = residual(blocks=2)
    outcome = fastest(problem)
    assert outcome.selection is not None
    step = bottleneck(problem, outcome.selection, MemoryAxis.TOTAL)
    assert outcome.evaluation is not None
    assert step.need_bytes == outcome.evaluation.total_bytes == sum(size_bytes for _, size_bytes in step.parts)


def test_layouts_that_cannot_be_joined_are_infeasible_at_any_budget():
    nodes = (
        Node("a", (Option("o", 1, (), "x"),), {"x": 64}),
        Node("b", (Option("o", 1, ("y",), "x"),), {"x": 64}),
    )
    for axis in AXES:
        with pytest.raises(Infeasible) as error:
            trace(Problem(nodes, (Edge(0, 1, 0, {}),)), axis)
        assert error.value.smallest_bytes is None


def test_the_certificate_refuses_a_front_with_a_slower_point(monkeypatch):
    """A planted wrong evaluation: the certificate must see that the claimed optimum is beaten."""
    problem = residual(blocks=2)
    true_point = frontier._point

    def slower(outcome, bound_ns):
        point = true_point(outcome, bound_ns)
        worse = replace(point.evaluation, time_ns=point.evaluation.time_ns + 1)
        return replace(point, evaluation=worse)

    monkeypatch.setattr(frontier, "_point", slower)
    with pytest.raises(Contradiction):
        trace(problem, MemoryAxis.ARENA)


def test_a_problem_too_wide_is_not_certified_and_says_so(monkeypatch):
    problem = residual(blocks=2)
    with pytest.raises(TooWide):
        DynamicProgram(problem, MemoryAxis.ARENA, most_entries=8)

    def refuse(*_args, **_kwargs):
        raise TooWide("a table of 9 entries would be needed")

    monkeypatch.setattr(dp, "DynamicProgram", refuse)
    front = trace(problem, MemoryAxis.ARENA)
    assert not front.certified_by.endswith("dp")
    assert "9 entries" in front.uncertified_because
    monkeypatch.setattr(frontier, "trace_total", refuse)
    total = trace(problem, MemoryAxis.TOTAL, max_points=2)
    assert total.certified_by == "highs-mip" or total.certified_by == "highs-lp+mip"
    assert all(p.proven for p in total.points)


def test_an_unknown_solver_status_holds_nothing():
    import highspy

    assert status(highspy.HighsModelStatus.kUnknown) == (Stopped.SOLVER_LIMIT, Held.NOTHING)
    assert status(highspy.HighsModelStatus.kTimeLimit) == (Stopped.TIME_LIMIT, Held.NOTHING)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Problem((Node("a", (), {}),), ()), "a has no option"),
        (Problem((Node("a", (Option("o", 1, (), "x"),), {}),), ()), "no out_bytes for layout x"),
        (Problem((Node("a", (Option("o", 1, ("x",), "x"),), {"x": 1}),), ()), "1 layouts for 0 ports"),
        (Problem((Node("a", (Option("o", 1, (), "x", in_place=0),), {"x": 1}),), ()), "in_place port 0"),
        (Problem((Node("a", (Option("o", -1, (), "x"),), {"x": 1}),), ()), "negative"),
        (Problem((Node("a", (Option("o", 1, (), "x"),), {"x": 1}),), (Edge(0, 0, 0, {}),)), "not forward"),
        (Problem((), ()), "no nodes"),
    ],
)
def test_a_malformed_problem_is_refused_with_its_reason(problem, message):
    with pytest.raises(ValueError, match=message):
        validate(problem)


def test_evaluating_a_selection_that_ignores_conversions_says_which_pair_is_missing():
    nodes = (
        Node("a", (Option("o", 1, (), "x"),), {"x": 64}),
        Node("b", (Option("p", 1, ("y",), "x"),), {"x": 64}),
    )
    with pytest.raises(ValueError, match=r"b:0 takes y \(p\) and a writes x \(o\)"):
        evaluate(Problem(nodes, (Edge(0, 1, 0, {}),)), Selection((0, 0)))


def test_an_axis_reads_its_own_figure():
    assert [Evaluation(1, 20, 3, 400).on(axis) for axis in AXES] == [20, 3, 420]
