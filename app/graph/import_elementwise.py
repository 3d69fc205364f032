"""Importers of element-by-element operators, arithmetic with constants, and softmax."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from app.graph.builder import Builder, NonFinite, Unsupported, place_of
from app.graph.import_windows import reduce_axes
from app.graph.importers import Call, axis_in, importer
from app.graph.ir import Tensor
from app.graph.onnx_model import AnyArray
from kernels.spec import Attrs

_PLAIN_UNARY = {
    "Neg": "neg",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Abs": "abs",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "HardSwish": "hard_swish",
}


@importer(*_PLAIN_UNARY)
def plain_unary(call: Call, b: Builder) -> Tensor:
    """Operators that exist under another name."""
    return b.elementwise(_PLAIN_UNARY[call.node.op_type], call.activation())


@importer("Relu")
def relu(call: Call, b: Builder) -> Tensor:
    """max(x, 0)."""
    return b.clamp(call.activation(), 0.0, math.inf)


@importer("Clip")
def clip(call: Call, b: Builder) -> Tensor:
    """Bounds as attributes (opset 6) or inputs (opset 11)."""
    lo = call.number(1, "min", float(call.attribute("min", -math.inf)))
    hi = call.number(2, "max", float(call.attribute("max", math.inf)))
    return _clamp(call, b, lo, hi)


def _clamp(call: Call, b: Builder, lo: float, hi: float) -> Tensor:
    lo = min(lo, hi)  # ONNX: when min is above max, every value becomes max
    if lo == math.inf or hi == -math.inf:
        raise Unsupported(f"clips everything to {lo}")
    return b.clamp(call.activation(), lo, hi)


@importer("LeakyRelu")
def leaky_relu(call: Call, b: Builder) -> Tensor:
    """x < 0 ? alpha x : x."""
    return b.elementwise("leaky_relu", call.activation(), Attrs(alpha=float(call.attribute("alpha", 0.01))))


@importer("Elu")
def elu(call: Call, b: Builder) -> Tensor:
    """x < 0 ? alpha (exp(x) - 1) : x."""
    return b.elementwise("elu", call.activation(), Attrs(alpha=float(call.attribute("alpha", 1.0))))


@importer("Selu")
def selu(call: Call, b: Builder) -> Tensor:
    """gamma times Elu; defaults of ONNX Selu-6."""
    alpha, gamma = (
        float(call.attribute("alpha", 1.6732631921768188)),
        float(call.attribute("gamma", 1.0507010221481323)),
    )
    return b.scale(b.elementwise("elu", call.activation(), Attrs(alpha=alpha)), call.label, gamma, 0.0)


@importer("HardSigmoid")
def hard_sigmoid(call: Call, b: Builder) -> Tensor:
    """clamp(alpha x + beta, 0, 1)."""
    attrs = Attrs(alpha=float(call.attribute("alpha", 0.2)), beta=float(call.attribute("beta", 0.5)))
    return b.elementwise("hard_sigmoid", call.activation(), attrs)


@importer("Softsign")
def softsign(call: Call, b: Builder) -> Tensor:
    """x / (1 + |x|)."""
    x = call.activation()
    return b.binary("div", x, b.scale(b.elementwise("abs", x), call.label, 1.0, 1.0))


@importer("Identity", "Dropout")
def identity(call: Call, _b: Builder) -> Tensor:
    """Nothing at inference."""
    call.refuse_output(1, "the mask output")
    if call.constant(2, "training_mode") is not None and bool(np.any(call.constant(2, "training_mode"))):
        raise Unsupported("Dropout in training mode")
    return call.activation()


@importer("Cast", "CastLike")
def cast(call: Call, _b: Builder) -> Tensor:
    """Only to float32."""
    to = call.attribute("to", 1)
    if call.node.op_type == "Cast" and to != 1:
        raise Unsupported(f"casts an activation to ONNX type {to}; only float32 is supported")
    return call.activation()


@importer("Pow")
def power(call: Call, b: Builder) -> Tensor:
    """Constant exponents 0.5, 1, 2, 3 and -1."""
    x, exponent = call.activation(), call.number(1, "exponent", 1.0)
    if exponent == 1:
        return x
    if exponent == 0.5:
        return b.elementwise("sqrt", x)
    if exponent == -1:
        return _reciprocal(call, b, x)
    if exponent in (2, 3):
        return functools.reduce(lambda y, _: b.binary("mul", y, x), range(int(exponent) - 1), x)
    raise Unsupported(f"exponent {exponent}; 0.5, 1, 2, 3 and -1 are supported")


@importer("Reciprocal")
def reciprocal(call: Call, b: Builder) -> Tensor:
    """1 / x."""
    return _reciprocal(call, b, call.activation())


def _reciprocal(call: Call, b: Builder, x: Tensor) -> Tensor:
    return b.binary("div", b.scale(x, f"{call.label}.one", 0.0, 1.0), x)


@importer("Min", "Max")
def minimum_maximum(call: Call, b: Builder) -> Tensor:
    """With constant scalars only."""
    activations = [i for i, value in enumerate(call.inputs) if isinstance(value, Tensor)]
    if len(activations) != 1:
        raise Unsupported("compares two activations; only comparison with a constant number is supported")
    bounds = [call.number(i, "bound", 0.0) for i in range(len(call.inputs)) if i != activations[0]]
    x = call.activation(activations[0])
    if not bounds:
        return x
    if call.node.op_type == "Max":
        return b.clamp(x, max(bounds), math.inf)
    return b.clamp(x, -math.inf, min(bounds))


@importer("Sum", "Mean")
def sum_of_all(call: Call, b: Builder) -> Tensor:
    """Added two by two."""
    total = call.input(0)
    for i in range(1, len(call.inputs)):
        total = _binary(call, b, "add", total, call.input(i), i)
    if not isinstance(total, Tensor):
        raise Unsupported("input 0 must be an activation")
    return b.scale(total, call.label, 1.0 / len(call.inputs), 0.0) if call.node.op_type == "Mean" else total


@importer("Add", "Sub", "Mul", "Div")
def arithmetic(call: Call, b: Builder) -> Tensor:
    """Two activations, or an activation and a constant on either side."""
    return _binary(call, b, call.node.op_type.lower(), call.input(0), call.input(1), 1)


def _binary(
    call: Call, b: Builder, op: str, left: Tensor | AnyArray | None, right: Tensor | AnyArray | None, i: int
) -> Tensor:
    """`left op right`; `right` is input `i` of the node."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return b.binary(op, left, right)
    if isinstance(left, Tensor):
        k = call.weights(i, "the constant operand").astype(np.float64)
        name = call.input_name(i)
        if op == "div":
            if not k.all():
                raise Unsupported("divides by a constant that holds zeros")
            return _times(b, left, 1.0 / k, f"{name}.reciprocal")
        return _times(b, left, k, name) if op == "mul" else _plus(b, left, k if op == "add" else -k, name)
    if not isinstance(right, Tensor):
        raise Unsupported("both operands are constants of a type that is not folded")
    k = call.weights(0, "the constant operand").astype(np.float64)
    name = call.input_name(0)
    if op == "add":
        return _plus(b, right, k, name)
    if op == "mul":
        return _times(b, right, k, name)
    if op == "sub":
        return _plus(b, b.elementwise("neg", right), k, name)
    return _times(b, _reciprocal(call, b, right), k, name)


def _times(b: Builder, x: Tensor, k: AnyArray, name: str) -> Tensor:
    return _with_constant(b, x, k, name, "const_mul", lambda y, channels: b.scale(y, name, channels, 0.0))


def _plus(b: Builder, x: Tensor, k: AnyArray, name: str) -> Tensor:
    return _with_constant(b, x, k, name, "const_add", lambda y, channels: b.scale(y, name, 1.0, channels))


def _with_constant(
    b: Builder, x: Tensor, k: AnyArray, name: str, op: str, per_channel: Callable[[Tensor, AnyArray], Tensor]
) -> Tensor:
    """Per-channel constants as a scale, others expanded to the tensor's dims."""
    if not np.isfinite(k).all():
        raise NonFinite(name)
    try:
        dims = np.broadcast_shapes(x.dims, k.shape)
    except ValueError:
        raise Unsupported(f"constant {list(k.shape)} does not broadcast with {list(x.dims)}") from None
    y = b.expand(x, dims)
    full = np.broadcast_to(k, dims).reshape(y.c, -1)
    if (full == full[:, :1]).all():
        return per_channel(y, full[:, 0])
    return b.emit(op, [y], dims, weights=b.constant(name, full))


@importer("Softmax", "LogSoftmax")
def softmax(call: Call, b: Builder) -> Tensor:
    """Along one axis since opset 13; before, over all axes from `axis` on, taken together."""
    x = call.activation()
    rank = len(x.dims)
    axis = axis_in(int(call.attribute("axis", -1 if call.opset >= 13 else 1)), rank)
    end = axis + 1 if call.opset >= 13 else rank
    log = call.node.op_type == "LogSoftmax"
    longer = [k for k in range(axis, end) if x.dims[k] > 1] or [axis]
    place = place_of(x.dims, longer[0]) if len(longer) == 1 else None
    if place is not None and not log:
        return b.emit("softmax", [x], x.dims, axis=place)
    blocks = b.blocks(x, axis, end)
    if not log:
        single = blocks.c == 1
        rows = b.reshape(blocks, (1, blocks.h, blocks.w, 1)) if single else blocks
        return b.reshape(b.emit("softmax", [rows], rows.dims, axis=0 if single else 1), x.dims)
    # x - max - log(sum(exp(x - max))): exact where log(softmax(x)) would be log(0).
    count = blocks.h
    shifted = b.binary("sub", blocks, reduce_axes(b, "max_pool", blocks, [2]))
    mean = reduce_axes(b, "avg_pool", b.elementwise("exp", shifted), [2])
    log_sum = b.elementwise("log", b.scale(mean, call.label, float(count), 0.0))
    return b.reshape(b.binary("sub", shifted, log_sum), x.dims)
