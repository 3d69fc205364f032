"""A structure digest names a network by what it computes, not by how its file came about."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from app.graph import zoo
from app.graph.onnx_import import import_onnx
from app.graph.structure import structure_digest
from app.marks import RUNTIMES, marks_of
from tests import nets

NETWORKS = Path(__file__).parents[2] / "bench" / "networks.py"


def graph_of(net: str):
    return import_onnx(nets.ALL[net](), name=net)


def test_names_weights_and_the_order_of_branches_do_not_count():
    graph = graph_of("branch_concat")
    renamed = dataclasses.replace(graph, name="other", constants={k: v * 2 for k, v in graph.constants.items()})
    assert structure_digest(renamed) == structure_digest(graph)
    orders = [
        (*graph.nodes[:i], graph.nodes[i + 1], graph.nodes[i], *graph.nodes[i + 2 :])
        for i in range(len(graph.nodes) - 1)
        if graph.nodes[i].output not in graph.nodes[i + 1].inputs
    ]
    assert orders
    for nodes in orders:
        assert structure_digest(dataclasses.replace(graph, nodes=nodes)) == structure_digest(graph)


def test_shapes_wiring_and_operators_count():
    digests = {structure_digest(graph_of(net)) for net in nets.ALL}
    assert len(digests) == len(nets.ALL)
    assert structure_digest(import_onnx(nets.chain(size=8), name="chain")) != structure_digest(
        import_onnx(nets.chain(size=9), name="chain")
    )
    assert structure_digest(import_onnx(nets.chain(depth=3), name="chain")) != structure_digest(
        import_onnx(nets.chain(depth=2), name="chain")
    )


def test_an_unknown_network_has_no_marks():
    assert marks_of(graph_of("chain")) == ()


@pytest.mark.parametrize("name", ["squeezenet", "googlenet", "densenet121"])
def test_the_example_library_is_recognised(name):
    marks = marks_of(import_onnx(zoo.materialise(name), name="whatever"))
    assert [mark.runtime for mark in marks] == [runtime.name for runtime in RUNTIMES]
    assert all(mark.arena_bytes > 2**20 and "not on this device" in mark.measured_on for mark in marks)
    title = zoo.EXAMPLES[name].title
    assert marks[0].network.split(" ")[0] in title


def test_resnet_18_of_the_benchmark_is_recognised():
    spec = importlib.util.spec_from_file_location("bench_networks", NETWORKS)
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    assert {mark.network for mark in marks_of(import_onnx(networks.resnet18(), name="r"))} == {"ResNet-18"}
