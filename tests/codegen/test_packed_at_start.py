"""Weights that are packed when the network starts: planned by a front, printed, compiled, run and compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.candidates import list_candidates
from app.codegen.bundle import pack
from app.codegen.emit import FileData, emit
from app.codegen.plan import Plan, make_plan
from app.costs import Cost, CostTable
from app.errors import UserError
from app.graph import oracle
from app.graph.ir import Graph
from app.graph.onnx_import import import_onnx
from app.points import Point
from app.selection.frontier import trace
from app.selection.limits import START_UP, Limits
from app.selection.schedule import make_schedule
from app.verify import verify_bundle
from tests import nets
from tests.tiny_bundles import PROVENANCE
from tests.verify.test_verify import edited, rehashed

MODEL = nets.residual(c=5, size=20, m=24)


def costs(graph: Graph, fast: str = "conv_winograd_f4_b1t4", threads: int = 1) -> CostTable:
    """Costs by which some Winograd routine is worth its weights; strips are dear."""
    found = []
    for key in list_candidates(graph, threads=threads).cost_keys():
        ns = 1_000 if key.primitive.startswith(fast) else 3_000 if "_hwc_hwc" in key.primitive else 50_000
        found.append(Cost(key, (ns,), ns, ns, ns))
    return CostTable(found, threads=threads)


def fastest(graph: Graph, table: CostTable, **limits: int) -> Point:
    """The fastest point of least weights."""
    return trace(graph, table, "weights", limits=Limits(residency=START_UP, **limits)).points[-1]


def planned(data: bytes, graph: Graph, point: Point, threads: int = 1) -> Plan:
    vectors = []
    for seed in (1, 2):
        inputs = nets.random_inputs(data, seed)
        outputs = oracle.run_onnx(data, inputs)
        vectors.append(([inputs[n] for n in graph.inputs], [outputs[n] for n in graph.outputs]))
    schedule = make_schedule(graph, point, threads=threads)
    return make_plan("net", graph.constants, schedule, prefix="net", vectors=vectors, provenance=PROVENANCE)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_onnx(MODEL, name="net")


@pytest.fixture(scope="module")
def files(graph: Graph) -> dict[str, FileData]:
    return emit(planned(MODEL, graph, fastest(graph, costs(graph))))


@pytest.mark.parametrize("fast", ["conv_winograd_f4_b1t4", "conv_winograd_f6_b3t8", "conv_winograd_f2_full"])
@pytest.mark.parametrize(("compiler", "sanitize"), [("gcc", False), ("clang", True)])
def test_a_bundle_that_packs_its_weights_at_the_start_is_proven(
    graph: Graph, fast: str, compiler: str, sanitize: bool, objects: Path
) -> None:
    table = costs(graph, fast)
    point, shipped = fastest(graph, table), trace(graph, table).points[-1]
    assert point.latency_ns == shipped.latency_ns
    plain_bytes = 4 * sum(constant.size for constant in graph.constants.values())
    assert point.weights_bytes == plain_bytes < shipped.weights_bytes
    assert point.resident_bytes >= shipped.weights_bytes - plain_bytes
    plan = planned(MODEL, graph, point)
    assert plan.weights.data.nbytes == point.weights_bytes
    proof = verify_bundle(pack(emit(plan), "net"), compiler=compiler, sanitize=sanitize, cache=objects)
    assert proof.arena_used_bytes == proof.arena_bytes == point.arena_bytes
    assert proof.start_ns > 0


def test_threads_share_what_one_of_them_packed(objects: Path) -> None:
    data = nets.residual(c=16, size=28, m=32)
    graph = import_onnx(data, name="net")
    point = fastest(graph, costs(graph, threads=2))
    plan = planned(data, graph, point, threads=2)
    assert plan.threads == 2
    proof = verify_bundle(pack(emit(plan), "net"), sanitize=True, cache=objects)
    assert proof.arena_bytes == point.arena_bytes
    assert proof.start_ns > 0


def test_strips_share_what_was_packed_once(objects: Path) -> None:
    data = nets.chain(c=8, size=32, depth=2, m=16)
    graph = import_onnx(data, name="net")
    found = []
    for key in list_candidates(graph).cost_keys():
        strip = " h=32 " not in key.shape
        ns = 10 if strip and "winograd_f4_b3t8_hwc" in key.primitive else 500 if strip else 900_000
        found.append(Cost(key, (ns,), ns, ns, ns))
    point = fastest(graph, CostTable(found))
    chained = [layer for layer in point.layers if layer.strips and layer.resident_bytes]
    assert chained
    plan = planned(data, graph, point)
    assert len(plan.starts) == sum(layer.resident_bytes > 0 for layer in point.layers)
    assert any(start.calls > 1 for start in plan.starts)
    assert plan.weights.data.nbytes == point.weights_bytes
    proof = verify_bundle(pack(emit(plan), "net"), cache=objects)
    assert proof.arena_bytes == point.arena_bytes


def test_the_bundle_says_what_stays_between_runs(graph: Graph, files: dict[str, FileData]) -> None:
    point = fastest(graph, costs(graph))
    header, code = bytes(files["net.h"]).decode(), bytes(files["net.c"]).decode()
    assert f"#define NET_RESIDENT_BYTES {point.resident_bytes}u" in header
    assert "must survive between runs" in header
    assert code.count("net_pack_winograd_f4_b1(&s, w + ") == sum(layer.resident_bytes > 0 for layer in point.layers)
    assert "kernels/conv_winograd_pack.c" in files
    manifest = json.loads(bytes(files["manifest.json"]))
    assert manifest["memory"]["resident_bytes"] == point.resident_bytes
    assert sum(call["weights_bytes"] for call in manifest["calls"]) == point.weights_bytes


def test_a_run_that_writes_over_resident_weights_is_refused(files: dict[str, FileData]) -> None:
    ending = "    return NET_OK;\n}\n"
    code = bytes(files["net.c"]).decode()
    at = code.rindex(ending)
    spoilt = code[:at] + "    ((float *)n->arena)[3] = 1e30f;\n" + code[at:]
    with pytest.raises(UserError) as caught:
        verify_bundle(rehashed({**files, "net.c": spoilt.encode()}))
    assert caught.value.code in ("bundle-mismatch", "bundle-arena-mismatch")


def test_a_start_that_packs_something_else_is_refused(files: dict[str, FileData]) -> None:
    spoilt = edited(dict(files), "kernels/conv_winograd_pack.c", r"power \*= points\[i\];", "power *= -points[i];")
    with pytest.raises(UserError) as caught:
        verify_bundle(rehashed(spoilt))
    assert caught.value.code == "bundle-mismatch"


def test_an_arena_bounds_what_may_be_resident(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solver.confirm.CONFIRM_S", 120.0)  # however busy the machine is
    table = costs(graph)
    free = fastest(graph, table)
    least = trace(graph, table).points[-1]
    weights_bytes = [free.weights_bytes]
    for arena_bytes in (free.arena_bytes, (free.arena_bytes + least.arena_bytes) // 2, least.arena_bytes):
        front = trace(graph, table, "weights", limits=Limits(residency=START_UP, max_arena_bytes=arena_bytes))
        assert front.complete
        assert front.certified_by == "labels+highs-mip"
        assert all(point.arena_bytes <= arena_bytes for point in front.points)
        assert front.points[-1].latency_ns == free.latency_ns
        weights_bytes.append(front.points[-1].weights_bytes)
    assert weights_bytes == sorted(weights_bytes)
    assert weights_bytes[0] == weights_bytes[1] < weights_bytes[-1]


def test_resident_weights_are_only_offered_where_they_can_pay(graph: Graph) -> None:
    table = costs(graph)
    for memory in ("arena", "total", "workspace"):
        with pytest.raises(UserError) as caught:
            trace(graph, table, memory, limits=Limits(residency=START_UP))
        assert caught.value.code == "limits-invalid"
    bound = fastest(graph, table).weights_bytes
    shipped = trace(graph, table, limits=Limits(max_weights_bytes=bound))
    front = trace(graph, table, limits=Limits(max_weights_bytes=bound, residency=START_UP))
    assert front.points[-1].latency_ns < shipped.points[-1].latency_ns
    assert front.points[-1].resident_bytes > 0 == shipped.points[-1].resident_bytes
    assert np.all([point.weights_bytes <= bound for point in front.points])
