"""Networks of the benchmark and what is done to files for one peer."""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.benchmark.peers.convert import widen_pooling
from app.graph.onnx_import import import_onnx
from app.graph.oracle import run_onnx

SCRIPT = Path(__file__).parents[2] / "bench" / "networks.py"


@pytest.fixture(scope="module")
def networks():
    spec = importlib.util.spec_from_file_location("bench_networks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "mega_macs"), [pytest.param("vgg16", 15470.3, marks=pytest.mark.slow), ("resnet18", 1814.1), ("null", 0.0)]
)
def test_a_network_imports_and_has_the_known_size(networks, name, mega_macs):
    graph = import_onnx(networks.NETWORKS[name](), name=name)
    assert round(sum(node.shape.macs for node in graph.nodes if node.shape) / 1e6, 1) == mega_macs


def test_the_bytes_are_the_same_every_time_and_the_logits_spread_about_one(networks):
    data = networks.resnet18()
    assert hashlib.sha256(data).digest() == hashlib.sha256(networks.resnet18()).digest()
    image = np.random.default_rng(0).standard_normal(networks.IMAGE, np.float32)
    (probabilities,) = run_onnx(data, {"image": image}).values()
    assert np.log(probabilities).std() == pytest.approx(1.0, abs=0.1)
    counts = {}
    for node in onnx.load_model_from_string(data).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    assert counts["BatchNormalization"] == counts["Conv"] == 20


def test_files_are_written_where_asked(networks, tmp_path, capsys):
    networks.main([str(tmp_path / "made"), "null"])
    assert (tmp_path / "made" / "null.onnx").read_bytes() == networks.null()
    assert "null.onnx" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        networks.main([str(tmp_path), "vgg17"])


def pooled(size, window, pads, **attributes):
    """One AveragePool on 2 channels of size x size."""
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[window] * 2, pads=pads, **attributes)
    graph = helper.make_graph(
        [node],
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("size", "window", "pads", "attributes", "widened"),
    [
        (6, 7, [0, 0, 1, 1], {}, True),  # GoogLeNet's last one
        (7, 7, [0, 0, 1, 1], {}, False),  # two positions
        (7, 7, [0, 0, 0, 0], {}, False),  # converts as it is
        (6, 7, [0, 0, 1, 1], {"count_include_pad": 1}, False),  # divides by 49, not by 36
        (5, 5, [1, 1, 0, 0], {}, False),
        (5, 5, [1, 1, 0, 0], {"strides": [2, 2]}, False),  # one position that does not see the last row
    ],
)
def test_pooling_is_replaced_only_where_nothing_changes(size, window, pads, attributes, widened):
    model = pooled(size, window, pads, **attributes)
    x = {"x": np.random.default_rng(1).standard_normal((1, 2, size, size), np.float32)}
    before = run_onnx(model.SerializeToString(), x)["y"]
    widen_pooling(model)
    assert (model.graph.node[0].op_type == "GlobalAveragePool") is widened
    assert np.allclose(run_onnx(model.SerializeToString(), x)["y"], before, rtol=1e-6)
