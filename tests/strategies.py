"""Shapes and operands of every operator: a fixed list with the awkward cases, and Hypothesis strategies around it.

A new operator or a new corner of one joins here; every test over the registry then covers it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from kernels.spec import BINARY_OPS, OPS, UNARY_OPS, Array, Attrs, Shape, bias_elems, weight_elems

# Around every block and vector length: 1, 4, 8, 16 lanes, one more, one less, several blocks with a ragged end.
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 32, 33, 40)
EXTENTS = (1, 2, 3, 4, 5, 7, 8, 9, 13, 14, 16, 17, 19)
_CLAMPED = {"conv", "dense", "scale", "clamp", "const_add", "const_mul"} | BINARY_OPS
DIMS = ((1, 1, 1), (3, 5, 7), (8, 4, 4), (16, 3, 3), (17, 1, 1), (1, 9, 9), (24, 1, 6), (33, 7, 2), (40, 13, 5))


@dataclass(frozen=True)
class Operands:
    """One call: what `kernels.reference.compute` and `Harness.check` take after the shape."""

    attrs: Attrs
    inputs: tuple[Array, ...]
    weights: Array | None
    bias: Array | None


def window_shape(
    op: str,
    c: int,
    h: int,
    w: int,
    *,
    m: int | None = None,
    kernel: tuple[int, int] = (1, 1),
    stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    group: int = 1,
    count_include_pad: int = 0,
    overhang: int = 0,
) -> Shape:
    """A conv or pool shape; `pads` are t, l, b, r and `overhang` adds output rows and columns (ceil mode)."""
    t, left, b, r = pads
    oh = (h + t + b - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1 + overhang
    ow = (w + left + r - (kernel[1] - 1) * dilation[1] - 1) // stride[1] + 1 + overhang
    if oh < 1 or ow < 1:
        raise ValueError(f"kernel {kernel} does not fit {h}x{w}")
    return Shape(
        op, c, h, w, c if m is None else m, oh, ow, *kernel, *stride, *pads, *dilation, group,
        count_include_pad=count_include_pad,
    )  # fmt: skip


def _conv_edges() -> list[Shape]:
    def conv(c: int, h: int, w: int, m: int, k: int | tuple[int, int] = 1, **options: object) -> Shape:
        kernel = (k, k) if isinstance(k, int) else k
        return window_shape("conv", c, h, w, m=m, kernel=kernel, **options)  # type: ignore[arg-type]

    same3, same5 = (1, 1, 1, 1), (2, 2, 2, 2)
    return [
        conv(1, 1, 1, 1),
        conv(3, 5, 7, 2),
        conv(16, 9, 9, 32),
        conv(17, 6, 5, 33),
        conv(24, 14, 14, 48),
        conv(40, 1, 1, 24),
        conv(64, 8, 8, 16),
        conv(33, 7, 7, 17, stride=(2, 2)),
        conv(8, 9, 7, 16, stride=(2, 1)),
        conv(16, 6, 6, 16, pads=(1, 0, 0, 1)),
        conv(3, 23, 25, 16, 3, stride=(2, 2), pads=same3),
        conv(3, 31, 30, 20, 7, stride=(2, 2), pads=(3, 3, 3, 3)),
        conv(3, 35, 36, 8, 11, stride=(4, 4), pads=(2, 2, 2, 2)),
        conv(1, 3, 3, 1, 3),
        conv(1, 1, 1, 8, 3, pads=same3),
        conv(2, 2, 9, 3, 3, pads=same3),
        conv(16, 8, 8, 16, 3),
        conv(16, 13, 13, 16, 3, pads=same3),
        conv(17, 9, 11, 19, 3, pads=same3),
        conv(32, 30, 31, 24, 3, pads=same3),
        conv(5, 12, 10, 40, 3, pads=(0, 1, 2, 0)),
        conv(8, 10, 10, 8, 3, pads=(2, 2, 2, 2)),
        conv(16, 14, 14, 32, 3, stride=(2, 2), pads=same3),
        conv(16, 14, 14, 32, 3, stride=(2, 2), pads=(0, 0, 1, 1)),
        conv(8, 11, 9, 8, 3, stride=(1, 2), pads=same3),
        conv(8, 12, 12, 16, 3, dilation=(2, 2), pads=(2, 2, 2, 2)),
        conv(4, 13, 9, 5, 3, dilation=(3, 1), pads=(3, 1, 3, 1)),
        conv(9, 7, 9, 12, (1, 3), pads=(0, 1, 0, 1)),
        conv(12, 9, 7, 9, (3, 1), pads=(1, 0, 1, 0)),
        conv(8, 12, 8, 8, (1, 7), pads=(0, 3, 0, 3)),
        conv(16, 11, 11, 16, 5, pads=same5),
        conv(7, 15, 14, 9, 5, pads=same5),
        conv(16, 9, 10, 20, 5),
        conv(8, 24, 25, 20, 5, pads=same5),
        conv(5, 22, 25, 35, 5, pads=same5),
        conv(6, 12, 12, 6, 5, stride=(2, 2), pads=same5),
        conv(4, 10, 10, 4, 4, pads=(1, 1, 2, 2)),
        conv(10, 4, 25, 64, (10, 4), stride=(2, 2), pads=(4, 1, 5, 1)),
        conv(4, 6, 6, 5, 2),
        conv(4, 6, 6, 8, 2, stride=(2, 2)),
        conv(5, 4, 5, 33, (4, 5)),
        conv(12, 9, 9, 16, 3, group=2, pads=same3),
        conv(32, 13, 13, 32, 3, group=2, pads=same3),
        conv(32, 9, 9, 48, 5, group=2, pads=same5),
        conv(15, 8, 8, 9, 3, group=3, pads=same3),
        conv(48, 7, 7, 48, group=3),
        conv(64, 6, 6, 32, 3, group=4, pads=same3),
        conv(16, 9, 9, 16, 3, group=16, pads=same3),
        conv(19, 10, 9, 19, 3, group=19, pads=same3),
        conv(32, 15, 14, 32, 3, group=32, stride=(2, 2), pads=same3),
        conv(33, 14, 14, 33, 3, group=33, stride=(2, 2), pads=(0, 0, 1, 1)),
        conv(24, 12, 11, 24, 5, group=24, pads=same5),
        conv(8, 9, 9, 8, 3, group=8, dilation=(2, 2), pads=(2, 2, 2, 2)),
        conv(8, 11, 13, 8, 3, group=8, pads=same3),
        conv(40, 6, 29, 40, 3, group=40, pads=same3),
        conv(28, 3, 3, 28, 3, group=28, pads=same3),
        conv(25, 5, 2, 25, 3, group=25, stride=(2, 2), pads=same3),
        conv(50, 25, 5, 50, 3, group=50, pads=same3),
        conv(11, 9, 10, 11, 5, group=11, stride=(2, 2), pads=(1, 1, 2, 2)),
        conv(72, 9, 30, 72, 5, group=72, stride=(2, 2), pads=same5),
        conv(8, 4, 1, 8, 5, group=8, pads=same5),
        conv(40, 12, 10, 40, 7, group=40, pads=(3, 3, 3, 3)),
        conv(17, 13, 17, 17, 7, group=17, stride=(2, 2), pads=(3, 3, 3, 3)),
        conv(24, 3, 3, 24, 7, group=24, pads=(3, 3, 3, 3)),
        conv(5, 6, 7, 5, 3, group=5, pads=same3),
        conv(24, 9, 9, 24, 3, group=24, pads=(2, 2, 2, 2)),
        conv(44, 10, 11, 44, (2, 4), group=44, stride=(3, 1), pads=(0, 1, 1, 2)),
        conv(200, 5, 40, 200, 3, group=200, pads=same3),
        conv(8, 7, 7, 24, 3, group=8, pads=same3),
        conv(1, 7, 7, 1, 7),
        conv(20, 1, 1, 20, 3, group=20, pads=same3),
        conv(64, 7, 7, 64, 3, pads=same3),
        conv(48, 28, 28, 16, 3, pads=same3),
    ]


def _dense_edges() -> list[Shape]:
    dims = [(*dims, m) for dims, m in zip(DIMS, (1, 10, 33, 16, 7, 8, 17, 5, 100), strict=True)]
    dims += [(256, 1, 1, 1000), (130, 1, 1, 31), (16, 4, 4, 64)]
    return [Shape("dense", c, h, w, m, 1, 1) for c, h, w, m in dims]


def _pool_edges(op: str) -> list[Shape]:
    def pool(c: int, h: int, w: int, k: int | tuple[int, int], s: int | tuple[int, int], **options: object) -> Shape:
        kernel = (k, k) if isinstance(k, int) else k
        stride = (s, s) if isinstance(s, int) else s
        return window_shape(op, c, h, w, kernel=kernel, stride=stride, **options)  # type: ignore[arg-type]

    shapes = [
        pool(1, 1, 1, 1, 1),
        pool(3, 5, 7, 2, 2),
        pool(16, 13, 13, 3, 2),
        pool(17, 14, 12, 3, 2, pads=(1, 1, 1, 1)),
        pool(33, 9, 9, 3, 1, pads=(1, 1, 1, 1)),
        pool(8, 8, 8, 3, 2, pads=(0, 0, 1, 1)),
        pool(20, 10, 11, 3, 2, overhang=1),
        pool(40, 7, 7, (7, 7), 1),
        pool(24, 1, 1, 1, 1),
        pool(5, 6, 40, (3, 2), (2, 1), pads=(1, 0, 1, 1)),
        pool(7, 9, 35, (1, 5), (1, 3), pads=(0, 2, 0, 2)),
        pool(16, 12, 11, 2, 1, dilation=(2, 3)),
        pool(129, 4, 5, (4, 5), 1),
        pool(3, 33, 39, 5, 1, pads=(2, 2, 2, 2)),
        pool(72, 6, 7, 2, 2),
    ]
    if op == "avg_pool":
        shapes += [
            pool(9, 8, 9, 3, 2, pads=(1, 1, 1, 1), count_include_pad=1),
            pool(16, 7, 7, 3, 2, pads=(0, 1, 1, 0), count_include_pad=1, overhang=1),
        ]
    return shapes


def _plain(op: str) -> list[Shape]:
    return [Shape(op, c, h, w, c, h, w) for c, h, w in DIMS]


def _concat_edges() -> list[Shape]:
    shapes = []
    for axis, parts in [
        (0, (3, 5)), (0, (16, 16)), (0, (32, 16, 8, 5)), (0, (8, 24, 1)), (0, (64,)), (0, (16, 3)),
        (1, (1, 4)), (1, (5, 2, 3)), (2, (1, 1)), (2, (7, 3, 2)),
    ]:  # fmt: skip
        for rest in ((4, 5), (1, 1)) if axis == 0 else ((17, 5), (8, 3)):
            dims = list(rest)
            dims.insert(axis, sum(parts))
            first = [*dims[:axis], parts[0], *dims[axis + 1 :]]
            shapes.append(Shape("concat", *first, *dims, axis=axis, parts=parts))
    return shapes


def slice_shape(
    dims: tuple[int, int, int], start: tuple[int, int, int], step: tuple[int, int, int], out: tuple[int, int, int]
) -> Shape:
    """A slice of `out` elements per axis; the last index of each axis must lie inside `dims`."""
    for extent, first, stride, count in zip(dims, start, step, out, strict=True):
        if not (0 <= first < extent and 0 <= first + (count - 1) * stride < extent):
            raise ValueError(f"slice {start} {step} {out} leaves {dims}")
    return Shape("slice", *dims, *out, start=start, step=step)


def _slice_edges() -> list[Shape]:
    return [
        slice_shape((3, 5, 7), (0, 0, 0), (1, 1, 1), (3, 5, 7)),
        slice_shape((40, 4, 5), (16, 0, 0), (1, 1, 1), (16, 4, 5)),
        slice_shape((40, 4, 5), (8, 1, 2), (1, 1, 1), (19, 2, 3)),
        slice_shape((17, 9, 8), (3, 1, 1), (2, 2, 3), (6, 4, 2)),
        slice_shape((16, 6, 6), (0, 5, 5), (1, -1, -2), (16, 6, 3)),
        slice_shape((9, 3, 3), (8, 0, 0), (-1, 1, 1), (9, 3, 3)),
        slice_shape((33, 1, 1), (32, 0, 0), (1, 1, 1), (1, 1, 1)),
        slice_shape((24, 7, 7), (0, 0, 1), (1, 1, 2), (24, 7, 3)),
    ]


def _pad_edges() -> list[Shape]:
    def pad(dims: tuple[int, int, int], start: tuple[int, int, int], after: tuple[int, int, int]) -> Shape:
        c, h, w = (d + s + a for d, s, a in zip(dims, start, after, strict=True))
        return Shape("pad", *dims, c, h, w, start=start)

    return [
        pad((3, 5, 7), (0, 1, 1), (0, 1, 1)),
        pad((16, 4, 4), (0, 2, 0), (0, 0, 3)),
        pad((17, 3, 2), (0, 0, 0), (10, 0, 0)),
        pad((8, 3, 3), (16, 1, 1), (3, 1, 1)),
        pad((20, 2, 3), (5, 0, 1), (1, 1, 0)),
        pad((1, 1, 1), (0, 0, 0), (0, 0, 0)),
        pad((12, 2, 2), (8, 0, 0), (0, 0, 0)),
    ]


def _permute_edges() -> list[Shape]:
    shapes = []
    for dims in ((3, 5, 7), (17, 18, 19), (16, 1, 33), (1, 1, 1)):
        for perm in itertools.permutations(range(3)):
            m, oh, ow = (dims[axis] for axis in perm)
            shapes.append(Shape("permute", *dims, m, oh, ow, perm=(perm[0], perm[1], perm[2])))
    return shapes


def _upsample_edges() -> list[Shape]:
    factors = ((2, 2), (1, 3), (3, 1), (2, 2), (4, 4), (1, 1), (2, 3), (2, 2), (3, 2))
    return [Shape("upsample", c, h, w, c, h * fh, w * fw) for (c, h, w), (fh, fw) in zip(DIMS, factors, strict=True)]


def _lrn_edges() -> list[Shape]:
    return [Shape("lrn", c, h, w, c, h, w, kh=size) for c, h, w in DIMS for size in (1, 4, 5)] + [
        Shape("lrn", 40, 3, 19, 40, 3, 19, kh=21),
        Shape("lrn", 20, 2, 2, 20, 2, 2, kh=41),
    ]


_EDGES: dict[str, Callable[[], list[Shape]]] = {
    "conv": _conv_edges,
    "dense": _dense_edges,
    "max_pool": lambda: _pool_edges("max_pool"),
    "avg_pool": lambda: _pool_edges("avg_pool"),
    "softmax": lambda: [Shape("softmax", c, h, w, c, h, w, axis=axis) for c, h, w in DIMS for axis in range(3)],
    "concat": _concat_edges,
    "slice": _slice_edges,
    "pad": _pad_edges,
    "permute": _permute_edges,
    "upsample": _upsample_edges,
    "lrn": _lrn_edges,
}


def edge_shapes(op: str) -> list[Shape]:
    """The fixed list of an operator's shapes: small, odd, ragged, and everything a family may refuse."""
    return _EDGES[op]() if op in _EDGES else _plain(op)


def operands(shape: Shape, seed: int) -> Operands:
    """Random float32 operands of one call, the same for the same seed; clamps and parameters alternate with it."""
    rng = np.random.default_rng(seed)

    def normal(*dims: int) -> Array:
        return rng.standard_normal(dims).astype(np.float32)

    inputs = [normal(*shape.input_dims(port)) for port in range(shape.n_in)]
    weights = normal(weight_elems(shape)) if weight_elems(shape) else None
    bias = normal(bias_elems(shape)) if bias_elems(shape) else None
    if shape.op in ("log", "sqrt"):
        inputs = [np.abs(x) + np.float32(0.01) for x in inputs]
    if shape.op == "div":
        inputs[1] = np.sign(inputs[1]) * (np.abs(inputs[1]) + np.float32(0.1))
    return Operands(_attrs(shape.op, seed), tuple(inputs), weights, bias)


def _attrs(op: str, seed: int) -> Attrs:
    """Parameters of an operator. All are exact in float32, so C and the reference compute with the same numbers."""
    lo, hi = ((-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (0.25, 1.5), (-1.0, -0.125))[seed % 5]
    if op == "lrn":
        return Attrs(alpha=0.5, beta=(0.75, 0.5, 1.0)[seed % 3], gamma=(1.0, 2.0)[seed % 2])
    if op == "hard_sigmoid":
        return Attrs(alpha=0.25, beta=0.5)
    if op in ("leaky_relu", "elu", "pad"):
        return Attrs(alpha=(0.125, 1.5, -0.5)[seed % 3])
    return Attrs(lo=lo, hi=hi) if op in _CLAMPED else Attrs()


@st.composite
def conv_shapes(draw: st.DrawFn, op: str = "conv") -> Shape:
    """Convolution or pooling shapes with any stride, padding, dilation and group count that gives an output."""
    conv = op == "conv"
    group = draw(st.sampled_from((1, 1, 1, 2, 3, 8, 17))) if conv else 1
    channels = st.sampled_from(CHANNELS if group == 1 else (1, 1, 2, 3, 8))
    c = group * draw(channels)
    m = group * draw(channels) if conv else c
    kernel = draw(st.sampled_from(((1, 1), (3, 3), (3, 3), (5, 5), (1, 3), (3, 1), (2, 2), (7, 7), (4, 3))))
    stride = draw(st.sampled_from(((1, 1), (1, 1), (2, 2), (1, 2), (3, 2))))
    dilation = draw(st.sampled_from(((1, 1), (1, 1), (1, 1), (2, 2), (1, 3))))
    # A pooling window must hold at least one element of the image: no pad as long as the kernel, and no pad at all
    # for spread taps, which could fall on both sides of a narrow image.
    longest = [0 if not conv and d > 1 else (k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    t, left, b, r = (draw(st.integers(0, limit)) for limit in longest * 2)
    h = max(draw(st.sampled_from(EXTENTS)), (kernel[0] - 1) * dilation[0] + 1 - t - b)
    w = max(draw(st.sampled_from(EXTENTS)), (kernel[1] - 1) * dilation[1] + 1 - left - r)
    include = draw(st.integers(0, 1)) if op == "avg_pool" else 0
    return window_shape(
        op, c, h, w, m=m, kernel=kernel, stride=stride, pads=(t, left, b, r), dilation=dilation, group=group,
        count_include_pad=include,
    )  # fmt: skip


@st.composite
def plain_shapes(draw: st.DrawFn, op: str) -> Shape:
    """Shapes of operators whose output has the input's dims, and of `dense`."""
    c, h, w = draw(st.sampled_from(CHANNELS)), draw(st.sampled_from(EXTENTS)), draw(st.sampled_from(EXTENTS))
    if op == "dense":
        return Shape(op, c, h, w, draw(st.sampled_from(CHANNELS)), 1, 1)
    if op == "softmax":
        return Shape(op, c, h, w, c, h, w, axis=draw(st.integers(0, 2)))
    if op == "lrn":
        return Shape(op, c, h, w, c, h, w, kh=draw(st.integers(1, 9)))
    return Shape(op, c, h, w, c, h, w)


@st.composite
def slice_shapes(draw: st.DrawFn) -> Shape:
    """Slices with any start and any step, also backwards, that stay inside."""
    axes = []
    for extents in (CHANNELS, EXTENTS, EXTENTS):
        extent = draw(st.sampled_from(extents))
        first = draw(st.integers(0, extent - 1))
        step = draw(st.sampled_from((1, 1, 1, 2, 3, -1, -2)))
        longest = ((extent - 1 - first) if step > 0 else first) // abs(step) + 1
        axes.append((extent, first, step, draw(st.integers(1, longest))))
    dims, start, step3, out = zip(*axes, strict=True)
    return slice_shape(dims, start, step3, out)


def shapes(op: str) -> st.SearchStrategy[Shape]:
    """Shapes of an operator for property tests; operators with structure of their own draw from the fixed list."""
    if op not in OPS:
        raise ValueError(f"no operator {op!r}")
    if op in ("conv", "max_pool", "avg_pool"):
        return conv_shapes(op)
    if op == "slice":
        return slice_shapes()
    if op in ("dense", "softmax", "lrn", "scale", "prelu", "const_add", "const_mul", "convert") or op in (
        BINARY_OPS | UNARY_OPS
    ):
        return plain_shapes(op)
    return st.sampled_from(edge_shapes(op))
