"""Networks for the benchmark that neither the example library nor a folder of trained models has.

    python bench/networks.py FOLDER [NAME ...]

VGG-16 and ResNet-18 at ImageNet size, and `null`, one ReLU of 128 numbers, whose time is what a call costs. Topologies
from the papers; weights are drawn, seeded by the tensor's name, so a file has the same bytes wherever it is made.
They are not trained: classes mean nothing, but activations keep their size and logits spread about 1.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 1000
IMAGE = (1, 3, 224, 224)
OFFSET_SPREAD = 0.05
RESIDUAL_GAIN = 0.5  # of the last normalisation before a sum, so that sums do not grow from block to block


class Drawn:
    """An ONNX graph in the making; every method adds a node and returns its output's name."""

    def __init__(self, name: str, dims: tuple[int, ...]):
        self.name = name
        self.dims = dims
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        output = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, role: str, values: np.ndarray) -> str:
        name = f"{role}{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def random(self) -> np.random.Generator:
        """A generator of its own for the next constant."""
        seed = hashlib.sha256(f"{self.name}/{len(self.weights)}".encode()).digest()[:8]
        return np.random.default_rng(int.from_bytes(seed, "little"))

    def he_normal(self, *dims: int, gain: float = 1.0) -> str:
        """He et al. 2015: variance 2 / fan-in keeps the size of activations through ReLUs."""
        values = self.random().standard_normal(dims, np.float32)
        values *= np.float32(gain * math.sqrt(2.0 / math.prod(dims[1:])))
        return self.constant("w", values)

    def offsets(self, count: int) -> str:
        return self.constant("b", OFFSET_SPREAD * self.random().standard_normal(count, np.float32))

    def conv(self, x: str, c: int, m: int, k: int, *, stride: int = 1, bias: bool = True) -> str:
        inputs = [x, self.he_normal(m, c, k, k), *([self.offsets(m)] if bias else [])]
        return self.add("Conv", *inputs, kernel_shape=[k, k], strides=[stride, stride], pads=[k // 2] * 4)

    def normalise(self, x: str, c: int, gain: float = 1.0) -> str:
        scale = self.constant("s", gain * self.random().uniform(0.8, 1.2, c))
        offset, mean = self.offsets(c), self.offsets(c)
        variance = self.constant("v", self.random().uniform(0.8, 1.2, c))
        return self.add("BatchNormalization", x, scale, offset, mean, variance, epsilon=1e-5)

    def dense(self, x: str, c: int, m: int, gain: float = 1.0) -> str:
        return self.add("Gemm", x, self.he_normal(m, c, gain=gain), self.offsets(m), transB=1)

    def bytes(self, output: str, dims: tuple[int, ...]) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, self.dims)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, dims)],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        data: bytes = model.SerializeToString(deterministic=True)
        return data


def vgg16() -> bytes:
    """Configuration D of Simonyan and Zisserman: Very Deep Convolutional Networks, 2015."""
    net = Drawn("vgg16", IMAGE)
    x, c = "image", 3
    for m, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            x, c = net.add("Relu", net.conv(x, c, m, 3)), m
        x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.add("Flatten", x)
    x = net.add("Relu", net.dense(x, 512 * 7 * 7, 4096))
    x = net.add("Relu", net.dense(x, 4096, 4096))
    # One over the spread of the logits measured without it; a stored number, so that the bytes do not depend on a run.
    return net.bytes(net.add("Softmax", net.dense(x, 4096, CLASSES, gain=0.274)), (1, CLASSES))


def resnet18() -> bytes:
    """He, Zhang, Ren, Sun: Deep Residual Learning, 2016, table 1, with projections where the size changes."""
    net = Drawn("resnet18", IMAGE)
    x = net.add("Relu", net.normalise(net.conv("image", 3, 64, 7, stride=2, bias=False), 64))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    c = 64
    for m, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            y = net.add("Relu", net.normalise(net.conv(x, c, m, 3, stride=stride, bias=False), m))
            y = net.normalise(net.conv(y, m, m, 3, bias=False), m, RESIDUAL_GAIN)
            if stride != 1 or c != m:
                x = net.normalise(net.conv(x, c, m, 1, stride=stride, bias=False), m)
            x, c = net.add("Relu", net.add("Add", y, x)), m
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.bytes(net.add("Softmax", net.dense(x, 512, CLASSES, gain=0.124)), (1, CLASSES))


def null() -> bytes:
    """One ReLU of 128 numbers."""
    net = Drawn("null", (1, 128))
    return net.bytes(net.add("Relu", "image"), (1, 128))


NETWORKS: dict[str, Callable[[], bytes]] = {"vgg16": vgg16, "resnet18": resnet18, "null": null}
"""The networks of this file by name."""


def main(arguments: list[str]) -> None:
    """Write the networks named, or all, into a folder."""
    if not arguments or set(arguments[1:]) - NETWORKS.keys():
        sys.exit(f"usage: python bench/networks.py FOLDER [{' | '.join(NETWORKS)} ...]")
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments[1:] or NETWORKS:
        data = NETWORKS[name]()
        fresh = folder / f".{name}.new"
        fresh.write_bytes(data)
        fresh.replace(folder / f"{name}.onnx")
        print(f"{folder / name}.onnx: {len(data):,} B")


if __name__ == "__main__":
    main(sys.argv[1:])
