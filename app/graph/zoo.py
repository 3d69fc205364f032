"""Example networks of the literature: exact topologies, seeded weights.

The onnx package ships them with their weights left out (every weight a ConstantOfShape). Latency and memory depend on
the topology alone, so weights are drawn here: no download, no third-party file in this repository. They are not
trained: classes mean nothing, but activations keep their size through all layers and logits spread about 1.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper


@dataclass(frozen=True)
class Example:
    """A network of the library.

    `logit_gain` scales the last layer with weights: one over the spread of the logits measured without it, for
    standard normal input. It is a stored number so that the bytes do not depend on a run.
    """

    name: str
    title: str
    paper: str
    file: str  # in the light models of the onnx package
    logit_gain: float


_ALL = (
    Example(
        "alexnet",
        "AlexNet",
        "Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, 2012",
        "light_bvlc_alexnet.onnx",
        0.18,
    ),
    Example(
        "googlenet",
        "GoogLeNet (Inception v1)",
        "Szegedy et al.: Going Deeper with Convolutions, 2015",
        "light_inception_v1.onnx",
        0.12,
    ),
    Example(
        "vgg19",
        "VGG-19",
        "Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015",
        "light_vgg19.onnx",
        0.16,
    ),
    Example(
        "resnet50",
        "ResNet-50",
        "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2016",
        "light_resnet50.onnx",
        0.048,
    ),
    Example(
        "squeezenet",
        "SqueezeNet 1.1",
        "Iandola et al.: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size, 2016",
        "light_squeezenet.onnx",
        0.33,
    ),
    Example(
        "densenet121",
        "DenseNet-121",
        "Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, 2017",
        "light_densenet121.onnx",
        2.15,
    ),
)

EXAMPLES: dict[str, Example] = {example.name: example for example in _ALL}
"""The example library by name."""

_BIAS_SPREAD = 0.05
_RESIDUAL_GAIN = 0.5
"""Scale of a BatchNormalization that feeds a residual sum: halving it keeps 16 sums from growing 256-fold."""


def materialise(name: str) -> bytes:
    """The example as an ONNX file with weights; the same bytes at every call.

    KeyError when there is no such example.
    """
    example = EXAMPLES[name]
    proto = onnx.load_model(_light_folder() / example.file, load_external_data=False)
    graph = proto.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    readers = {input_name: node for node in graph.node for input_name in node.input}
    empty = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    last = [node for node in graph.node if node.op_type in ("Conv", "Gemm")][-1]
    for node in empty:
        dims = tuple(int(n) for n in shapes[node.input[0]])
        read_as = node.output[0]
        if readers[read_as].op_type == "Reshape":  # GoogLeNet's classifier reshapes its weights to rows
            dims = tuple(int(n) for n in shapes[readers[read_as].input[1]])
            read_as = readers[read_as].output[0]
        weights = _draw(example.name, read_as, dims, readers)
        if read_as in last.input:
            weights *= np.float32(example.logit_gain)
        graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
        graph.node.remove(node)
    # Since version 4 initialisers need not be graph inputs as well.
    proto.ir_version = 8
    read = {input_name for node in graph.node for input_name in node.input}
    for unread in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(unread)
    for value in [value for value in graph.input if value.name in shapes]:
        graph.input.remove(value)
    graph.name = example.name
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _light_folder() -> Path:
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def _draw(example: str, tensor: str, dims: tuple[int, ...], readers: dict[str, Any]) -> npt.NDArray[np.float32]:
    """The values of a weight, by what the node that reads it does with it."""
    seed = int.from_bytes(hashlib.sha256(f"{example}/{tensor}".encode()).digest()[:8], "little")
    random = np.random.default_rng(seed)
    reader = readers[tensor]
    role = list(reader.input).index(tensor)
    if reader.op_type == "BatchNormalization":
        return _draw_normalisation(random, role, dims, readers.get(reader.output[0]))
    if reader.op_type == "Unsqueeze":  # DenseNet's scales and offsets of single channels are operators of their own
        reader = readers[reader.output[0]]
        if reader.op_type == "Mul":
            return random.uniform(0.8, 1.2, dims).astype(np.float32)
        return random.standard_normal(dims, np.float32) * np.float32(_BIAS_SPREAD)
    values = random.standard_normal(dims, np.float32)
    if role == 1:
        # He et al. 2015: variance 2 / fan-in keeps the size of activations through ReLUs.
        fan_in = math.prod(dims[1:]) if reader.op_type == "Conv" or _transposed(reader) else dims[0]
        return values * np.float32(math.sqrt(2.0 / fan_in))
    return values * np.float32(_BIAS_SPREAD)


def _transposed(gemm: Any) -> bool:
    return any(attribute.name == "transB" and attribute.i for attribute in gemm.attribute)


def _draw_normalisation(
    random: np.random.Generator, role: int, dims: tuple[int, ...], reader: Any
) -> npt.NDArray[np.float32]:
    """BatchNormalization's scale, offset, mean and variance (inputs 1 to 4)."""
    if role in (1, 4):
        around_one = random.uniform(0.8, 1.2, dims).astype(np.float32)
        halved = role == 1 and reader is not None and reader.op_type == "Sum"
        return around_one * np.float32(_RESIDUAL_GAIN if halved else 1.0)
    return random.standard_normal(dims, np.float32) * np.float32(_BIAS_SPREAD)


@functools.cache
def weights_bytes(name: str) -> int:
    """Bytes of the example's float32 weights, from its topology alone: nothing is drawn. KeyError for no example."""
    proto = onnx.load_model(_light_folder() / EXAMPLES[name].file, load_external_data=False)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    empty = [node for node in proto.graph.node if node.op_type == "ConstantOfShape"]
    return 4 * sum(math.prod(int(n) for n in shapes[node.input[0]]) for node in empty)
