"""What is refused, by code and by name; nothing is imported halfway and nothing crashes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from app.errors import UserError
from app.graph.onnx_import import import_onnx
from app.graph.onnx_model import ImportLimits
from tests import nets
from tests.nets import Net


def refusal(data: bytes, **options: object) -> UserError:
    with pytest.raises(UserError) as caught:
        import_onnx(data, name="net", **options)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a model", b"PK\x03\x04" + bytes(100), nets.chain()[:-100]])
def test_damaged_file_is_invalid(data: bytes) -> None:
    assert refusal(data).code == "model-invalid"


def test_cycle_is_invalid() -> None:
    net = Net()
    net.add("Add", "x", "y1")
    net.add("Relu", "y0")
    model = net.model("y1")
    assert refusal(model.SerializeToString()).code == "model-invalid"


def test_model_without_outputs_is_invalid() -> None:
    model = onnx.load_model_from_string(nets.chain())
    del model.graph.output[:]
    assert refusal(model.SerializeToString()).code == "model-invalid"


def test_weights_of_the_wrong_size_are_invalid() -> None:
    model = onnx.load_model_from_string(nets.chain())
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    assert refusal(model.SerializeToString()).code == "model-invalid"


def test_external_data_is_refused_by_tensor() -> None:
    model = onnx.load_model_from_string(nets.chain())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    error = refusal(model.SerializeToString())
    assert (error.code, [item.pointer for item in error.items]) == ("external-data", [tensor.name])


def test_symbolic_dimensions_are_asked_for_by_name() -> None:
    net = Net(("N", 3, "height", 8))
    net.conv("x", 3, 4)
    error = refusal(net.bytes())
    assert error.code == "dynamic-shape"
    assert error.facts["symbols"] == ["N", "height"]
    assert "--dim N=1" in error.hint
    graph = import_onnx(net.bytes(), name="net", dims={"N": 1, "height": 6})
    assert graph.tensors["x"].dims == (1, 3, 6, 8)


def test_unnamed_dimension_is_asked_for_by_place() -> None:
    net = Net(("", 3, 8, 8))
    net.conv("x", 3, 4)
    model = net.model("y0")
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    assert refusal(model.SerializeToString()).facts["symbols"] == ["x:0"]
    assert import_onnx(model.SerializeToString(), name="net", dims={"x:0": 1}).tensors["x"].dims == (1, 3, 8, 8)


def test_dimension_the_model_does_not_have_is_refused() -> None:
    error = refusal(nets.chain(), dims={"M": 1})
    assert (error.code, error.facts["unknown"]) == ("dynamic-shape", ["M"])


def test_all_unsupported_nodes_are_listed_at_once() -> None:
    net = Net()
    first = net.add("ConvTranspose", "x", net.weights(3, 4, 3, 3))
    fine = net.add("Relu", first)
    second = net.add("Gelu", fine, domain="com.example")
    third = net.add("Erf", fine)
    pooled = net.add("MaxPool", fine, kernel_shape=[2, 2], outputs=2)
    error = refusal(net.bytes(second, third, pooled, f"{pooled}_1"))
    assert error.code == "unsupported-operator"
    assert [item.pointer for item in error.items] == [f"node_{name}" for name in (first, second, third, pooled)]
    assert "ConvTranspose" in error.items[0].detail
    assert "com.example" in error.items[1].detail
    assert "indices" in error.items[3].detail


def test_operator_newer_than_the_opset_is_listed() -> None:
    net = Net(opset=13)
    net.add("HardSwish", "x")
    assert "opset 13" in refusal(net.bytes()).items[0].detail


def test_batch_above_one_is_refused_by_the_convolution() -> None:
    net = Net((2, 3, 8, 8))
    net.conv("x", 3, 4)
    error = refusal(net.bytes())
    assert (error.code, "batch is 2" in error.items[0].detail) == ("unsupported-operator", True)


def test_weights_computed_by_the_network_are_refused() -> None:
    net = Net()
    net.add("Conv", "x", net.add("Exp", net.add("Reshape", "x", net.ints(3, 8, 8, 1))))
    assert refusal(net.bytes()).code in ("unsupported-operator", "model-invalid")


def test_output_that_is_a_constant_is_refused() -> None:
    net = Net()
    y = net.add("Exp", net.weights(3))
    assert refusal(net.bytes(net.add("Relu", "x"), y)).items[0].pointer == y


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_weights_are_named(value: float) -> None:
    net = Net()
    bad = np.ones((4, 3, 3, 3))
    bad[1, 2, 0, 1] = value
    net.add("Conv", "x", net.constant(bad, "bad"))
    error = refusal(net.bytes())
    assert (error.code, error.items[0].pointer) == ("non-finite-weights", "bad")


def test_negative_variance_is_non_finite() -> None:
    net = Net()
    net.add("BatchNormalization", "x", *(net.constant([1, 1, -1.0]) for _ in range(4)))
    assert refusal(net.bytes()).code == "non-finite-weights"


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64])
def test_inputs_other_than_float32_are_refused(elem_type: int) -> None:
    net = Net()
    net.add_input("z", (1, 3), elem_type)
    net.add("Relu", "x")
    error = refusal(net.bytes())
    assert (error.code, error.items[0].pointer) == ("unsupported-type", "z")


def test_old_opset_is_refused() -> None:
    model = onnx.load_model_from_string(nets.chain())
    model.opset_import[0].version = 6
    assert refusal(model.SerializeToString()).code == "unsupported-opset"


def test_limits_hold() -> None:
    model = nets.chain()
    for limits in (
        ImportLimits(max_file_bytes=100),
        ImportLimits(max_nodes=3),
        ImportLimits(max_rank=3),
        ImportLimits(max_tensor_elems=100),
        ImportLimits(max_constant_elems=100),
    ):
        assert refusal(model, limits=limits).code == "model-too-large"


@pytest.mark.parametrize("op_type", ["ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize"])
def test_small_file_asking_for_a_huge_tensor_is_refused_unmade(op_type: str) -> None:
    net = Net()
    big = net.ints(1, 3, 8, 1_000_000_000)
    if op_type == "ConstantOfShape":
        y = net.add("ConstantOfShape", big)
    elif op_type == "Expand":
        y = net.add("Expand", net.constant([1.0]), big)
    elif op_type == "Tile":
        y = net.add("Tile", net.add("Relu", "x"), big)
    elif op_type == "Range":
        y = net.add("Cast", net.add("Range", *(net.constant(v, dtype=np.int64) for v in (0, 10**12, 1))), to=1)
    elif op_type == "Pad":
        y = net.add("Pad", "x", net.ints(0, 0, 0, 0, 0, 0, 0, 10**12))
    else:
        y = net.add("Resize", "x", "", "", net.ints(1, 3, 8, 8 * 10**8))
    assert refusal(net.model(net.add("Add", "x", y)).SerializeToString()).code == "model-too-large"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_is_refused_or_imported_never_a_crash(data: st.DataObject) -> None:
    model = bytearray(nets.ALL[data.draw(st.sampled_from(sorted(nets.ALL)))]())
    for _ in range(data.draw(st.integers(1, 6))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    try:
        import_onnx(bytes(model), name="net", limits=ImportLimits(max_tensor_elems=1 << 20))
    except UserError as error:
        assert error.code  # noqa: PT017
