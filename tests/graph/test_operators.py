"""Each importer against onnxruntime, before and after the passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.errors import UserError
from app.graph.importers import IMPORTERS
from app.graph.onnx_import import import_onnx, translate
from tests.graph.judge import assert_equals_onnxruntime
from tests.nets import Net

Build = Callable[[Net], str | tuple[str, ...]]
CASES: dict[str, tuple[tuple[int, ...], int, Build]] = {}


def case(name: str, build: Build, *, dims: tuple[int, ...] = (1, 4, 6, 7), opset: int = 13) -> None:
    """One tiny model: `build` adds nodes to a net of input "x" and returns the outputs."""
    assert name not in CASES
    CASES[name] = (dims, opset, build)


def assert_imported(net: Net, outputs: str | tuple[str, ...], tolerance: float = 1e-5) -> None:
    """Translated and optimised graph both equal onnxruntime."""
    model = net.bytes(*([outputs] if isinstance(outputs, str) else outputs))
    assert_equals_onnxruntime(translate(model, name="net"), model, tolerance=tolerance)
    assert_equals_onnxruntime(import_onnx(model, name="net"), model, tolerance=tolerance)


# Convolution and dense layers.
case("conv asymmetric pads", lambda n: n.conv("x", 4, 6, pads=[0, 2, 1, 1], strides=[2, 1]))
case("conv dilation group", lambda n: n.conv("x", 4, 6, group=2, dilations=[2, 1], pads=[2, 1, 2, 1]))
case("conv depthwise multiplier", lambda n: n.conv("x", 4, 8, group=4, bias=False))
for pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    case(f"conv {pad}", lambda n, p=pad: n.conv("x", 4, 3, 4 if p != "VALID" else 3, auto_pad=p, strides=[2, 3]))
    case(f"average pool {pad}", lambda n, p=pad: n.add("AveragePool", "x", kernel_shape=[3, 2], auto_pad=p))
case("conv 1-D", lambda n: n.add("Conv", "x", n.weights(5, 4, 3), pads=[1, 2], strides=[2]), dims=(1, 4, 9))
case("gemm", lambda n: n.add("Gemm", "x", n.weights(6, 5), n.weights(1, 5), alpha=0.5, beta=2.0), dims=(1, 6))
case("gemm without bias", lambda n: n.add("Gemm", "x", n.weights(5, 6), transB=1), dims=(1, 6), opset=11)
case("gemm rows", lambda n: n.add("Gemm", "x", n.weights(6, 5), n.weights(3, 5)), dims=(3, 6))
case("gemm transposed rows", lambda n: n.add("Gemm", "x", n.weights(3, 5), n.weights(5), transA=1), dims=(3, 6))
case("matmul add", lambda n: n.add("Add", n.add("MatMul", "x", n.weights(6, 5)), n.weights(5)), dims=(1, 6))
case("matmul rows", lambda n: n.add("Relu", n.add("Add", n.weights(5), n.add("MatMul", "x", n.weights(7, 5)))))
case("matmul from the left", lambda n: n.add("MatMul", n.weights(5, 6), "x"), dims=(1, 1, 6, 7))
case("batch norm alone", lambda n: n.add("Relu", n.batch_norm("x", 4)))
case("batch norm after conv", lambda n: n.add("Relu", n.batch_norm(n.conv("x", 4, 5), 5)), opset=7)
case("batch norm before conv", lambda n: n.conv(n.batch_norm("x", 4), 4, 6, 3, group=2, pads=[0] * 4))
case("batch norm before padded conv", lambda n: n.conv(n.batch_norm("x", 4), 4, 5))
case("batch norm of a vector", lambda n: n.batch_norm("x", 6), dims=(1, 6))
case("batch norm before gemm", lambda n: n.add("Gemm", n.add("Flatten", n.batch_norm("x", 4)), n.weights(168, 3)))
case("prelu per channel", lambda n: n.add("PRelu", "x", n.weights(4, 1, 1)))
case("prelu one slope", lambda n: n.add("PRelu", "x", n.weights(1)))
case("lrn parameters", lambda n: n.add("LRN", "x", size=5, alpha=0.5, beta=0.6, bias=2.0))
case("lrn odd", lambda n: n.add("LRN", "x", size=3))

# Pooling and reductions.
for ceil in (0, 1):
    for stride in (2, 3):
        fields = {"kernel_shape": [3, 3], "pads": [1, 0, 1, 2], "strides": [stride, stride], "ceil_mode": ceil}
        case(f"max pool {ceil} {stride}", lambda n, f=fields: n.add("MaxPool", "x", **f))
        for include in (0, 1):
            counted = fields | {"count_include_pad": include}
            name = f"average pool {ceil} {stride} {include}"
            case(name, lambda n, f=counted: n.add("AveragePool", "x", **f), dims=(1, 2, 8, 9))
case("max pool dilated", lambda n: n.add("MaxPool", "x", kernel_shape=[2, 3], dilations=[2, 2]))
case("max pool 1-D", lambda n: n.add("MaxPool", "x", kernel_shape=[3], strides=[2]), dims=(1, 4, 9))
case("ceil overhang only on padding", lambda n: n.add("MaxPool", "x", kernel_shape=[1, 1], strides=[3, 3], ceil_mode=1))
case("global pools", lambda n: (n.add("GlobalAveragePool", "x"), n.add("GlobalMaxPool", "x")))
for axes in ([2, 3], [1], [3], [2], [1, 2], [1, 3], [-1, -2], [1, 2, 3]):
    for kept in (0, 1):
        case(f"reduce mean {axes} {kept}", lambda n, a=axes, k=kept: n.add("ReduceMean", "x", axes=a, keepdims=k))
case("reduce mean input", lambda n: n.add("ReduceMean", "x", n.ints(2, 3)), opset=18)
case("reduce max", lambda n: n.add("ReduceMax", "x", axes=[1]))
case("reduce min", lambda n: n.add("ReduceMin", "x", axes=[2]))
case("reduce sum", lambda n: n.add("ReduceSum", "x", n.ints(1, 3)))
case("reduce sum of squares", lambda n: n.add("ReduceSumSquare", "x", axes=[2, 3]))
case("cast to float", lambda n: n.add("Relu", n.add("Cast", "x", to=1)))
case("cast like", lambda n: n.add("Relu", n.add("CastLike", "x", n.weights(1))), opset=15)
case("reduce all", lambda n: n.add("ReduceMean", "x", keepdims=0))
case("reduce nothing", lambda n: n.add("Relu", n.add("ReduceMean", "x", noop_with_empty_axes=1)), opset=18)

# Element by element.
for op in ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Elu", "Selu", "HardSigmoid", "Exp", "Abs", "Neg", "Softsign"):
    case(op, lambda n, o=op: n.add(o, "x"))
case("hard swish", lambda n: n.add("HardSwish", "x"), opset=14)
case("log sqrt", lambda n: n.add("Log", n.add("Sqrt", n.add("Abs", "x"))))
case("clip attributes", lambda n: n.add("Clip", "x", min=-0.5, max=0.7), opset=7)
case("clip inputs", lambda n: n.add("Clip", "x", "", n.constant(0.5)))
case(
    "clip after clip",
    lambda n: n.add("Clip", n.add("Clip", n.conv("x", 4, 2), n.constant(-1)), n.constant(-2), n.constant(0.1)),
)
case("dropout", lambda n: n.add("Relu", n.add("Dropout", n.add("Identity", "x"))), opset=7)
case("pow", lambda n: (n.add("Pow", "x", n.constant(2.0)), n.add("Pow", "x", n.constant(3.0))))
case("reciprocal", lambda n: n.add("Reciprocal", n.add("Exp", "x")))
case("min max", lambda n: n.add("Min", n.add("Max", "x", n.constant(-0.1)), n.constant(0.9)))
case("sum mean", lambda n: n.add("Mean", n.add("Sum", "x", n.add("Relu", "x"), n.add("Exp", "x")), "x"))
for op in ("Add", "Sub", "Mul", "Div"):
    case(f"{op} activations", lambda n, o=op: n.add("Relu", n.add(o, "x", n.add("Exp", "x"))))
    for what, extents in {
        "scalar": (),
        "channel": (4, 1, 1),
        "row": (7,),
        "full": (1, 4, 6, 7),
        "column": (6, 1),
    }.items():
        case(f"{op} {what} right", lambda n, o=op, e=extents: n.add(o, "x", n.constant(n.random.uniform(1, 2, e))))
        case(
            f"{op} {what} left",
            lambda n, o=op, e=extents: n.add(o, n.constant(n.random.uniform(1, 2, e)), n.add("Exp", "x")),
        )
    case(f"{op} squeeze-excite", lambda n, o=op: n.add(o, "x", n.add("Exp", n.add("GlobalMaxPool", "x"))))
    case(
        f"{op} constant grows it",
        lambda n, o=op: n.add(o, "x", n.constant(n.random.uniform(1, 2, (4, 3, 1)))),
        dims=(1, 1, 1, 5),
    )
case("spatial attention", lambda n: n.add("Mul", "x", n.add("ReduceMean", "x", axes=[1])))
case("conv bias as add", lambda n: n.add("Relu", n.add("Add", n.conv("x", 4, 5, bias=False), n.weights(1, 5, 1, 1))))
case(
    "channels last bias",
    lambda n: n.add("Relu", n.add("Add", n.add("Transpose", n.conv("x", 4, 5), perm=[0, 2, 3, 1]), n.weights(5))),
)
case("softmax channels", lambda n: n.add("Softmax", "x", axis=1))
case("softmax rows", lambda n: n.add("Softmax", "x"))
case("softmax before 13", lambda n: n.add("Softmax", "x", axis=2), opset=11)
case("softmax before 13 of all", lambda n: n.add("Softmax", "x"), opset=7)
case("log softmax", lambda n: n.add("LogSoftmax", n.add("Mul", "x", n.constant(200.0)), axis=1))
case("log softmax before 13", lambda n: n.add("LogSoftmax", "x"), dims=(1, 9), opset=9)

# Movement.
for axis in (0, 1, 2, 3, -1):
    case(f"concat {axis}", lambda n, a=axis: n.add("Concat", "x", n.add("Exp", "x"), n.add("Neg", "x"), axis=a))
case("concat rank 5", lambda n: n.add("Concat", "x", n.add("Exp", "x"), axis=3), dims=(1, 2, 3, 2, 5))
case("concat one", lambda n: n.add("Exp", n.add("Concat", "x", axis=1)))
case("slice attributes", lambda n: n.add("Slice", "x", starts=[1, -3], ends=[3, 100], axes=[1, 3]), opset=9)
case("slice steps", lambda n: n.add("Slice", "x", n.ints(-1, 0), n.ints(-100, 6), n.ints(2, 3), n.ints(-2, 2)))
case("slice reversed", lambda n: n.add("Slice", "x", n.ints(-1), n.ints(-100), n.ints(1), n.ints(-1)))
case("slice first axis", lambda n: n.add("Slice", "x", n.ints(2), n.ints(3), n.ints(0)), dims=(5, 6))
case("slice rank 5", lambda n: n.add("Slice", "x", n.ints(1), n.ints(2), n.ints(3)), dims=(1, 2, 3, 2, 5))
case(
    "split attribute",
    lambda n: (lambda y: (y, f"{y}_1"))(n.add("Split", "x", outputs=2, axis=1, split=[1, 3])),
    opset=11,
)
case("split equal", lambda n: (lambda y: (f"{y}_1", f"{y}_2"))(n.add("Split", "x", outputs=3, axis=2)))
case(
    "split uneven", lambda n: (lambda y: (y, f"{y}_1"))(n.add("Split", "x", outputs=2, axis=3, num_outputs=2)), opset=18
)
case("gather one", lambda n: n.add("Gather", "x", n.constant(2, dtype=np.int64), axis=1))
case("gather run", lambda n: n.add("Gather", "x", n.ints(3, 2, 0, 1, 1), axis=1))
case("pad", lambda n: n.add("Pad", "x", n.ints(0, 1, 0, 2, 0, 3, 1, 0), n.constant(0.5)))
case("pad attributes", lambda n: n.add("Pad", "x", pads=[0, 0, 1, 1, 0, 0, 2, 0], value=-1.0), opset=9)
case("pad negative", lambda n: n.add("Pad", "x", n.ints(0, -1, 2, 0, 0, 0, -3, 0)))
case("pad axes", lambda n: n.add("Pad", "x", n.ints(1, 2), "", n.ints(-1)), opset=18)
case(
    "pad before conv",
    lambda n: n.conv(n.add("Pad", "x", n.ints(0, 0, 1, 0, 0, 0, 1, 2)), 4, 3, strides=[2, 2], pads=[0] * 4),
)
case(
    "pad before average",
    lambda n: n.add(
        "AveragePool",
        n.add("Pad", "x", n.ints(0, 0, 1, 1, 0, 0, 1, 1)),
        kernel_shape=[3, 3],
        strides=[2, 2],
        ceil_mode=1,
    ),
)
case(
    "pad before max",
    lambda n: n.add("MaxPool", n.add("Pad", n.add("Relu", "x"), n.ints(0, 0, 1, 1, 0, 0, 1, 1)), kernel_shape=[3, 3]),
)
case(
    "pad before max of negatives",
    lambda n: n.add(
        "MaxPool", n.add("Pad", n.add("Neg", n.add("Exp", "x")), n.ints(0, 0, 1, 1, 0, 0, 1, 1)), kernel_shape=[3, 3]
    ),
)
case(
    "pad before dilated max",
    lambda n: n.add(
        "MaxPool",
        n.add("Pad", n.add("Relu", "x"), n.ints(0, 0, 0, 1, 0, 0, 0, 1)),
        kernel_shape=[1, 2],
        dilations=[1, 2],
    ),
    dims=(1, 4, 6, 1),
)
case("reshape zero and minus one", lambda n: n.add("Reshape", "x", n.ints(0, -1, 7)))
case("flatten axes", lambda n: (n.add("Flatten", "x"), n.add("Flatten", "x", axis=-1), n.add("Flatten", "x", axis=0)))
case("squeeze", lambda n: n.add("Exp", n.add("Squeeze", n.add("GlobalAveragePool", "x"), axes=[2, 3])), opset=11)
case("squeeze all", lambda n: n.add("Squeeze", n.add("GlobalAveragePool", "x")))
case("unsqueeze", lambda n: n.add("Unsqueeze", "x", n.ints(0, -1)))
for perm in ([0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], [0, 3, 2, 1], [0, 2, 1, 3], [3, 2, 1, 0]):
    case(f"transpose {perm}", lambda n, p=perm: n.add("Transpose", n.conv("x", 4, 4), perm=p))
    case(f"transpose {perm} of nothing", lambda n, p=perm: n.add("Transpose", "x", perm=p), dims=(1, 4, 1, 7))
case(
    "channel shuffle",
    lambda n: n.add(
        "Reshape",
        n.add("Transpose", n.add("Reshape", "x", n.ints(1, 2, 2, 6, 7)), perm=[0, 2, 1, 3, 4]),
        n.ints(1, 4, 6, 7),
    ),
)
case("transpose rank 5", lambda n: n.add("Transpose", "x", perm=[0, 4, 2, 1, 3]), dims=(1, 2, 3, 4, 5))
case("transpose rank 6", lambda n: n.add("Transpose", "x", perm=[4, 2, 0, 5, 1, 3]), dims=(2, 3, 2, 3, 2, 3))
case(
    "reshape then transpose",
    lambda n: n.add("Transpose", n.add("Reshape", n.conv("x", 4, 4), n.ints(1, 4, 42)), perm=[0, 2, 1]),
)
case(
    "split channels then transpose",
    lambda n: n.add("Transpose", n.add("Reshape", n.conv("x", 4, 4), n.ints(1, 8, 21)), perm=[0, 2, 1]),
)
case(
    "transpose then transpose",
    lambda n: n.add("Transpose", n.add("Transpose", n.conv("x", 4, 4), perm=[0, 2, 3, 1]), perm=[0, 2, 3, 1]),
)
case(
    "transpose and back",
    lambda n: n.add("Transpose", n.add("Exp", n.add("Transpose", "x", perm=[0, 2, 3, 1])), perm=[0, 3, 1, 2]),
)
case(
    "channels last to rows",
    lambda n: n.add(
        "MatMul", n.add("Flatten", n.add("Transpose", n.conv("x", 4, 4), perm=[0, 2, 3, 1])), n.weights(168, 3)
    ),
)
case("outside nhwc then flatten", lambda n: n.add("Exp", n.add("Flatten", n.add("Transpose", "x", perm=[0, 3, 1, 2]))))
case(
    "depth to space",
    lambda n: (n.add("DepthToSpace", "x", blocksize=2), n.add("DepthToSpace", "x", blocksize=2, mode="CRD")),
    dims=(1, 8, 3, 5),
)
case("space to depth", lambda n: n.add("SpaceToDepth", "x", blocksize=2), dims=(1, 3, 4, 6))
case("expand", lambda n: n.add("Expand", n.add("ReduceMean", "x", axes=[1, 3]), n.ints(1, 4, 6, 5)))
case("tile", lambda n: n.add("Tile", "x", n.ints(1, 2, 1, 3)))
case("upsample", lambda n: n.add("Upsample", "x", n.constant([1, 1, 2, 3])), opset=9)
case("upsample attribute", lambda n: n.add("Upsample", "x", scales=[1.0, 1.0, 2.0, 2.0]), opset=7)
case(
    "resize scales",
    lambda n: n.add(
        "Resize", "x", "", n.constant([1, 1, 2, 2]), coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
)
case("resize sizes", lambda n: n.add("Resize", "x", "", "", n.ints(1, 4, 18, 14)))
case("resize down", lambda n: n.add("Resize", "x", "", n.constant([1, 1, 0.5, 1])))
case("resize uneven", lambda n: n.add("Resize", "x", "", "", n.ints(1, 4, 9, 7)))
case("resize 10", lambda n: n.add("Resize", "x", n.constant([1, 1, 2, 1])), opset=10)

# Arithmetic on constants.
case(
    "shape arithmetic",
    lambda n: n.add(
        "Reshape",
        "x",
        n.add(
            "Concat",
            n.add("Unsqueeze", n.add("Gather", n.add("Shape", "x"), n.constant(0, dtype=np.int64)), axes=[0]),
            n.ints(-1),
            axis=0,
        ),
    ),
    opset=11,
)
case(
    "weights made by the graph",
    lambda n: n.add("Conv", "x", n.add("Reshape", n.add("Mul", n.weights(8, 9), n.weights(8, 1)), n.ints(2, 4, 3, 3))),
)
case(
    "constant of shape",
    lambda n: n.add("Add", "x", n.add("ConstantOfShape", n.add("Slice", n.add("Shape", "x"), n.ints(1), n.ints(4)))),
)
case("output is the input", lambda n: (n.add("Identity", "x"), n.add("Identity", "x")))
case("one tensor, two names", lambda n: (lambda y: (n.add("Identity", y), y, n.add("Exp", y)))(n.add("Relu", "x")))
case("output read inside", lambda n: (lambda y: (y, n.add("Relu", y)))(n.conv("x", 4, 2)))


@pytest.mark.parametrize("name", CASES)
def test_imported_operator_equals_onnxruntime(name: str) -> None:
    dims, opset, build = CASES[name]
    net = Net(dims, opset=opset)
    assert_imported(net, build(net))


def test_every_importer_has_a_case() -> None:
    covered = set()
    for dims, opset, build in CASES.values():
        net = Net(dims, opset=opset)
        build(net)
        covered |= {node.op_type for node in net.nodes}
    assert set(IMPORTERS) <= covered


def a_window_misses_the_image(
    extents: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pads: tuple[int, ...],
    ceil: int,
) -> bool:
    """Whether some window has no tap on the image, by trying them all."""
    for i, extent in enumerate(extents):
        last = extent + pads[i + 2] - (kernel[i] - 1) * dilation[i] - 1 + (stride[i] - 1 if ceil else 0)
        for start in range(-pads[i], last + 1, stride[i]):
            if start < extent and not any(0 <= start + k * dilation[i] < extent for k in range(kernel[i])):
                return True
    return False


CORNER = {"extents": (1, 1), "kernel": (2, 2), "stride": (1, 1), "dilation": (2, 2), "pads": (1, 1, 1, 1)}


@settings(max_examples=100, deadline=None)
@example(**CORNER, ceil=0, include=0, kind="MaxPool")
@example(**CORNER, ceil=1, include=0, kind="AveragePool")
@example(**CORNER, ceil=0, include=1, kind="AveragePool")
@example(**CORNER | {"extents": (4, 1), "kernel": (1, 2), "pads": (0, 1, 0, 1)}, ceil=0, include=0, kind="MaxPool")
@given(
    extents=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    ceil=st.integers(0, 1),
    include=st.integers(0, 1),
    kind=st.sampled_from(["Conv", "MaxPool", "AveragePool"]),
)
def test_any_window_equals_onnxruntime_or_is_refused(
    extents: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pads: tuple[int, ...],
    ceil: int,
    include: int,
    kind: str,
) -> None:
    net = Net((1, 2, *extents), opset=19)
    fields = {"kernel_shape": kernel, "strides": stride, "dilations": dilation, "pads": pads}
    if kind == "Conv":
        y = net.add("Conv", "x", net.weights(3, 2, *kernel), **fields)
    else:
        more = {"ceil_mode": ceil} | ({"count_include_pad": include} if kind == "AveragePool" else {})
        y = net.add(kind, "x", **fields, **more)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    fits = all(n + pads[i] + pads[i + 2] >= reach[i] for i, n in enumerate(extents))
    padded_too_far = kind != "Conv" and any(max(pads[i], pads[i + 2]) >= kernel[i] for i in (0, 1))
    nothing_to_pool = kind == "MaxPool" or (kind == "AveragePool" and not include)
    nothing_to_pool = nothing_to_pool and a_window_misses_the_image(extents, kernel, stride, dilation, pads, ceil)
    if fits and not padded_too_far and not nothing_to_pool:
        assert_imported(net, y)
    else:
        with pytest.raises(UserError) as refused:
            import_onnx(net.bytes(), name="net")
        assert refused.value.code == "unsupported-operator"


@settings(max_examples=100, deadline=None)
@given(
    dims=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    data=st.data(),
)
def test_any_chain_of_movements_equals_onnxruntime(dims: list[int], data: st.DataObject) -> None:
    net = Net(tuple(dims))
    y = "x"
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            perm = data.draw(st.permutations(range(len(dims))))
            y, dims = net.add("Transpose", y, perm=perm), [dims[axis] for axis in perm]
        else:
            split = data.draw(st.integers(0, len(dims)))
            dims = [*dims[:split], int(np.prod(dims[split:], dtype=int))]
            y = net.add("Reshape", y, net.ints(*dims))
        if data.draw(st.booleans()):
            y = net.add("Mul", y, net.weights(dims[-1]))
    assert_imported(net, y)
