"""Weights packed at the start as a limit: what it offers, and questions about it."""

from __future__ import annotations

import pytest

from app.candidates import list_candidates
from app.costs import Cost, CostTable
from app.errors import UserError
from app.graph.ir import Graph
from app.graph.onnx_import import import_onnx
from app.points import Point
from app.selection.digest import costs_digest
from app.selection.frontier import trace
from app.selection.limits import SHIPPED, START_UP, Limits
from app.selection.what_if import WarmModel
from tests import nets

START = Limits(residency=START_UP)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_onnx(nets.residual(c=5, size=20, m=24), name="net")


@pytest.fixture(scope="module")
def table(graph: Graph) -> CostTable:
    found = []
    for number, key in enumerate(list_candidates(graph).cost_keys()):
        ns = 10_000 + number if "winograd" in key.primitive else 30_000 + number
        found.append(Cost(key, (ns,), ns, ns, ns))
    return CostTable(found)


def test_limits_say_residency_in_every_form() -> None:
    assert Limits().residency == SHIPPED
    assert START.to_json() == {"residency": "start-up"}
    assert Limits.from_json(START.to_json()) == START
    assert START.arguments() == "--residency start-up"
    with pytest.raises(UserError) as caught:
        Limits(residency="always")
    assert caught.value.items[0].pointer == "residency"


def test_only_what_packing_makes_larger_is_offered_twice(graph: Graph) -> None:
    shipped = list_candidates(graph)
    offered = START.narrow(shipped)
    for node, options in offered.options.items():
        twins = options[len(shipped.options[node]) :]
        assert options[: len(shipped.options[node])] == shipped.options[node]
        assert all(twin.primitives[0].family == "winograd" for twin in twins)
        assert len({option.key for option in options}) == len(options)
        for twin in twins:
            assert twin.weights_bytes < twin.resident_bytes
    assert START.narrow(offered) == offered
    assert any(len(options) > len(shipped.options[node]) for node, options in offered.options.items())


def test_a_front_of_other_residency_is_another_front(graph: Graph, table: CostTable) -> None:
    assert costs_digest(graph, table, START) != costs_digest(graph, table)


def test_points_with_residents_come_back_from_json(graph: Graph, table: CostTable) -> None:
    point = trace(graph, table, "weights", limits=START).points[-1]
    assert point.resident_bytes > 0
    assert Point.from_json(point.to_json()) == point
    assert point.summary()["resident_bytes"] == point.resident_bytes
    first = [b for b in point.buffers if b.kind == "resident"]
    assert sum(layer.resident_bytes > 0 for layer in point.layers) == len(first)
    assert min(b.offset_bytes for b in point.buffers if b.kind != "resident") == point.resident_bytes


@pytest.mark.usefixtures("offered_once")
@pytest.mark.parametrize("memory", ["weights", "arena", "total"])
def test_a_warm_model_answers_what_the_front_says(graph: Graph, table: CostTable, memory: str) -> None:
    model = WarmModel(graph, table)
    plain = trace(graph, table, "weights", limits=START).points[0].weights_bytes
    arena = trace(graph, table).points[-1].arena_bytes
    bounds = {"max_arena_bytes": arena} if memory == "weights" else {"max_weights_bytes": plain + 10_000}
    shipped, start = Limits(order="given", **bounds), Limits(order="given", residency=START_UP, **bounds)
    fronts = {limits: trace(graph, table, memory, limits=limits) for limits in (shipped, start)}
    assert fronts[shipped].points != fronts[start].points
    for limits in (shipped, start, shipped):  # the same model, asked in turns
        for point in fronts[limits].points:
            size_bytes = getattr(point, f"{memory}_bytes")
            answer = model.ask(limits, memory, size_bytes)
            assert answer.point.latency_ns == point.latency_ns
            assert getattr(answer.point, f"{memory}_bytes") <= size_bytes


def test_an_answer_may_be_more_than_the_arena_holds(graph: Graph, table: CostTable) -> None:
    model = WarmModel(graph, table)
    with pytest.raises(UserError) as caught:
        model.ask(Limits(residency=START_UP, max_arena_bytes=64), "weights", None)
    assert caught.value.code == "budget-infeasible"
