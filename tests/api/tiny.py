"""A network of four layers as ONNX bytes, small enough to be measured, traced and exported in a test."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tiny_network(seed=1, batch=1, op="Relu", size=8, channels=8):
    """conv 3x3 -> relu -> conv 1x1 -> global average pool, 3 x size x size in, 4 out; `seed` changes the bytes."""
    random = np.random.default_rng(seed)

    def weights(name, *dims):
        return numpy_helper.from_array(random.standard_normal(dims).astype(np.float32) / 4, name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="first", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node(op, ["c1"], ["r1"], name="act"),
            helper.make_node("Conv", ["r1", "w2"], ["c2"], name="second", kernel_shape=[1, 1]),
            helper.make_node("GlobalAveragePool", ["c2"], ["y"], name="pool"),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4, 1, 1])],
        [weights("w1", channels, 3, 3, 3), weights("b1", channels), weights("w2", 4, channels, 1, 1)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
