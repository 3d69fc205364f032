"""The example library: right topologies, sane activations, the same bytes every time."""

from __future__ import annotations

import numpy as np
import pytest

from app.graph import zoo
from app.graph.onnx_import import import_onnx
from app.graph.oracle import run_onnx
from tests import nets
from tests.graph.judge import assert_equals_onnxruntime

MACS = {"alexnet": 655, "googlenet": 1432, "vgg19": 19632, "resnet50": 4089, "squeezenet": 349, "densenet121": 2834}
"""Millions, of convolutions and dense layers."""

LIGHT = ["squeezenet"]
WITHOUT_SOFTMAX = {"densenet121"}


def test_every_example_has_a_known_size() -> None:
    assert set(zoo.EXAMPLES) == set(MACS)


@pytest.mark.parametrize("name", LIGHT)
def test_example_is_deterministic_and_equals_onnxruntime(name: str) -> None:
    model = zoo.materialise(name)
    assert zoo.materialise(name) == model
    graph = import_onnx(model, name=name)
    assert round(sum(node.shape.macs for node in graph.nodes if node.shape) / 1e6) == MACS[name]
    assert_equals_onnxruntime(graph, model)


@pytest.fixture(scope="module", params=sorted(set(MACS) - set(LIGHT) - {"vgg19"}))
def large(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """A large example, made once for all tests of it: AlexNet has 240 MB of weights."""
    return request.param, zoo.materialise(request.param)


def assert_imports_whole(name: str, model: bytes) -> None:
    graph = import_onnx(model, name=name)
    assert round(sum(node.shape.macs for node in graph.nodes if node.shape) / 1e6) == MACS[name]
    assert_equals_onnxruntime(graph, model)


@pytest.mark.slow
def test_large_example_imports_whole(large: tuple[str, bytes]) -> None:
    assert_imports_whole(*large)


@pytest.mark.huge
def test_vgg19_imports_whole() -> None:
    assert_imports_whole("vgg19", zoo.materialise("vgg19"))


def assert_logits_spread(model: bytes) -> None:
    (probabilities,) = run_onnx(model, nets.random_inputs(model)).values()
    assert 1e-3 < probabilities.max() < 0.5
    spread = np.log(np.sort(probabilities.reshape(-1))[[50, -50]])
    assert spread[1] - spread[0] > 1  # the classes differ


@pytest.mark.slow
def test_logits_are_not_saturated(large: tuple[str, bytes]) -> None:
    name, model = large
    if name not in WITHOUT_SOFTMAX:
        assert_logits_spread(model)


@pytest.mark.parametrize("name", LIGHT)
def test_logits_of_a_light_example_are_not_saturated(name: str) -> None:
    assert_logits_spread(zoo.materialise(name))
