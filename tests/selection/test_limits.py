"""Limits of a front: identity, errors that name what stands in the way, and exactness against every selection."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest

from app.candidates import list_candidates
from app.costs import Cost, CostTable
from app.errors import UserError
from app.graph.onnx_import import import_onnx
from app.selection.digest import costs_digest
from app.selection.frontier import trace
from app.selection.limits import NO_LIMITS, Limits, names_of
from app.selection.problem import build_problem, time_from
from solver.evaluate import ImpossibleSelection, evaluate
from solver.problem import Selection, validate
from tests import nets
from tests.api.tiny import tiny_network

GRAPH = import_onnx(tiny_network(), name="tiny")
RESIDUAL = import_onnx(nets.residual(), name="residual")
FEW = 5


def few_costs(graph, seed):
    """Costs with spread, so that p50 and p90 differ in order."""
    rng = random.Random(seed)
    costs = []
    for key in list_candidates(graph).cost_keys():
        samples = sorted(rng.randrange(100, 10_000) for _ in range(5))
        costs.append(Cost(key, tuple(samples), samples[2], samples[0], samples[4]))
    return CostTable(costs)


COSTS = few_costs(GRAPH, 0)


def few_candidates(graph, seed):
    """A few options per layer and no chains, so that every selection can be tried."""
    rng = random.Random(seed)
    found = list_candidates(graph)
    options = {node: tuple(rng.sample(offered, min(FEW, len(offered)))) for node, offered in found.options.items()}
    return dataclasses.replace(found, options=options, sites=())


def test_equal_limits_are_equal_whatever_the_order_they_were_given_in():
    one = Limits(forbid=("winograd", "fft"), pins=(("b", "p"), ("a", "q")), bans=(("a", "x"), ("a", "w")))
    two = Limits(forbid=("fft", "winograd", "fft"), pins=(("a", "q"), ("b", "p")), bans=(("a", "w"), ("a", "x")))
    assert one == two
    assert hash(one) == hash(two)
    assert one.canonical() == two.canonical()
    assert Limits.from_json(one.to_json()) == one


def test_no_limits_are_an_empty_document_and_every_field_survives_json():
    assert NO_LIMITS.canonical() == "{}"
    assert NO_LIMITS.arguments() == ""
    full = Limits(("mec",), ("direct", "winograd"), (("a", "p"),), (("b", "q"),), 10, 20, 1e-5, "p90")
    assert Limits.from_json(full.to_json()) == full
    assert full.arguments() == (
        "--forbid mec --only direct --only winograd --pin 'a=p' --ban 'b=q' --max-weights 10 --arena 20 "
        "--max-error 1e-05 --objective p90"
    )


@pytest.mark.parametrize(
    ("make", "pointer"),
    [
        (lambda: Limits(objective="mean"), "objective"),
        (lambda: Limits(max_weights_bytes=-1), "max_weights_bytes"),
        (lambda: Limits(max_error=float("nan")), "max_error"),
        (lambda: Limits(forbid=("wingrad",)), "forbid"),
        (lambda: Limits(pins=(("a", "p"), ("a", "q"))), "pins/a"),
        (lambda: Limits.from_json({"forbids": []}), "forbids"),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(make, pointer):
    with pytest.raises(UserError) as caught:
        make()
    assert caught.value.code == "limits-invalid"
    assert [item.pointer for item in caught.value.items] == [pointer]


def refusal(limits, graph=GRAPH, code="limits-invalid"):
    with pytest.raises(UserError) as caught:
        limits.narrow(list_candidates(graph))
    assert caught.value.code == code
    return caught.value


def test_a_misspelt_layer_or_primitive_gets_the_nearest_names():
    first = next(node for node in GRAPH.nodes if node.op == "conv")
    error = refusal(Limits(pins=((first.name + "x", "p"),)))
    assert first.name in error.items[0].detail
    offered = list_candidates(GRAPH).options[first.name][0].name
    error = refusal(Limits(bans=((first.name, offered + "x"),)))
    assert offered in error.items[0].detail


def test_a_pin_to_a_primitive_that_cannot_run_the_layer_says_why():
    node, reasons = next((n, r) for n, r in list_candidates(GRAPH).refused.items() if r)
    name, reason = next(iter(reasons.items()))
    assert reason in refusal(Limits(pins=((node, name),))).items[0].detail


def test_impossible_limits_name_the_layer_and_the_shortest_way_out():
    convs = [node.name for node in GRAPH.nodes if node.op == "conv"]
    error = refusal(Limits(only=("winograd",)), code="limits-impossible")
    assert convs[1] in error.facts["layers"]  # 1x1: no Winograd
    assert "add pointwise to the families asked for" in error.items[0].detail
    offered = list_candidates(GRAPH).options[convs[0]][0]
    pin, ban = ((convs[0], offered.name),), ((convs[0], offered.name),)
    error = refusal(Limits(pins=pin, bans=ban), code="limits-impossible")
    assert error.facts["layers"] == [convs[0]]
    assert f"lift the ban of {offered.name}" in error.hint
    assert f"lift the pin to {offered.name}" in error.hint
    error = refusal(Limits(max_error=0.0), code="limits-impossible")
    assert "raise the error budget to 1e-05" in error.items[0].detail


def test_weights_that_are_too_few_get_the_least_that_works():
    with pytest.raises(UserError) as caught:
        trace(GRAPH, COSTS, limits=Limits(max_weights_bytes=10))
    least = caught.value.facts["smallest_bytes"]
    assert trace(GRAPH, COSTS, limits=Limits(max_weights_bytes=least)).points
    with pytest.raises(UserError):
        trace(GRAPH, COSTS, limits=Limits(max_weights_bytes=least - 1))


def test_an_arena_that_is_too_small_for_the_weights_axis_gets_the_least_that_works():
    with pytest.raises(UserError) as caught:
        trace(GRAPH, COSTS, "weights", limits=Limits(max_arena_bytes=1))
    least = caught.value.facts["smallest_bytes"]
    assert caught.value.facts["smallest_step"]
    front = trace(GRAPH, COSTS, "weights", limits=Limits(max_arena_bytes=least))
    assert all(point.arena_bytes <= least for point in front.points)
    with pytest.raises(UserError) as caught:
        trace(GRAPH, COSTS, "arena", limits=Limits(max_arena_bytes=least))
    assert caught.value.code == "limits-invalid"


@pytest.mark.parametrize(
    ("memory", "limits"),
    [
        ("total", Limits(order="joint")),
        ("workspace", Limits(order="joint")),
        ("weights", Limits(order="joint")),
        ("arena", Limits(order="joint", max_weights_bytes=10**9)),
    ],
)
def test_the_joint_order_is_offered_where_it_is_exact(memory, limits):
    with pytest.raises(UserError) as caught:
        trace(GRAPH, COSTS, memory, limits=limits)
    assert caught.value.code == "limits-invalid"
    assert caught.value.items[0].pointer == "order"
    assert trace(GRAPH, COSTS, "arena", limits=Limits(order="joint")).points


def every_selection(candidates, costs, limits):
    """(point figures) of each selection whose options the limits' own words allow, tried one by one."""
    built = build_problem(candidates, time_from(costs))
    kept = []
    for node, options in zip(built.operators, built.options, strict=True):
        allowed = [i for i, option in enumerate(options) if node is not None and permitted(limits, node.name, option)]
        kept.append(allowed if node is not None else [0])
    for choice in itertools.product(*kept):
        try:
            yield evaluate(built.problem, Selection(choice))
        except ImpossibleSelection:
            continue


def permitted(limits, node, option):
    """The limits in other words than those of Limits.objections."""
    families = {p.family for p in option.primitives if p.op == "conv"}
    if families & set(limits.forbid) or (limits.only and families - set(limits.only)):
        return False
    if any(layer == node and name in names_of(option) for layer, name in limits.bans):
        return False
    if any(layer == node and name not in names_of(option) for layer, name in limits.pins):
        return False
    return limits.max_error is None or all(p.max_rel_err <= limits.max_error for p in option.primitives)


def random_limits(candidates, rng):
    """Limits drawn from what the candidates offer."""
    families = sorted(
        {p.family for o in candidates.options.values() for x in o for p in x.primitives if p.op == "conv"}
    )
    pairs = [(node, option.name) for node, offered in candidates.options.items() for option in offered]
    pins = dict(rng.sample(pairs, rng.choice([0, 0, 1, 2])))
    return Limits(
        forbid=tuple(rng.sample(families, rng.choice([0, 0, 1]))),
        only=tuple(rng.sample(families, len(families) - 1)) if rng.random() < 0.2 else (),
        pins=tuple(pins.items()),
        bans=tuple(rng.sample(pairs, rng.choice([0, 1, 2]))),
        max_weights_bytes=rng.choice([None, None, rng.randrange(2000, 12_000)]),
        max_error=rng.choice([None, None, 1e-5, 5e-5]),
        objective=rng.choice(["p50", "p90"]),
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("axis", ["arena", "workspace", "total", "weights"])
def test_a_limited_front_is_the_front_of_every_allowed_selection(axis, seed, monkeypatch):
    rng = random.Random(seed)
    graph = (GRAPH, RESIDUAL)[seed % 2 if axis != "total" else 0]
    candidates = few_candidates(graph, seed) if graph is GRAPH else fewer(few_candidates(graph, seed))
    monkeypatch.setattr("app.selection.frontier.list_candidates", lambda _graph, **_: candidates)
    limits = random_limits(candidates, rng)
    costs = few_costs(graph, seed)
    size = {"arena": "arena_bytes", "workspace": "workspace_bytes", "total": "total_bytes", "weights": "weights_bytes"}
    figures = [
        (getattr(found, size[axis]), found.time_ns)
        for found in every_selection(candidates, limits.times(costs), limits)
        if limits.max_weights_bytes is None or found.weights_bytes <= limits.max_weights_bytes
    ]
    expected = []
    for point in sorted(figures):
        if not expected or point[1] < expected[-1][1]:
            expected.append(point)
    if not expected:
        with pytest.raises(UserError):
            trace(graph, costs, axis, limits=limits)
        return
    front = trace(graph, costs, axis, limits=limits)
    measure = "peak_bytes" if axis == "arena" else size[axis]
    if axis == "total":
        found = [(point.peak_bytes + point.weights_bytes, point.latency_ns) for point in front.points]
    else:
        found = [(getattr(point, measure), point.latency_ns) for point in front.points]
    assert found == expected
    assert all(point.proven for point in front.points)


def fewer(candidates):
    """Two options per layer: for networks of many layers."""
    return dataclasses.replace(candidates, options={n: o[:2] for n, o in candidates.options.items()})


def test_every_front_says_what_proved_it():
    assert trace(GRAPH, COSTS).certified_by == "highs-lp+dp"
    bounded = trace(GRAPH, COSTS, limits=Limits(max_weights_bytes=3000))
    assert bounded.certified_by == "labels+highs-mip"
    assert trace(GRAPH, COSTS, "weights").certified_by == "labels+highs-mip"


def test_the_objective_is_the_time_of_every_call_and_layers_add_up():
    usual, high = trace(GRAPH, COSTS), trace(GRAPH, COSTS, limits=Limits(objective="p90"))
    for front, name in ((usual, "median_ns"), (high, "p90_ns")):
        for point in front.points:
            assert point.latency_ns == sum(x.time_ns for x in point.layers) + sum(x.time_ns for x in point.conversions)
        measured = {cost.key.primitive: getattr(cost, name) for cost in COSTS.values()}
        layer = front.points[-1].layers[0]
        assert layer.time_ns == sum(
            getattr(COSTS[key], name) for key in COSTS if key.primitive == layer.primitive and key.shape == layer.shape
        )
        assert measured
    assert high.points[-1].latency_ns > usual.points[-1].latency_ns


def test_points_keep_their_id_through_another_sweep_other_limits_and_other_costs():
    first, again = trace(GRAPH, COSTS), trace(GRAPH, COSTS)
    assert [p.id for p in first.points] == [p.id for p in again.points]
    fastest = first.points[-1]
    pins = tuple((layer.node, layer.primitive) for layer in fastest.layers)
    pinned = trace(GRAPH, COSTS, limits=Limits(pins=pins))
    assert fastest.id in {p.id for p in pinned.points}
    slower = CostTable(
        Cost(c.key, tuple(2 * s for s in c.samples_ns), 2 * c.median_ns, 2 * c.p10_ns, 2 * c.p90_ns)
        for c in COSTS.values()
    )
    doubled = trace(GRAPH, slower)
    assert [p.id for p in doubled.points] == [p.id for p in first.points]
    assert doubled.costs_digest != first.costs_digest


def test_the_digest_covers_what_the_limits_allow_and_the_objective_counts():
    keys = [key for key in COSTS if "winograd" in key.primitive]
    changed = CostTable(
        dataclasses.replace(c, median_ns=c.median_ns + 1) if c.key in keys else c for c in COSTS.values()
    )
    free, without = NO_LIMITS, Limits(forbid=("winograd",))
    assert keys
    assert costs_digest(GRAPH, COSTS, free) != costs_digest(GRAPH, changed, free)
    assert costs_digest(GRAPH, COSTS, without) == costs_digest(GRAPH, changed, without)
    high = Limits(objective="p90")
    assert costs_digest(GRAPH, COSTS, high) == costs_digest(GRAPH, changed, high)
    assert costs_digest(GRAPH, COSTS, high) != costs_digest(GRAPH, COSTS, free)


@pytest.mark.parametrize("families", [("im2col", "im2row"), ("im2row",), ("direct", "im2col")])
def test_families_that_cannot_write_slices_leave_concats_that_copy(families):
    graph = import_onnx(nets.branch_concat(), name="branch")
    narrow = Limits(only=families).narrow(list_candidates(graph))
    validate(build_problem(narrow, lambda _key: 1).problem)
