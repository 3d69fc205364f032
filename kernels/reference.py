"""Every operator in float64 numpy: the definition the C routines and the importer are held to.

Readable first. Layouts do not exist here: tensors are [c][h][w] arrays, and a `convert` is the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from kernels.spec import Attrs, Shape

Float64Array = npt.NDArray[np.float64]


def compute(
    shape: Shape,
    attrs: Attrs,
    inputs: Sequence[npt.NDArray[np.floating]],
    weights: npt.NDArray[np.floating] | None = None,
    bias: npt.NDArray[np.floating] | None = None,
) -> Float64Array:
    """The operator's output, float64 [m][oh][ow].

    `inputs` are [c][h][w] in port order; `weights` and `bias` hold the operator's own (unpacked) numbers in the order
    kernels.spec.OPS gives, in any shape of that row-major order. Raises ValueError when a size does not fit `shape`.
    """
    if len(inputs) != shape.n_in:
        raise ValueError(f"{shape.op} takes {shape.n_in} inputs, got {len(inputs)}")
    x = [np.asarray(tensor, np.float64) for tensor in inputs]
    for port, tensor in enumerate(x):
        if tensor.shape != shape.input_dims(port):
            raise ValueError(f"{shape.op} input {port} is {tensor.shape}, expected {shape.input_dims(port)}")
    w = np.zeros(0) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    b = np.zeros(0) if bias is None else np.asarray(bias, np.float64).reshape(-1)
    y = _OPERATORS[shape.op](shape, attrs, x, w, b)
    if y.shape != shape.output_dims:
        raise ValueError(f"{shape.op} gives {y.shape}, shape says {shape.output_dims}")
    return np.ascontiguousarray(y)


def _clamped(y: Float64Array, attrs: Attrs) -> Float64Array:
    return np.minimum(np.maximum(y, attrs.lo), attrs.hi)


def _windows(s: Shape, x: Float64Array, outside: float) -> Iterator[tuple[int, int, Float64Array]]:
    """For each kernel tap (ky, kx), the input under it for every output: [c][oh][ow], `outside` beyond the image."""
    span_h = (s.oh - 1) * s.stride_h + (s.kh - 1) * s.dilation_h + 1
    span_w = (s.ow - 1) * s.stride_w + (s.kw - 1) * s.dilation_w + 1
    padded = np.full((s.c, max(span_h, s.pad_t + s.h), max(span_w, s.pad_l + s.w)), outside)
    padded[:, s.pad_t : s.pad_t + s.h, s.pad_l : s.pad_l + s.w] = x
    for ky in range(s.kh):
        for kx in range(s.kw):
            top, left = ky * s.dilation_h, kx * s.dilation_w
            bottom, right = top + (s.oh - 1) * s.stride_h + 1, left + (s.ow - 1) * s.stride_w + 1
            yield ky, kx, padded[:, top : bottom : s.stride_h, left : right : s.stride_w]


def _conv(s: Shape, attrs: Attrs, x: list[Float64Array], w: Float64Array, b: Float64Array) -> Float64Array:
    group_c, group_m = s.c // s.group, s.m // s.group
    kernel = w.reshape(s.group, group_m, group_c, s.kh, s.kw)
    y = np.zeros((s.group, group_m, s.oh * s.ow))
    for ky, kx, tap in _windows(s, x[0], 0.0):
        columns = tap.reshape(s.group, group_c, s.oh * s.ow)
        # Depthwise: one product per output, faster as a broadcast than as many 1x1 matrix products.
        y += kernel[..., ky, kx] * columns if group_c == 1 else kernel[..., ky, kx] @ columns
    y = y.reshape(s.m, s.oh, s.ow) + b.reshape(s.m, 1, 1)
    return _clamped(y + x[1] if s.residual else y, attrs)


def _dense(s: Shape, attrs: Attrs, x: list[Float64Array], w: Float64Array, b: Float64Array) -> Float64Array:
    return _clamped((w.reshape(s.m, -1) @ x[0].reshape(-1) + b).reshape(s.m, 1, 1), attrs)


def _max_pool(s: Shape, _attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
    y = np.full((s.c, s.oh, s.ow), -np.inf)
    for _, _, tap in _windows(s, x[0], -np.inf):
        y = np.maximum(y, tap)
    return y


def _avg_pool(s: Shape, _attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
    """Mean over the taps that count: those on the image, with count_include_pad also those on the declared padding.

    Taps beyond the declared padding (the overhang of a ceil-mode output) never count.
    """
    total = np.zeros((s.c, s.oh, s.ow))
    for _, _, tap in _windows(s, x[0], 0.0):
        total += tap
    counted_h = _counted(s.oh, s.kh, s.stride_h, s.dilation_h, s.pad_t, s.h, s.pad_b, s.count_include_pad)
    counted_w = _counted(s.ow, s.kw, s.stride_w, s.dilation_w, s.pad_l, s.w, s.pad_r, s.count_include_pad)
    return total / (counted_h[:, None] * counted_w[None, :])


def _counted(
    out: int, kernel: int, stride: int, dilation: int, pad_before: int, extent: int, pad_after: int, with_pad: int
) -> Float64Array:
    """For each of `out` windows along one axis, the number of its taps that count."""
    first, end = (-pad_before, extent + pad_after) if with_pad else (0, extent)
    taps = np.arange(out)[:, None] * stride - pad_before + np.arange(kernel)[None, :] * dilation
    counted: Float64Array = ((taps >= first) & (taps < end)).sum(axis=1).astype(np.float64)
    return counted


def _lrn(s: Shape, attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
    """Channel k is normalised by channels k - floor((size-1)/2) .. k + ceil((size-1)/2), as ONNX LRN defines."""
    below, above = (s.kh - 1) // 2, s.kh // 2
    sums = np.zeros((s.c + 1, s.h, s.w))
    np.cumsum(x[0] ** 2, axis=0, out=sums[1:])
    k = np.arange(s.c)
    window = sums[np.minimum(k + above + 1, s.c)] - sums[np.maximum(k - below, 0)]
    return np.asarray(x[0] / (attrs.gamma + attrs.alpha / s.kh * window) ** attrs.beta)


def _scale(s: Shape, attrs: Attrs, x: list[Float64Array], w: Float64Array, b: Float64Array) -> Float64Array:
    return _clamped(x[0] * w.reshape(s.c, 1, 1) + b.reshape(s.c, 1, 1), attrs)


def _prelu(s: Shape, _attrs: Attrs, x: list[Float64Array], w: Float64Array, _b: Float64Array) -> Float64Array:
    return np.where(x[0] < 0, w.reshape(s.c, 1, 1) * x[0], x[0])


def _const_add(_s: Shape, attrs: Attrs, x: list[Float64Array], w: Float64Array, _b: Float64Array) -> Float64Array:
    return _clamped(x[0] + w.reshape(x[0].shape), attrs)


def _const_mul(_s: Shape, attrs: Attrs, x: list[Float64Array], w: Float64Array, _b: Float64Array) -> Float64Array:
    return _clamped(x[0] * w.reshape(x[0].shape), attrs)


def _softmax(s: Shape, _attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
    powers = np.exp(x[0] - x[0].max(axis=s.axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=s.axis, keepdims=True))


def _concat(s: Shape, _attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
    return np.concatenate(x, axis=s.axis)


def _slice(s: Shape, _attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
    """Output index i of an axis is input index start + i * step; a negative step walks backwards."""
    indices = [np.arange(n) * step + start for n, start, step in zip(s.output_dims, s.start, s.step, strict=True)]
    return x[0][np.ix_(*indices)]


def _pad(s: Shape, attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
    y = np.full(s.output_dims, attrs.alpha)
    c, h, w = s.start
    y[c : c + s.c, h : h + s.h, w : w + s.w] = x[0]
    return y


def _permute(s: Shape, _attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
    return x[0].transpose(s.perm)


def _upsample(s: Shape, _attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
    return x[0].repeat(s.oh // s.h, axis=1).repeat(s.ow // s.w, axis=2)


def _convert(_s: Shape, _attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
    return x[0]


def _sigmoid(x: Float64Array) -> Float64Array:
    # exp of a non-positive number only, so that nothing overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


_Operator = Callable[[Shape, Attrs, list[Float64Array], Float64Array, Float64Array], Float64Array]


def _elementwise(function: Callable[[Float64Array, Attrs], Float64Array]) -> _Operator:
    def operator(_s: Shape, attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
        return function(x[0], attrs)

    return operator


def _binary(function: Callable[[Float64Array, Float64Array], Float64Array]) -> _Operator:
    def operator(_s: Shape, attrs: Attrs, x: list[Float64Array], _w: Float64Array, _b: Float64Array) -> Float64Array:
        return _clamped(function(x[0], x[1]), attrs)

    return operator


_OPERATORS: dict[str, _Operator] = {
    "conv": _conv,
    "dense": _dense,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "lrn": _lrn,
    "scale": _scale,
    "prelu": _prelu,
    "const_add": _const_add,
    "const_mul": _const_mul,
    "softmax": _softmax,
    "concat": _concat,
    "slice": _slice,
    "pad": _pad,
    "permute": _permute,
    "upsample": _upsample,
    "convert": _convert,
    "add": _binary(np.add),
    "sub": _binary(np.subtract),
    "mul": _binary(np.multiply),
    "div": _binary(np.divide),
    "clamp": _elementwise(_clamped),
    "neg": _elementwise(lambda x, _: -x),
    "exp": _elementwise(lambda x, _: np.exp(x)),
    "log": _elementwise(lambda x, _: np.log(x)),
    "sqrt": _elementwise(lambda x, _: np.sqrt(x)),
    "abs": _elementwise(lambda x, _: np.abs(x)),
    "sigmoid": _elementwise(lambda x, _: _sigmoid(x)),
    "tanh": _elementwise(lambda x, _: np.tanh(x)),
    "leaky_relu": _elementwise(lambda x, a: np.where(x < 0, a.alpha * x, x)),
    "elu": _elementwise(lambda x, a: np.where(x < 0, a.alpha * np.expm1(np.minimum(x, 0)), x)),
    "hard_sigmoid": _elementwise(lambda x, a: np.clip(a.alpha * x + a.beta, 0, 1)),
    "hard_swish": _elementwise(lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1)),
}
