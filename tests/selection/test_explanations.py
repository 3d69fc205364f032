"""Answers of the warm model against every allowed selection; explanations and robustness against their definitions."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from app.candidates import list_candidates
from app.costs import Cost, CostTable, MissingCost
from app.errors import UserError
from app.selection import explain
from app.selection.frontier import trace
from app.selection.limits import NO_LIMITS, Limits
from app.selection.problem import build_problem, time_from
from app.selection.robustness import Draws, chosen_by, robustness
from app.selection.what_if import WarmModel
from solver.problem import MemoryAxis
from solver.tables import TooWide
from tests.selection.test_limits import COSTS, GRAPH, every_selection, few_candidates, few_costs, random_limits

AXES = ["arena", "workspace", "total", "weights"]


@pytest.mark.parametrize("seed", range(6))
def test_answers_of_one_warm_model_are_the_best_of_every_allowed_selection(seed, monkeypatch):
    rng = random.Random(seed)
    candidates = few_candidates(GRAPH, seed)
    monkeypatch.setattr("app.selection.what_if.list_candidates", lambda _graph, **_: candidates)
    costs = few_costs(GRAPH, seed)
    models = {objective: WarmModel(GRAPH, costs, objective) for objective in ("p50", "p90")}
    for _ in range(12):
        axis = rng.choice(AXES)
        limits = random_limits(candidates, rng)
        if axis == "weights":
            limits = dataclasses.replace(limits, max_arena_bytes=rng.choice([None, 4096, 6144]))
        found = [
            figures
            for figures in every_selection(candidates, limits.times(costs), limits)
            if limits.max_weights_bytes is None or figures.weights_bytes <= limits.max_weights_bytes
            if limits.max_arena_bytes is None or figures.arena_bytes <= limits.max_arena_bytes
        ]
        sizes = sorted({getattr(figures, f"{axis}_bytes") for figures in found})
        budget = rng.choice([None, *sizes, *(size - 1 for size in sizes)])
        fitting = [f.time_ns for f in found if budget is None or getattr(f, f"{axis}_bytes") <= budget]
        model = models[limits.objective]
        if not fitting:
            with pytest.raises(UserError) as caught:
                model.ask(limits, axis, budget)
            if found and budget is not None and caught.value.facts.get("smallest_step"):
                assert caught.value.facts["smallest_bytes"] == sizes[0]
            continue
        answer = model.ask(limits, axis, budget)
        assert answer.point.latency_ns == min(fitting)
        assert answer.point.proven
        assert answer.point.bound_ns == answer.point.latency_ns


@pytest.mark.parametrize("axis", AXES)
def test_the_warm_model_agrees_with_every_point_of_the_front(axis):
    front = trace(GRAPH, COSTS, axis)
    model = WarmModel(GRAPH, COSTS)
    for point in front.points:
        size = getattr(point, f"{axis}_bytes")
        if axis == "total":
            size = point.peak_bytes + point.weights_bytes
        assert model.ask(NO_LIMITS, axis, size).point.latency_ns == point.latency_ns
    with pytest.raises(UserError) as caught:
        model.ask(NO_LIMITS, axis, front.smallest_bytes - 1)
    assert caught.value.code == "budget-infeasible"
    if front.smallest_bytes:
        assert caught.value.facts["smallest_bytes"] == front.smallest_bytes


@pytest.mark.parametrize("seed", range(4))
def test_the_warm_model_agrees_with_limited_fronts_that_have_chains(seed):
    """Limits bring forth chains that others beat when nothing is limited."""
    rng = random.Random(seed)
    model = WarmModel(GRAPH, COSTS)
    for _ in range(3):
        limits = dataclasses.replace(random_limits(list_candidates(GRAPH), rng), objective="p50")
        axis = rng.choice(["arena", "workspace"])
        try:
            front = trace(GRAPH, COSTS, axis, limits=limits)
        except UserError:
            with pytest.raises(UserError):
                model.ask(limits, axis, None)
            continue
        for point in front.points:
            size = point.peak_bytes if axis == "arena" else point.workspace_bytes
            assert model.ask(limits, axis, size).point.latency_ns == point.latency_ns
        with pytest.raises(UserError) as caught:
            model.ask(limits, axis, front.smallest_bytes - 1)
        assert front.smallest_bytes == 0 or caught.value.facts["smallest_bytes"] == front.smallest_bytes


@pytest.mark.parametrize("seed", range(3))
def test_both_solvers_of_the_warm_model_agree_when_limits_bring_forth_other_chains(seed, monkeypatch):
    rng = random.Random(seed)
    for family in ("pointwise", "direct", "winograd"):
        limits, axis = Limits(forbid=(family,)), rng.choice(["arena", "workspace"])
        sizes = [getattr(p, f"{axis}_bytes") for p in trace(GRAPH, COSTS, axis).points]
        for budget in (None, rng.choice(sizes)):
            found = []
            for narrow in (False, True):
                model = WarmModel(GRAPH, COSTS)
                if narrow:
                    monkeypatch.setattr(model, "_by_program", lambda *_: (_ for _ in ()).throw(TooWide("")))
                try:
                    answer = model.ask(limits, axis, budget)
                    found.append((answer.point.latency_ns, answer.point.proven))
                    assert answer.method.startswith("highs" if narrow else "dp")
                except UserError as error:
                    found.append((error.code, error.facts.get("smallest_bytes")))
            assert found[0] == found[1]


def test_a_question_that_would_need_a_cost_that_is_not_there_is_refused():
    lost = next(key for key in COSTS if "winograd" in key.primitive)
    model = WarmModel(GRAPH, CostTable(cost for cost in COSTS.values() if cost.key != lost))
    assert model.ask(Limits(forbid=("winograd",)), "arena", None).point
    with pytest.raises(MissingCost) as caught:
        model.ask(NO_LIMITS, "arena", None)
    assert caught.value.keys == (lost,)


@pytest.mark.parametrize("axis", ["arena", "workspace"])
def test_binding_steps_are_where_the_live_bytes_reach_the_peak(axis):
    for point in trace(GRAPH, COSTS, axis).points:
        steps = explain.binding_steps(point, axis)
        if axis == "arena":
            live = [sum(b.size_bytes for b in point.buffers if b.first <= t < b.last) for t in range(len(point.steps))]
            assert max(live, default=0) == point.peak_bytes
            expected = [point.steps[t] for t, size in enumerate(live) if size and size > point.peak_bytes - 64]
            assert [step.step for step in steps] == expected
            assert all(sum(size for _, size in step.parts) == step.live_bytes for step in steps)
        elif point.workspace_bytes:
            assert max(step.live_bytes for step in steps) == point.workspace_bytes
        else:
            assert steps == ()


def test_memory_prices_add_up_to_the_whole_front():
    points = trace(GRAPH, COSTS, "total").points
    prices = explain.memory_prices(points, "total")
    assert len(prices) == len(points) - 1
    assert sum(price.bytes for price in prices) == points[-1].total_bytes - points[0].total_bytes
    assert sum(price.saved_ns for price in prices) == points[0].latency_ns - points[-1].latency_ns
    assert prices[0].ns_per_kib == prices[0].saved_ns / (prices[0].bytes / 1024)


def test_the_price_of_a_pin_is_the_difference_to_the_solve_without_it():
    model = WarmModel(GRAPH, COSTS)
    free = model.ask(NO_LIMITS, "arena", None).point
    layer = next(layer for layer in free.layers if layer.op == "conv")
    for option in explain.layer_options(model, NO_LIMITS, layer.node)[:6]:
        limits = Limits(pins=((layer.node, option["primitive"]),))
        pinned = model.ask(limits, "arena", None).point
        price = explain.price_of_pin(model, NO_LIMITS, "arena", None, layer.node, option["primitive"])
        assert price.latency_ns == pinned.latency_ns - free.latency_ns >= 0
        assert price.instead == layer.primitive
        again = explain.differences(free, pinned)
        assert again["latency_ns"] == price.latency_ns
        conversions = sum(c.time_ns for c in pinned.conversions) - sum(c.time_ns for c in free.conversions)
        layers = sum(change["latency_ns"] for change in again["layers"])
        at_outputs = (
            conversions - sum(x.conversion_ns for x in pinned.layers) + sum(x.conversion_ns for x in free.layers)
        )
        assert layers + at_outputs == price.latency_ns


def test_options_of_a_layer_are_by_time_and_say_what_the_limits_rule_out():
    model = WarmModel(GRAPH, COSTS)
    node = next(node.name for node in GRAPH.nodes if node.op == "conv")
    options = explain.layer_options(model, Limits(forbid=("winograd",)), node)
    assert [o["time_ns"] for o in options] == sorted(o["time_ns"] for o in options)
    for option in options:
        assert bool(option["objections"]) == (option["family"] == "winograd")
    with pytest.raises(UserError):
        explain.layer_options(model, NO_LIMITS, "nowhere")


def test_a_point_whose_costs_never_vary_is_certain():
    still = CostTable(Cost(c.key, (c.median_ns,) * 3, c.median_ns, c.median_ns, c.median_ns) for c in COSTS.values())
    model = WarmModel(GRAPH, still)
    point = model.ask(NO_LIMITS, "arena", None).point
    found = robustness(model, point, NO_LIMITS, "arena", None, draws=5)
    assert set(found.kept.values()) == {1.0}
    assert (found.same, found.regret_worst, found.proven, found.single) == (1.0, 0.0, True, 0)
    once = CostTable(Cost(c.key, (c.median_ns,), c.median_ns, c.median_ns, c.median_ns) for c in COSTS.values())
    assert robustness(WarmModel(GRAPH, once), point, NO_LIMITS, "arena", None, draws=2).single > 0


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("objective", ["p50", "p90"])
def test_robustness_is_the_optimum_of_each_draw(axis, objective, monkeypatch):
    """Each draw as a problem of its own, solved by trying every selection."""
    candidates = few_candidates(GRAPH, 5)
    monkeypatch.setattr("app.selection.what_if.list_candidates", lambda _graph, **_: candidates)
    costs = few_costs(GRAPH, 5)
    model = WarmModel(GRAPH, costs, objective)
    limits = Limits(objective=objective)
    point = model.ask(limits, axis, None).point
    budget = {"total": point.peak_bytes + point.weights_bytes}.get(axis, getattr(point, f"{axis}_bytes"))
    found = robustness(model, point, limits, axis, budget, draws=6, seed=3)
    again = robustness(model, point, limits, axis, budget, draws=6, seed=3)
    assert dataclasses.replace(found, elapsed_s=0) == dataclasses.replace(again, elapsed_s=0)
    selection = chosen_by(model.built, point)
    regrets = []
    for times in drawn_tables(costs, candidates, 6, 3, 0.5 if objective == "p50" else 0.9):
        best = min(
            figures.time_ns
            for figures in every_selection(candidates, times, limits)
            if getattr(figures, f"{axis}_bytes") <= budget
        )
        problem = build_problem(candidates, time_from(times)).problem
        here = sum(n.options[i].time_ns for n, i in zip(problem.nodes, selection.options, strict=True))
        here += sum(
            edge.conversions[
                problem.nodes[edge.src].options[selection.options[edge.src]].out_layout,
                problem.nodes[edge.dst].options[selection.options[edge.dst]].in_layouts[edge.port],
            ].time_ns
            for edge in problem.edges
        )
        regrets.append((here - best) / best)
    assert found.regret_worst == pytest.approx(max(regrets))
    assert found.regret_mean == pytest.approx(float(np.mean(regrets)))
    assert found.proven
    assert model.ask(limits, axis, None).point.latency_ns == point.latency_ns  # the old times are back


def drawn_tables(costs, candidates, draws, seed, fraction):
    """The cost tables of the draws, drawn as the robustness draws them."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for key in candidates.cost_keys():
        samples = np.array(costs[key].samples_ns)
        picks = np.sort(samples[rng.integers(0, len(samples), (draws, len(samples)))], axis=1)
        rank = (len(samples) - 1) // 2 if fraction == 0.5 else round(fraction * (len(samples) - 1))
        drawn[key] = picks[:, rank]
    for s in range(draws):
        yield CostTable(Cost(key, (int(t[s]),), int(t[s]), int(t[s]), int(t[s])) for key, t in drawn.items())


def test_draws_of_equal_calls_are_equal():
    model = WarmModel(GRAPH, COSTS)
    solver = model.solver(NO_LIMITS, "arena")
    x_ns, y_ns = Draws(model, 4, 0).times_of(solver)
    assert x_ns.shape == (len(solver.flow.options), 4)
    assert y_ns.shape == (len(solver.flow.pairs), 4)
    assert solver.flow.axis is MemoryAxis.ARENA
    assert (x_ns >= 0).all()
    assert (y_ns >= 0).all()


def test_a_stored_point_with_a_choice_that_is_gone_says_so():
    model = WarmModel(GRAPH, COSTS)
    point = model.ask(NO_LIMITS, "arena", None).point
    gone = dataclasses.replace(point.layers[0], option="conv_gone")
    with pytest.raises(UserError) as caught:
        chosen_by(model.built, dataclasses.replace(point, layers=(gone, *point.layers[1:])))
    assert caught.value.code == "point-stale"
