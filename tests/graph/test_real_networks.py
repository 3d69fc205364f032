"""Pretrained networks: the imported graph computes what the original file computes, with the known answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.graph import archive
from app.graph.ir import VIEW, Graph
from app.graph.onnx_import import import_onnx
from app.graph.reference import run
from tests.graph.judge import relative_error

MODELS = {
    # name -> nodes of the graph by operator that the passes must arrive at, views apart
    "digit_recognizer": {"conv": 3, "max_pool": 3, "dense": 2},
    "faceboxes": {"conv": 33, "neg": 2, "concat": 7, "clamp": 2, "max_pool": 2, "avg_pool": 3, "softmax": 1},
    "kws_arm_dscnn_s": {"conv": 9, "avg_pool": 1, "dense": 1, "softmax": 1},
    "mlperftiny_ad_autoencoder": {"dense": 10},
    "mlperftiny_kws_dscnn": {"conv": 9, "avg_pool": 1, "dense": 1, "softmax": 1},
    "mlperftiny_resnet8": {"conv": 9, "avg_pool": 1, "dense": 1, "softmax": 1},
    "mlperftiny_vww_mobilenetv1": {"conv": 27, "avg_pool": 1, "dense": 1, "softmax": 1},
    "mnist8": {"conv": 2, "max_pool": 2, "dense": 1},
    "mobilenetv2_imagenet": {"conv": 52, "avg_pool": 1, "dense": 1},
    "resnet20_cifar10": {"conv": 19, "slice": 2, "pad": 2, "avg_pool": 1, "dense": 1},
    "squeezenet1_1": {"conv": 26, "max_pool": 3, "concat": 8, "avg_pool": 1, "softmax": 1},
    "squeezenet1_1_winml": {"conv": 26, "max_pool": 3, "concat": 8, "avg_pool": 1, "softmax": 1},
    "ultraface_rfb320": None,
    "vdsr": {"conv": 20},
}


@pytest.fixture(scope="module")
def graphs(shared_models: Path) -> dict[str, Graph]:
    return {name: import_onnx((shared_models / f"{name}.onnx").read_bytes(), name=name) for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_equal_the_stored_outputs_of_onnxruntime(
    name: str, graphs: dict[str, Graph], shared_models: Path
) -> None:
    graph = graphs[name]
    expected = json.loads((shared_models / "ref" / "expected.json").read_text())
    cases = sorted((shared_models / "ref").glob(f"{name}.*.in.npy"))
    assert cases
    if sum(node.shape.macs for node in graph.nodes if node.shape) > 200e6:  # one photo and noise will do
        cases = [cases[0], cases[-1]]
    for case in cases:
        outputs = run(graph, {graph.inputs[0]: np.load(case)})
        stem = case.name.removesuffix(".in.npy")
        for k, output in enumerate(graph.outputs):
            wanted = np.load(case.with_name(f"{stem}.out{k}.npy"))
            assert relative_error(outputs[output], wanted) <= 1e-5, (stem, output)
        top1 = expected.get(stem, {}).get("expect", {}).get("top1")
        if top1 is not None:
            assert int(outputs[graph.outputs[0]].argmax()) == top1, stem


@pytest.mark.parametrize("name", [name for name, ops in MODELS.items() if ops])
def test_passes_leave_the_operators_the_network_needs(name: str, graphs: dict[str, Graph]) -> None:
    found: dict[str, int] = {}
    for node in graphs[name].nodes:
        if node.op != VIEW:
            found[node.op] = found.get(node.op, 0) + 1
    assert found == MODELS[name]


def test_channels_last_input_is_a_view_and_nothing_moves(graphs: dict[str, Graph]) -> None:
    graph = graphs["mlperftiny_vww_mobilenetv1"]
    first = graph.nodes[0]
    assert (first.op, first.view_in, first.view_out) == (VIEW, "chw", "hwc")
    assert all(node.op not in ("permute", VIEW) for node in graph.nodes[1:])


@pytest.mark.parametrize("name", MODELS)
def test_saved_graph_loads_back_the_same(name: str, graphs: dict[str, Graph]) -> None:
    graph = graphs[name]
    loaded = archive.load(archive.save(graph))
    assert loaded.nodes == graph.nodes
    assert loaded.to_json() == graph.to_json()
    for key, value in graph.constants.items():
        assert np.array_equal(loaded.constants[key], value)


def test_json_of_a_graph_is_plain(graphs: dict[str, Graph]) -> None:
    for graph in graphs.values():
        text = json.dumps(graph.to_json(), allow_nan=False)
        assert json.loads(text)["inputs"] == list(graph.inputs)
