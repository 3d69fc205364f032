"""Builders of tiny ONNX models with seeded weights, as bytes.

`Net` writes a model operator by operator; the functions below are the shapes of network tests keep asking for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """A model under construction. `add` returns the name of the new node's (first) output."""

    def __init__(self, dims: Sequence[int | str] = (1, 3, 8, 8), *, opset: int = 13, seed: int = 0):
        self.opset = opset
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)]

    def add_input(self, name: str, dims: Sequence[int | str], elem_type: int = TensorProto.FLOAT) -> str:
        """A further graph input."""
        self.inputs.append(helper.make_tensor_value_info(name, elem_type, dims))
        return name

    def constant(self, values: Any, name: str = "", dtype: Any = np.float32) -> str:
        """An initialiser."""
        name = name or f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        """An int64 initialiser."""
        return self.constant(values, dtype=np.int64)

    def weights(self, *dims: int, spread: float = 0.5) -> str:
        """A random initialiser."""
        return self.constant(self.random.normal(0, spread, dims))

    def add(self, op_type: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        """Append a node; further outputs are `<first>_1`, `<first>_2`, ..."""
        first = f"y{len(self.nodes)}"
        names = [first, *(f"{first}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=f"node_{first}", domain=domain, **attributes))
        return first

    def conv(self, x: str, c: int, m: int, k: int = 3, *, group: int = 1, bias: bool = True, **attributes: Any) -> str:
        """A k x k Conv of m filters, padded to keep the size unless attributes say otherwise."""
        operands = [x, self.weights(m, c // group, k, k), *([self.weights(m)] if bias else [])]
        if "pads" not in attributes and "auto_pad" not in attributes:
            attributes["pads"] = [k // 2] * 4
        return self.add("Conv", *operands, group=group, **attributes)

    def batch_norm(self, x: str, c: int) -> str:
        """BatchNormalization with a variance around 1."""
        operands = [self.constant(self.random.uniform(0.5, 1.5, c)), self.weights(c), self.weights(c)]
        return self.add("BatchNormalization", x, *operands, self.constant(self.random.uniform(0.5, 1.5, c)))

    def model(self, *outputs: str, ir_version: int = 8, weights_as_inputs: bool = False) -> Any:
        """The ModelProto; `weights_as_inputs` lists initialisers among the inputs as IR 3 demands."""
        inputs = list(self.inputs)
        if weights_as_inputs:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in self.initializers]
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", inputs, values, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(d, 1) for d in sorted({node.domain for node in self.nodes if node.domain})]
        model = helper.make_model(graph, ir_version=ir_version, opset_imports=opsets)
        inferred = onnx.shape_inference.infer_shapes(model)
        del model.graph.output[:]
        model.graph.output.extend(inferred.graph.output)
        return model

    def bytes(self, *outputs: str, **options: Any) -> bytes:
        """The file, outputs by name (default: the newest node's)."""
        data: bytes = self.model(*(outputs or (self.nodes[-1].output[0],)), **options).SerializeToString()
        return data


def chain(c: int = 3, size: int = 8, depth: int = 3, m: int = 8) -> bytes:
    """Conv + Relu, `depth` times, then GlobalAveragePool, Flatten, Gemm, Softmax over 5 classes."""
    net = Net((1, c, size, size))
    y = "x"
    for i in range(depth):
        y = net.add("Relu", net.conv(y, c if i == 0 else m, m))
    y = net.add("Flatten", net.add("GlobalAveragePool", y))
    net.add("Softmax", net.add("Gemm", y, net.weights(5, m), net.weights(5), transB=1))
    return net.bytes()


def residual(c: int = 3, size: int = 8, m: int = 8) -> bytes:
    """A stem, one residual block with BatchNormalization, a stride-2 block with a projection, a classifier."""
    net = Net((1, c, size, size))
    stem = net.add("Relu", net.batch_norm(net.conv("x", c, m, bias=False), m))
    inner = net.add("Relu", net.batch_norm(net.conv(stem, m, m, bias=False), m))
    block = net.add("Relu", net.add("Add", net.batch_norm(net.conv(inner, m, m, bias=False), m), stem))
    down = net.conv(block, m, 2 * m, strides=[2, 2])
    short = net.conv(block, m, 2 * m, 1, strides=[2, 2])
    y = net.add("GlobalAveragePool", net.add("Relu", net.add("Add", down, short)))
    net.add("Gemm", net.add("Flatten", y), net.weights(5, 2 * m), net.weights(5), transB=1)
    return net.bytes()


def branch_concat(c: int = 3, size: int = 8) -> bytes:
    """An inception module: 1x1, 3x3, 5x5 and pooled branches joined, then LRN and a pooled 1x1 classifier."""
    net = Net((1, c, size, size))
    stem = net.add("Relu", net.conv("x", c, 8))
    pooled = net.add("MaxPool", stem, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    branches = [
        net.add("Relu", net.conv(stem, 8, 4, 1)),
        net.add("Relu", net.conv(net.add("Relu", net.conv(stem, 8, 4, 1)), 4, 6, 3)),
        net.add("Relu", net.conv(net.add("Relu", net.conv(stem, 8, 2, 1)), 2, 4, 5)),
        net.add("Relu", net.conv(pooled, 8, 2, 1)),
    ]
    y = net.add("LRN", net.add("Concat", *branches, axis=1), size=5)
    net.add("GlobalAveragePool", net.conv(y, 16, 5, 1))
    return net.bytes()


def depthwise(c: int = 3, size: int = 8) -> bytes:
    """A stem, a depthwise-separable block with ReLU6, an inverted residual."""
    net = Net((1, c, size, size))
    zero, six = net.constant(0.0), net.constant(6.0)

    def relu6(x: str) -> str:
        return net.add("Clip", x, zero, six)

    y = relu6(net.conv("x", c, 8, strides=[2, 2]))
    y = net.conv(relu6(net.conv(y, 8, 8, group=8)), 8, 8, 1)
    wide = relu6(net.conv(y, 8, 16, 1))
    net.add("Add", net.conv(relu6(net.conv(wide, 16, 16, group=16)), 16, 8, 1), y)
    return net.bytes()


def dense_blocks(c: int = 3, size: int = 8, m: int = 16, growth: int = 16, depth: int = 3) -> bytes:
    """DenseNet in small: two blocks of BatchNormalization, Relu, 1x1, 3x3, concat with all before; a transition."""
    net = Net((1, c, size, size))
    y = net.add("MaxPool", net.add("Relu", net.conv("x", c, m)), kernel_shape=[3, 3], pads=[1] * 4)
    for block in range(2):
        if block:
            y = net.conv(net.add("Relu", net.batch_norm(y, m)), m, m // 2, 1, bias=False)
            y, m = net.add("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2]), m // 2
        for _ in range(depth):
            inner = net.conv(net.add("Relu", net.batch_norm(y, m)), m, 24, 1, bias=False)
            inner = net.conv(net.add("Relu", net.batch_norm(inner, 24)), 24, growth, bias=False)
            y, m = net.add("Concat", y, inner, axis=1), m + growth
    y = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.batch_norm(y, m))))
    net.add("Gemm", y, net.weights(5, m), net.weights(5), transB=1)
    return net.bytes()


def shuffle(c: int = 12, size: int = 8, units: int = 2) -> bytes:
    """Two basic units of ShuffleNetV2 and a classifier."""
    net = Net((1, 3, size, size))
    y = net.add("Relu", net.conv("x", 3, c))
    for _ in range(units):
        y = _shuffle_unit(net, y, c, size)
    y = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv(y, c, 2 * c, 1))))
    net.add("Gemm", y, net.weights(5, 2 * c), net.weights(5), transB=1)
    return net.bytes()


def shufflenet_v2(size: int = 224, widths: tuple[int, ...] = (24, 116, 232, 464, 1024)) -> bytes:
    """ShuffleNetV2 1.0 (Ma et al. 2018, table 5) with random weights."""
    net = Net((1, 3, size, size))
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
    y = net.add("MaxPool", net.add("Relu", net.conv("x", 3, widths[0], strides=[2, 2])), **pool)
    size, c = size // 4, widths[0]
    for m, units in zip(widths[1:], (4, 8, 4), strict=False):
        half = m // 2
        left = net.add("Relu", net.conv(net.conv(y, c, c, group=c, strides=[2, 2]), c, half, 1))
        inner = net.conv(net.add("Relu", net.conv(y, c, half, 1)), half, half, group=half, strides=[2, 2])
        right = net.add("Relu", net.conv(inner, half, half, 1))
        size, c = size // 2, m
        y = _shuffled(net, net.add("Concat", left, right, axis=1), c, size)
        for _ in range(units - 1):
            y = _shuffle_unit(net, y, c, size)
    y = net.add("GlobalAveragePool", net.add("Relu", net.conv(y, c, widths[-1], 1)))
    net.add("Gemm", net.add("Flatten", y), net.weights(10, widths[-1]), net.weights(10), transB=1)
    return net.bytes()


def _shuffle_unit(net: Net, x: str, c: int, size: int) -> str:
    """Half of the channels pass by, half go through 1x1, depthwise, 1x1; joined and shuffled."""
    half = c // 2
    passing = net.add("Split", x, net.ints(half, half), outputs=2, axis=1)
    inner = net.add("Relu", net.conv(f"{passing}_1", half, half, 1))
    inner = net.add("Relu", net.conv(net.conv(inner, half, half, group=half), half, half, 1))
    return _shuffled(net, net.add("Concat", passing, inner, axis=1), c, size)


def _shuffled(net: Net, x: str, c: int, size: int) -> str:
    """Channels of both halves by turns."""
    y = net.add("Transpose", net.add("Reshape", x, net.ints(1, 2, c // 2, size, size)), perm=[0, 2, 1, 3, 4])
    return net.add("Reshape", y, net.ints(1, c, size, size))


def nhwc(size: int = 8) -> bytes:
    """Channels last outside: Transpose, two convs, Transpose back, row-wise flatten, dense."""
    net = Net((1, size, size, 3))
    y = net.add("Transpose", "x", perm=[0, 3, 1, 2])
    y = net.add("Relu", net.conv(net.add("Relu", net.conv(y, 3, 4)), 4, 4, strides=[2, 2]))
    y = net.add("Flatten", net.add("Transpose", y, perm=[0, 2, 3, 1]))
    net.add("MatMul", y, net.weights(4 * (-(-size // 2)) ** 2, 5))
    return net.bytes()


def drawn(seed: int, most_nodes: int = 9) -> bytes:
    """A small network drawn at random: residuals, concats, slices, strides, groups, pools, several outputs."""
    random = np.random.default_rng(seed)
    size = int(random.integers(5, 15))
    dims = {"x": (int(random.choice([1, 3, 8])), size, size + int(random.integers(0, 3)))}
    net = Net((1, *dims["x"]), seed=seed)
    read: set[str] = set()

    def keep(y: str, c: int, h: int, w: int, *inputs: str) -> str:
        dims[y] = (c, h, w)
        read.update(inputs)
        return y

    def conv(x: str, m: int, k: int, stride: int = 1, group: int = 1) -> str:
        c, h, w = dims[x]
        y = net.conv(x, c, m, k, group=group, bias=bool(random.integers(2)), strides=[stride, stride])
        if random.integers(2):
            read.add(y)
            y = net.add("Relu", y)
        return keep(y, m, (h - 1) // stride + 1, (w - 1) // stride + 1, x)

    conv("x", int(random.choice([4, 8, 16])), 3)
    for _ in range(int(random.integers(2, most_nodes))):
        x = str(random.choice([name for name in dims if name != "x"][-3:]))
        c, h, w = dims[x]
        same = [name for name in dims if dims[name] == dims[x] and name != x]
        beside = [name for name in dims if dims[name][1:] == (h, w) and name not in (x, "x")]
        kind = random.choice(
            ["conv", "conv", "wide", "depthwise", "strided", "pool", "add", "block", "concat", "slice", "rows", "unary"]
        )
        if kind == "conv":
            conv(x, int(random.choice([3, 8, 12, 16])), int(random.choice([1, 3, 3, 5])))
        elif kind == "wide":
            conv(x, 24, 1)
        elif kind == "depthwise":
            conv(x, c, 3, int(random.integers(1, 3)), group=c)
        elif kind == "strided" and h > 2:
            conv(x, int(random.choice([8, 16])), int(random.choice([1, 3])), 2)
        elif kind == "pool" and h > 3:
            op, k = str(random.choice(["MaxPool", "AveragePool"])), int(random.integers(2, 4))
            y = net.add(op, x, kernel_shape=[k, k], strides=[2, 2], pads=[k // 2 if k == 3 else 0] * 4)
            pad = 2 * (k // 2) if k == 3 else 0
            keep(y, c, (h + pad - k) // 2 + 1, (w + pad - k) // 2 + 1, x)
        elif kind == "add" and same:
            other = str(random.choice(same))
            keep(net.add("Add", x, other), c, h, w, x, other)
        elif kind == "block":
            inner = conv(conv(x, c, 3), c, int(random.choice([1, 3])))
            y = keep(net.add("Add", inner, x), c, h, w, inner, x)
            if random.integers(2):
                keep(net.add("Relu", y), c, h, w, y)
        elif kind == "concat" and beside:
            parts = [x, str(random.choice(beside))]
            if random.integers(2):
                parts.append(conv(x, 4, 3))
            parts = list(dict.fromkeys(parts))
            if len(parts) > 1:
                keep(net.add("Concat", *parts, axis=1), sum(dims[part][0] for part in parts), h, w, *parts)
        elif kind == "slice" and c > 1:
            first = int(random.integers(0, c - 1))
            last = int(random.integers(first + 1, c + 1))
            y = net.add("Slice", x, net.ints(first), net.ints(last), net.ints(1))
            keep(y, last - first, h, w, x)
        elif kind == "rows" and h > 4:
            y = net.add("Slice", x, net.ints(1), net.ints(h - 1), net.ints(2))
            keep(y, c, h - 2, w, x)
        elif kind == "unary":
            keep(net.add(str(random.choice(["Sigmoid", "Relu", "LeakyRelu"])), x), c, h, w, x)
    loose = [name for name in dims if name not in read and name != "x"]
    inner = [name for name in dims if name in read and name != "x"]
    if random.integers(4) == 0 and inner:
        loose.append(str(random.choice(inner)))  # read inside and by the caller
    if random.integers(3) == 0:
        x = loose.pop()
        y = net.add("Flatten", net.add("GlobalAveragePool", x))
        loose.append(net.add("Gemm", y, net.weights(5, dims[x][0]), net.weights(5), transB=1))
    return net.bytes(*loose)


ALL = {
    "chain": chain,
    "residual": residual,
    "branch_concat": branch_concat,
    "depthwise": depthwise,
    "dense_blocks": dense_blocks,
    "nhwc": nhwc,
}
"""The networks above by name."""


def random_inputs(model: bytes, seed: int = 0) -> dict[str, np.ndarray]:
    """Standard normal float32 values for every input with fixed dims that is not an initialiser."""
    proto = onnx.load_model_from_string(model)
    weights = {tensor.name for tensor in proto.graph.initializer}
    random = np.random.default_rng(seed)
    return {
        value.name: random.standard_normal([d.dim_value for d in value.type.tensor_type.shape.dim], np.float32)
        for value in proto.graph.input
        if value.name not in weights
    }
