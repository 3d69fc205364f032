"""What simpler methods pick stands beside every front, with figures of its own."""

from __future__ import annotations

import pytest

from app.graph.onnx_import import import_onnx
from app.selection.frontier import trace
from app.selection.limits import Limits
from tests import nets
from tests.selection.test_schedule import random_costs

NAMES = ["time-only", "fastest-per-layer", "all-direct", "greedy-planner"]


def baselines_of(net: str, seed: int = 0, **limits: object) -> dict[str, object]:
    graph = import_onnx(nets.ALL[net](), name=net)
    front = trace(graph, random_costs(graph, seed), "arena", limits=Limits(**limits))
    return {one.name: one.point for one in front.baselines}


@pytest.mark.usefixtures("offered_once")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("net", nets.ALL)
def test_the_greedy_planner_gives_every_tensor_memory_of_its_own(net, seed):
    found = baselines_of(net, seed)
    greedy = found["greedy-planner"]
    assert all(layer.in_place is None and not layer.strips and "@" not in layer.option for layer in greedy.layers)
    assert {layer.family for layer in greedy.layers if layer.op == "conv"} <= {"direct", "depthwise", "pointwise"}
    assert sum(buffer.kind == "output" for buffer in greedy.buffers) >= len(greedy.layers) - 1  # one is the caller's
    assert greedy.arena_bytes >= greedy.peak_bytes
    assert greedy.latency_ns >= found["all-direct"].latency_ns
    assert greedy.latency_ns == sum(layer.time_ns + layer.conversion_ns for layer in greedy.layers) + sum(
        c.time_ns for c in greedy.conversions if c.consumer.startswith("output ")
    )


@pytest.mark.parametrize("net", nets.ALL)
def test_baselines_have_names_and_ids_of_their_own_placement(net):
    graph = import_onnx(nets.ALL[net](), name=net)
    front = trace(graph, random_costs(graph, 1), "arena")
    assert [one.name for one in front.baselines if one.name != "fastest-per-layer"] == [
        name for name in NAMES if name != "fastest-per-layer"
    ]
    greedy = next(one.point for one in front.baselines if one.name == "greedy-planner")
    others = [p for p in (*front.points, *(b.point for b in front.baselines)) if p is not greedy]
    assert greedy.id not in {p.id for p in others}


def test_limits_that_leave_no_direct_convolution_leave_no_such_baseline():
    found = baselines_of("chain", only=("im2row",))
    assert "all-direct" not in found
    assert "greedy-planner" not in found
    assert "time-only" in found
