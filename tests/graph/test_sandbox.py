"""Import in a child process: the same graph, the same refusals, and limits that bite."""

from __future__ import annotations

import numpy as np
import pytest

from app.errors import UserError
from app.graph.onnx_import import import_onnx
from app.graph.onnx_model import ImportLimits
from app.graph.sandbox import SandboxLimits, import_onnx_limited
from tests import nets
from tests.nets import Net


def test_child_returns_the_same_graph() -> None:
    model = nets.branch_concat()
    here, there = import_onnx(model, name="net"), import_onnx_limited(model, name="net")
    assert there.nodes == here.nodes
    assert there.tensors == here.tensors
    assert all(np.array_equal(there.constants[name], value) for name, value in here.constants.items())


def test_child_returns_the_same_refusal() -> None:
    net = Net(("N", 3, 8, 8))
    net.conv("x", 3, 4)
    with pytest.raises(UserError) as here:
        import_onnx(net.bytes(), name="net")
    with pytest.raises(UserError) as there:
        import_onnx_limited(net.bytes(), name="net")
    assert vars(there.value) == vars(here.value)


def test_wall_limit_ends_the_child() -> None:
    with pytest.raises(UserError) as caught:
        import_onnx_limited(nets.chain(), name="net", limits=SandboxLimits(wall_s=0.01))
    assert caught.value.code == "import-timeout"


def test_memory_limit_ends_the_import() -> None:
    net = Net()
    net.add("Add", "x", net.add("ReduceMax", net.add("ConstantOfShape", net.ints(1 << 15, 1 << 15)), keepdims=0))
    limits = SandboxLimits(base_bytes=2 << 30, model=ImportLimits(max_tensor_elems=1 << 40, max_constant_elems=1 << 40))
    with pytest.raises(UserError) as caught:
        import_onnx_limited(net.bytes(), name="net", limits=limits)
    assert caught.value.code == "model-too-large"
