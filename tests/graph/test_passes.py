"""Every pass keeps every output, and arrives where it should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from app.graph.check import check
from app.graph.ir import Graph
from app.graph.onnx_import import import_onnx, translate
from app.graph.passes import JOINING, PASSES, optimise
from app.graph.reference import run
from tests import nets
from tests.graph import test_operators
from tests.graph.judge import relative_error
from tests.nets import Net


def models() -> dict[str, Callable[[], bytes]]:
    """The tiny networks, and every operator case with something to fuse."""
    found: dict[str, Callable[[], bytes]] = dict(nets.ALL)
    for name, (dims, opset, build) in test_operators.CASES.items():

        def model(dims: tuple[int, ...] = dims, opset: int = opset, build: test_operators.Build = build) -> bytes:
            net = Net(dims, opset=opset)
            outputs = build(net)
            return net.bytes(*([outputs] if isinstance(outputs, str) else outputs))

        found[name] = model
    return found


def outputs_of(graph: Graph) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return run(graph, {name: random.standard_normal(graph.tensors[name].dims) for name in graph.inputs})


@pytest.mark.parametrize("name", models())
def test_each_pass_keeps_every_output(name: str) -> None:
    graph = translate(models()[name](), name=name)
    before = outputs_of(graph)
    for rewrite in (PASSES + JOINING) * 2:
        graph = rewrite(graph)
        check(graph)
        after = outputs_of(graph)
        assert list(after) == list(before)
        for key, value in before.items():
            # Folding rounds new constants to float32 once.
            assert relative_error(after[key], value) <= 1e-6, (rewrite.__name__, key)


@pytest.mark.parametrize("name", models())
def test_optimised_graph_stays_as_it_is(name: str) -> None:
    graph = import_onnx(models()[name](), name=name)
    assert optimise(graph).nodes == graph.nodes


def ops(net: Net, *outputs: str) -> list[str]:
    return [node.op for node in import_onnx(net.bytes(*outputs), name="net").nodes]


def test_batch_norm_and_relu_vanish_into_the_conv() -> None:
    net = Net()
    net.add("Relu", net.batch_norm(net.conv("x", 3, 4, bias=False), 4))
    graph = import_onnx(net.bytes(), name="net")
    (conv,) = graph.nodes
    assert (conv.op, conv.attrs.lo, conv.attrs.hi) == ("conv", 0.0, np.inf)
    assert conv.sources == ("node_y0", "node_y1", "node_y2")


def test_relu_stays_where_its_input_is_read_twice() -> None:
    net = Net()
    y = net.conv("x", 3, 4)
    net.add("Concat", y, net.add("Relu", y), axis=1)
    assert ops(net) == ["conv", "clamp", "concat"]


def test_relu_behind_a_graph_output_is_not_fused() -> None:
    net = Net()
    y = net.conv("x", 3, 4)
    assert ops(net, y, net.add("Relu", y)) == ["conv", "clamp"]


def test_scale_before_a_padded_conv_stays_if_it_has_an_offset() -> None:
    net = Net()
    net.conv(net.batch_norm("x", 3), 3, 4)
    assert ops(net) == ["scale", "conv"]
    net = Net()
    net.conv(net.batch_norm("x", 3), 3, 4, pads=[0] * 4)
    assert ops(net) == ["conv"]


def test_pad_joins_the_conv() -> None:
    net = Net()
    net.conv(net.add("Pad", "x", net.ints(0, 0, 1, 1, 0, 0, 1, 1)), 3, 4, pads=[0] * 4)
    assert ops(net) == ["conv"]


def test_pad_before_max_pool_stays_unless_values_are_not_negative() -> None:
    for first, found in (("Relu", ["clamp", "max_pool"]), ("Neg", ["neg", "pad", "max_pool"])):
        net = Net()
        padded = net.add("Pad", net.add(first, "x"), net.ints(0, 0, 1, 1, 0, 0, 1, 1))
        net.add("MaxPool", padded, kernel_shape=[3, 3])
        assert ops(net) == found


def test_relu_behind_max_pool_joins_the_conv() -> None:
    net = Net()
    net.add("Relu", net.add("MaxPool", net.conv("x", 3, 4), kernel_shape=[2, 2]))
    assert ops(net) == ["conv", "max_pool"]


def test_channels_last_flatten_is_folded_into_the_dense_weights() -> None:
    assert [node.op for node in import_onnx(nets.nhwc(), name="net").nodes] == ["view", "conv", "conv", "dense"]


def test_channels_last_bias_and_relu_reach_the_conv_through_the_transpose() -> None:
    net = Net()
    y = net.add("Transpose", net.conv("x", 3, 4, bias=False), perm=[0, 2, 3, 1])
    y = net.add("Relu", net.add("Add", y, net.weights(4)))
    net.add("Relu", net.conv(net.add("Transpose", y, perm=[0, 3, 1, 2]), 4, 4))
    assert ops(net) == ["conv", "conv"]


def test_dead_branch_is_removed() -> None:
    net = Net()
    y = net.conv("x", 3, 4)
    net.add("Exp", y)
    assert ops(net, y) == ["conv"]


def graph_of(net: Net, *outputs: str) -> Graph:
    return import_onnx(net.bytes(*outputs), name="net")


def test_an_addition_and_its_relu_join_the_conv_as_a_residual() -> None:
    net = Net()
    stem = net.add("Relu", net.conv("x", 3, 4))
    net.add("Relu", net.add("Add", stem, net.batch_norm(net.conv(stem, 4, 4, bias=False), 4)))
    _, conv = graph_of(net).nodes
    assert conv.shape is not None
    assert (conv.op, conv.shape.residual, conv.inputs[1], conv.attrs.lo) == ("conv", 1, conv.inputs[0], 0.0)
    assert len(conv.sources) == 4


def test_of_two_convs_that_are_added_the_later_one_takes_the_other_as_residual() -> None:
    for swapped in (False, True):
        net = Net()
        first, second = net.conv("x", 3, 4), net.conv("x", 3, 4, 1)
        net.add("Add", *((second, first) if swapped else (first, second)))
        one, other = graph_of(net).nodes
        assert one.shape is not None
        assert other.shape is not None
        assert (one.shape.residual, other.shape.residual, other.shape.kh) == (0, 1, 1)
        assert other.inputs == ("x", one.output)


def test_a_conv_waits_for_a_residual_that_is_computed_later() -> None:
    net = Net()
    y = net.conv("x", 3, 3)
    net.add("Add", y, net.add("Exp", net.add("Neg", "x")))
    assert [node.op for node in graph_of(net).nodes] == ["neg", "exp", "conv"]


@pytest.mark.parametrize("why", ["clamped", "read twice", "an output", "added to itself"])
def test_an_addition_stays_where_the_conv_is_not_its_alone(why: str) -> None:
    net = Net()
    y, outputs = net.conv("x", 3, 3), []
    if why == "clamped":
        y = net.add("Relu", y)
    sum_ = net.add("Add", y, y if why == "added to itself" else net.add("Exp", "x"))
    if why == "read twice":
        sum_ = net.add("Mul", sum_, y)
    if why == "an output":
        outputs = [y, sum_]
    assert all(node.shape is None or node.shape.residual == 0 for node in graph_of(net, *outputs).nodes)


def test_a_scale_behind_a_residual_is_not_folded_into_the_conv_alone() -> None:
    net = Net()
    stem = net.conv("x", 3, 3)
    net.batch_norm(net.add("Add", net.conv(stem, 3, 3), net.add("Exp", stem)), 3)
    graph = graph_of(net)
    assert [node.op for node in graph.nodes] == ["conv", "exp", "conv", "scale"]
