"""Writes tiny.onnx: a network of every common building block, small enough to read in the page and run in milliseconds.

Two residual blocks (one with stride 2), an inception-like concat, a depthwise block, a classifier over 10 classes;
seeded weights, so running this again gives the same file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

RANDOM = np.random.default_rng(20)
nodes: list[Any] = []
weights: list[Any] = []


def constant(name: str, values: Any) -> str:
    """An initialiser."""
    weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
    return name


def conv(name: str, x: str, c: int, m: int, k: int, *, stride: int = 1, group: int = 1, relu: bool = True) -> str:
    """Conv with He-normal weights (He et al. 2015), "same" padding, and a Relu behind it."""
    spread = np.sqrt(2 / (c // group * k * k))
    w = constant(f"{name}.weight", RANDOM.normal(0, spread, (m, c // group, k, k)))
    b = constant(f"{name}.bias", RANDOM.normal(0, 0.05, m))
    fields = {"kernel_shape": [k, k], "pads": [k // 2] * 4, "strides": [stride] * 2, "group": group}
    nodes.append(helper.make_node("Conv", [x, w, b], [name], name=name, **fields))
    return op("Relu", f"{name}.relu", name) if relu else name


def op(op_type: str, name: str, *inputs: str, **attributes: Any) -> str:
    """Any other node."""
    nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
    return name


def main() -> None:
    """Build and write the model."""
    stem = conv("stem", "image", 3, 16, 3)
    first = conv("block1.b", conv("block1.a", stem, 16, 16, 3), 16, 16, 3, relu=False)
    y = op("Relu", "block1", op("Add", "block1.sum", first, stem))
    second = conv("block2.b", conv("block2.a", y, 16, 24, 3, stride=2), 24, 24, 3, relu=False)
    short = conv("block2.short", y, 16, 24, 1, stride=2, relu=False)
    y = op("Relu", "block2", op("Add", "block2.sum", second, short))
    branches = [conv("mix.1x1", y, 24, 8, 1), conv("mix.5x5", conv("mix.reduce", y, 24, 4, 1), 4, 8, 5)]
    y = op("Concat", "mix", *branches, axis=1)
    y = op("MaxPool", "pool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = conv("separable.point", conv("separable.depth", y, 16, 16, 3, group=16), 16, 32, 1)
    y = op("Flatten", "flat", op("GlobalAveragePool", "mean", y))
    w = constant("classifier.weight", RANDOM.normal(0, np.sqrt(1 / 32), (10, 32)))
    y = op("Gemm", "classifier", y, w, constant("classifier.bias", np.zeros(10)), transB=1)
    op("Softmax", "probabilities", y, axis=1)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    Path(__file__).with_name("tiny.onnx").write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
