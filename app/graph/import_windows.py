"""Sliding windows: the geometry Conv and pooling share, and the importers of pooling and reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.graph.builder import Builder, Unsupported
from app.graph.importers import Call, axis_in, importer
from app.graph.ir import Tensor
from app.graph.windows import misses_the_image


def one_image(x: Tensor, ranks: tuple[int, ...]) -> None:
    """Refuse activations that are not one image of 1-D or 2-D positions."""
    if len(x.dims) not in ranks:
        raise Unsupported(f"input has {len(x.dims)} axes; {' or '.join(str(r) for r in ranks)} are supported")
    if x.dims[0] != 1:
        raise Unsupported(f"batch is {x.dims[0]}; only batch 1 is supported")


@dataclass(frozen=True)
class Window:
    """Kernel, stride, dilation and padding per spatial axis (one or two)."""

    extents: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def outputs(self, *, ceil: bool) -> tuple[int, ...]:
        """Output extents; with `ceil` a last window may overhang, if it starts on the image or its leading pad."""
        found = []
        for i, extent in enumerate(self.extents):
            room = extent + self.before[i] + self.after[i] - (self.kernel[i] - 1) * self.dilations[i] - 1
            if room < 0:
                raise Unsupported(f"the window does not fit: input {list(self.extents)}, kernel {list(self.kernel)}")
            n = (-(-room // self.strides[i]) if ceil else room // self.strides[i]) + 1
            if ceil and (n - 1) * self.strides[i] >= extent + self.before[i]:
                n -= 1
            found.append(n)
        return tuple(found)

    def misses_the_image(self, outputs: Sequence[int]) -> bool:
        """Whether all taps of some window fall on padding."""
        axes = zip(self.extents, outputs, self.kernel, self.strides, self.dilations, self.before, strict=True)
        return any(
            misses_the_image(extent, count, kernel=kernel, stride=stride, dilation=dilation, before=before)
            for extent, count, kernel, stride, dilation, before in axes
        )

    def fields(self) -> dict[str, Any]:
        """As fields of kernels.spec.Shape; a single axis is w."""
        (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w) = (
            values if len(values) == 2 else (1, *values) for values in (self.kernel, self.strides, self.dilations)
        )
        (pad_t, pad_l), (pad_b, pad_r) = (
            values if len(values) == 2 else (0, *values) for values in (self.before, self.after)
        )
        return {
            "kh": kh,
            "kw": kw,
            "stride_h": stride_h,
            "stride_w": stride_w,
            "dilation_h": dilation_h,
            "dilation_w": dilation_w,
            "pad_t": pad_t,
            "pad_l": pad_l,
            "pad_b": pad_b,
            "pad_r": pad_r,
        }


def window_of(call: Call, extents: Sequence[int], kernel: Sequence[int] | None = None) -> Window:
    """The window of a Conv (whose kernel the weights give) or pooling node over an image of `extents`."""
    n = len(extents)
    kernel_shape = call.ints("kernel_shape", kernel or [0] * n, minimum=1)
    if kernel is not None and kernel_shape != list(kernel):
        raise Unsupported(f"kernel_shape is {kernel_shape}, the weights are {list(kernel)}")
    strides, dilations = call.ints("strides", [1] * n, minimum=1), call.ints("dilations", [1] * n, minimum=1)
    pads = call.ints("pads", [0] * 2 * n)
    before, after = pads[:n], pads[n:]
    auto_pad = call.attribute("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        for i, extent in enumerate(extents):
            reach = (-(-extent // strides[i]) - 1) * strides[i] + (kernel_shape[i] - 1) * dilations[i] + 1
            total = max(0, reach - extent)
            small, large = total // 2, total - total // 2
            before[i], after[i] = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    elif auto_pad == "VALID":
        before, after = [0] * n, [0] * n
    elif auto_pad != "NOTSET":
        raise Unsupported(f"auto_pad is {auto_pad}")
    return Window(tuple(extents), tuple(kernel_shape), tuple(strides), tuple(dilations), tuple(before), tuple(after))


@importer("MaxPool", "AveragePool")
def pool(call: Call, b: Builder) -> Tensor:
    """Max and average pooling; 1-D kernels as kh = 1."""
    x = call.activation()
    one_image(x, (3, 4))
    call.refuse_output(1, "the indices output")
    window = window_of(call, x.dims[2:])
    for i, extent in enumerate(window.kernel):
        if max(window.before[i], window.after[i]) >= extent:  # onnxruntime refuses it too
            raise Unsupported(f"padding {[*window.before, *window.after]} is not smaller than the kernel")
    outputs = window.outputs(ceil=bool(call.attribute("ceil_mode", 0)))
    dims = (*x.dims[:2], *outputs)
    mean = call.node.op_type == "AveragePool"
    padded = any(window.before) or any(window.after)
    # Without padding the two ways of counting agree; one spelling gives one cost key.
    include = int(mean and padded and bool(call.attribute("count_include_pad", 0)))
    if not include and window.misses_the_image(outputs):  # onnxruntime makes up -3.4e38 or 0 there
        raise Unsupported("a window lies wholly on padding: there is nothing to pool")
    if not mean:
        return b.emit("max_pool", [x], dims, **window.fields())
    return b.emit("avg_pool", [x], dims, count_include_pad=include, **window.fields())


@importer("GlobalAveragePool", "GlobalMaxPool")
def global_pool(call: Call, b: Builder) -> Tensor:
    """Pooling over all positions."""
    x = call.activation()
    one_image(x, (3, 4))
    op = "avg_pool" if call.node.op_type == "GlobalAveragePool" else "max_pool"
    return b.emit(op, [x], (*x.dims[:2], *(1 for _ in x.dims[2:])), kh=x.h, kw=x.w)


@importer("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceSumSquare")
def reduce(call: Call, b: Builder) -> Tensor:
    """Reductions over any axes, as pooling over blocks of neighbouring axes."""
    x = call.activation()
    rank = len(x.dims)
    listed = call.integers(1, "axes", "axes")
    if not listed and call.attribute("noop_with_empty_axes", 0):
        return x
    axes = sorted({axis_in(axis, rank) for axis in listed or range(rank)})
    kind = call.node.op_type
    if kind == "ReduceSumSquare":
        x = b.binary("mul", x, x)
    if kind == "ReduceMin":
        y = b.elementwise("neg", reduce_axes(b, "max_pool", b.elementwise("neg", x), axes))
    else:
        y = reduce_axes(b, "max_pool" if kind == "ReduceMax" else "avg_pool", x, axes)
    if kind in ("ReduceSum", "ReduceSumSquare"):
        y = b.scale(y, call.label, float(math.prod(x.dims[axis] for axis in axes)), 0.0)
    if call.attribute("keepdims", 1):
        return y
    return b.reshape(y, [extent for axis, extent in enumerate(y.dims) if axis not in axes])


def reduce_axes(b: Builder, op: str, x: Tensor, axes: Sequence[int]) -> Tensor:
    """`op` (max_pool or avg_pool) over ONNX `axes`, which keep extent 1."""
    for first, end in _runs(sorted(axes), x.dims):
        dims = tuple(1 if first <= axis < end else extent for axis, extent in enumerate(x.dims))
        if math.prod(x.dims[first:end]) == 1:
            continue
        if first >= 2 and len(x.dims) in (3, 4) and x.dims[0] == 1 and end == len(x.dims):
            kernel_h = x.h if first == 2 else 1
            x = b.emit(op, [x], dims, kh=kernel_h, kw=x.w)
            continue
        blocks = b.blocks(x, first, end)
        x = b.reshape(b.emit(op, [blocks], (1, blocks.c, 1, blocks.w), kh=blocks.h), dims)
    return x


def _runs(axes: Sequence[int], dims: Sequence[int]) -> list[tuple[int, int]]:
    """Maximal runs [first, end) of neighbouring `axes`; axes of extent 1 in between do not part them."""
    runs: list[tuple[int, int]] = []
    for axis in axes:
        if runs and math.prod(dims[runs[-1][1] : axis]) == 1:
            runs[-1] = (runs[-1][0], axis + 1)
        else:
            runs.append((axis, axis + 1))
    return runs
