"""Importers of operators that move, cut, join or repeat data without computing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from app.graph.builder import Builder, Unsupported, place_of
from app.graph.importers import Call, axis_in, importer
from app.graph.ir import Tensor
from app.graph.resampling import nearest_indices
from kernels.spec import Attrs

MAX_GATHERED_RUNS = 64
"""A Gather becomes a concat of this many slices at most."""


def reshaped_dims(dims: Sequence[int], wanted: Sequence[int], *, allow_zero: bool) -> tuple[int, ...]:
    """ONNX Reshape's target dims with 0 (copy, unless `allow_zero`) and -1 (what is left) filled in."""
    target = [dims[i] if n == 0 and not allow_zero and i < len(dims) else n for i, n in enumerate(wanted)]
    if target.count(-1) > 1 or min(target, default=1) < -1:
        raise Unsupported(f"cannot reshape {list(dims)} to {list(wanted)}")
    if -1 in target:
        known = -math.prod(target)
        if known == 0 or math.prod(dims) % known:
            raise Unsupported(f"cannot reshape {list(dims)} to {list(wanted)}")
        target[target.index(-1)] = math.prod(dims) // known
    if math.prod(target) != math.prod(dims):
        raise Unsupported(f"cannot reshape {list(dims)} to {list(wanted)}")
    return tuple(target)


@importer("Reshape")
def reshape(call: Call, b: Builder) -> Tensor:
    """Row-major reinterpretation."""
    x, wanted = call.activation(), call.integers(1, "shape", "shape")
    if wanted is None:
        raise Unsupported("shape is missing")
    return b.reshape(x, reshaped_dims(x.dims, wanted, allow_zero=bool(call.attribute("allowzero", 0))))


@importer("Flatten")
def flatten(call: Call, b: Builder) -> Tensor:
    """To two axes."""
    x = call.activation()
    axis = int(call.attribute("axis", 1))
    if not -len(x.dims) <= axis <= len(x.dims):
        raise Unsupported(f"axis {axis} is outside a tensor of {len(x.dims)} axes")
    axis += len(x.dims) if axis < 0 else 0
    return b.reshape(x, (math.prod(x.dims[:axis]), math.prod(x.dims[axis:])))


@importer("Squeeze")
def squeeze(call: Call, b: Builder) -> Tensor:
    """Drop axes of extent 1."""
    x = call.activation()
    listed = call.integers(1, "axes", "axes")
    axes = {axis_in(axis, len(x.dims)) for axis in listed} if listed is not None else _unit_axes(x)
    if any(x.dims[axis] != 1 for axis in axes):
        raise Unsupported(f"squeezes axes {sorted(axes)} of {list(x.dims)}")
    return b.reshape(x, [extent for axis, extent in enumerate(x.dims) if axis not in axes])


def _unit_axes(x: Tensor) -> set[int]:
    return {axis for axis, extent in enumerate(x.dims) if extent == 1}


@importer("Unsqueeze")
def unsqueeze(call: Call, b: Builder) -> Tensor:
    """Insert axes of extent 1."""
    x = call.activation()
    listed = call.integers(1, "axes", "axes") or []
    rank = len(x.dims) + len(listed)
    axes = {axis_in(axis, rank) for axis in listed}
    if len(axes) != len(listed):
        raise Unsupported(f"axes {listed} repeat")
    rest = iter(x.dims)
    return b.reshape(x, [1 if axis in axes else next(rest) for axis in range(rank)])


@importer("Transpose")
def transpose(call: Call, b: Builder) -> Tensor:
    """A view where it is a change of layout."""
    x = call.activation()
    perm = [int(axis) for axis in call.attribute("perm", range(len(x.dims))[::-1])]
    if sorted(perm) != list(range(len(x.dims))):
        raise Unsupported(f"perm {perm} is no permutation of {len(x.dims)} axes")
    return b.transpose(x, perm)


@importer("DepthToSpace", "SpaceToDepth")
def depth_to_space(call: Call, b: Builder) -> Tensor:
    """Reshape, transpose, reshape, as their ONNX definitions say."""
    x, n = call.activation(), int(call.attribute("blocksize", 0))
    if len(x.dims) != 4 or n < 1:
        raise Unsupported(f"input {list(x.dims)}, blocksize {n}")
    batch, c, h, w = x.dims
    if call.node.op_type == "SpaceToDepth":
        if h % n or w % n:
            raise Unsupported(f"blocksize {n} does not divide {list(x.dims)}")
        y = b.transpose(b.reshape(x, (batch, c, h // n, n, w // n, n)), (0, 3, 5, 1, 2, 4))
        return b.reshape(y, (batch, c * n * n, h // n, w // n))
    if c % (n * n):
        raise Unsupported(f"blocksize {n} does not divide {list(x.dims)}")
    if call.attribute("mode", "DCR") == "DCR":
        y = b.transpose(b.reshape(x, (batch, n, n, c // n // n, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        y = b.transpose(b.reshape(x, (batch, c // n // n, n, n, h, w)), (0, 1, 4, 2, 5, 3))
    return b.reshape(y, (batch, c // n // n, h * n, w * n))


@importer("Concat")
def concat(call: Call, b: Builder) -> Tensor:
    """Along any axis."""
    parts = [call.activation(i) for i in range(len(call.inputs))]
    return join(b, parts, axis_in(int(call.attribute("axis", 1)), len(parts[0].dims)))


def join(b: Builder, parts: Sequence[Tensor], axis: int) -> Tensor:
    """Concatenation along ONNX `axis`."""
    first = parts[0].dims
    if any(part.dims[:axis] != first[:axis] or part.dims[axis + 1 :] != first[axis + 1 :] for part in parts):
        raise Unsupported(f"cannot join {', '.join(str(list(part.dims)) for part in parts)} along axis {axis}")
    dims = (*first[:axis], sum(part.dims[axis] for part in parts), *first[axis + 1 :])
    place = place_of(dims, axis)
    if place is not None and all(place_of(part.dims, axis) == place for part in parts):
        return b.emit("concat", parts, dims, axis=place, parts=tuple(part.chw[place] for part in parts))
    blocks = [b.blocks(part, axis, axis + 1) for part in parts]
    outer, total, inner = math.prod(dims[:axis]), dims[axis], math.prod(dims[axis + 1 :])
    return b.reshape(b.emit("concat", blocks, (1, outer, total, inner), axis=1, parts=tuple(x.h for x in blocks)), dims)


def cut(b: Builder, x: Tensor, ranges: dict[int, range]) -> Tensor:
    """The sub-tensor of the given indices along ONNX axes."""
    starts, steps, dims = [0, 0, 0], [1, 1, 1], list(x.dims)
    later: dict[int, range] = {}
    for axis, kept in ranges.items():
        if not kept:
            raise Unsupported(f"an empty slice of axis {axis}")
        place = place_of(x.dims, axis)
        if place is None:
            later[axis] = kept
        elif kept != range(x.dims[axis]):
            starts[place], steps[place], dims[axis] = kept.start, kept.step if len(kept) > 1 else 1, len(kept)
    if (starts, steps, dims) != ([0, 0, 0], [1, 1, 1], list(x.dims)):
        start, step = tuple(starts), tuple(steps)
        # The leading axis may fall to extent 1 and be dropped: cut in (c, h, w) and name the dims after.
        cut_chw = [len(ranges[axis]) if axis in ranges else extent for axis, extent in _placed(x)]
        x = b.reshape(b.emit("slice", [x], (1, *cut_chw), start=start, step=step), dims)
    for axis, kept in later.items():
        if kept == range(x.dims[axis]):
            continue
        blocks = b.blocks(x, axis, axis + 1)
        target = (1, blocks.c, len(kept), blocks.w)
        y = b.emit("slice", [blocks], target, start=(0, kept.start, 0), step=(1, kept.step if len(kept) > 1 else 1, 1))
        x = b.reshape(y, (*x.dims[:axis], len(kept), *x.dims[axis + 1 :]))
    return x


def _placed(x: Tensor) -> list[tuple[int, int]]:
    """For c, h, w: the ONNX axis that is it (-1 if none is) and the extent."""
    by_place = {place_of(x.dims, axis): axis for axis in range(len(x.dims))}
    return [(by_place.get(place, -1), x.chw[place]) for place in range(3)]


@importer("Slice")
def slice_(call: Call, b: Builder) -> Tensor:
    """Attributes (opset 1) or inputs (opset 10); negative indices and steps."""
    x = call.activation()
    starts, ends = call.integers(1, "starts", "starts"), call.integers(2, "ends", "ends")
    if starts is None or ends is None or len(starts) != len(ends):
        raise Unsupported("starts and ends do not match")
    axes = call.integers(3, "axes", "axes")
    axes = list(range(len(starts))) if axes is None else axes
    steps = call.integers(4, "steps", "steps") or [1] * len(starts)
    if not len(axes) == len(steps) == len(starts) or 0 in steps:
        raise Unsupported("starts, ends, axes and steps do not match")
    ranges = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis_in(axis, len(x.dims))
        ranges[axis] = range(x.dims[axis])[slice(start, end, step)]
    return cut(b, x, ranges)


@importer("Split")
def split(call: Call, b: Builder) -> list[Tensor]:
    """As slices."""
    x = call.activation()
    axis = axis_in(int(call.attribute("axis", 0)), len(x.dims))
    n, extent = len(call.node.outputs), x.dims[axis]
    sizes = call.integers(1, "split", "split")
    if sizes is None:
        chunk = -(-extent // n)
        sizes = [min(chunk, extent - i * chunk) for i in range(n)]
    if len(sizes) != n or sum(sizes) != extent or min(sizes) < 1:
        raise Unsupported(f"cannot split extent {extent} into {sizes}")
    ends = np.cumsum(sizes)
    return [cut(b, x, {axis: range(int(end - size), int(end))}) for end, size in zip(ends, sizes, strict=True)]


@importer("Gather")
def gather(call: Call, b: Builder) -> Tensor:
    """Constant indices, as slices."""
    x, indices = call.activation(), call.constant(1, "indices")
    if indices is None or not np.issubdtype(indices.dtype, np.integer):
        raise Unsupported("indices must be constant integers")
    axis = axis_in(int(call.attribute("axis", 0)), len(x.dims))
    extent = x.dims[axis]
    flat = [int(i) for i in indices.reshape(-1)]
    if not flat or not all(-extent <= i < extent for i in flat):
        raise Unsupported(f"indices reach outside extent {extent}")
    y = pick(b, x, axis, [i % extent for i in flat])
    return b.reshape(y, (*x.dims[:axis], *indices.shape, *x.dims[axis + 1 :]))


def pick(b: Builder, x: Tensor, axis: int, indices: Sequence[int]) -> Tensor:
    """Indices of ONNX `axis` in any order, as few slices joined."""
    runs: list[list[int]] = []
    for i in indices:
        run = runs[-1] if runs else []
        if (len(run) == 1 and i != run[0]) or (len(run) > 1 and i - run[-1] == run[-1] - run[-2]):
            run.append(i)
        else:
            runs.append([i])
    if len(runs) > MAX_GATHERED_RUNS:
        raise Unsupported(f"indices need {len(runs)} slices; {MAX_GATHERED_RUNS} are supported")
    steps = [run[1] - run[0] if len(run) > 1 else 1 for run in runs]
    parts = [
        cut(b, x, {axis: range(run[0], run[-1] + (1 if step > 0 else -1), step)})
        for run, step in zip(runs, steps, strict=True)
    ]
    return parts[0] if len(parts) == 1 else join(b, parts, axis)


@importer("Pad")
def pad(call: Call, b: Builder) -> Tensor:
    """Constant mode; negative pads cut."""
    x = call.activation()
    mode = call.attribute("mode", "constant")
    if mode != "constant":
        raise Unsupported(f"mode {mode}; only constant is supported")
    rank = len(x.dims)
    pads = call.integers(1, "pads", "pads")
    axes = [axis_in(axis, rank) for axis in call.integers(3, "axes", "axes") or range(rank)]
    if pads is None or len(pads) != 2 * len(axes):
        raise Unsupported(f"pads {pads} do not fit {len(axes)} axes")
    value = call.number(2, "value", float(call.attribute("value", 0.0)))
    before = dict(zip(axes, pads[: len(axes)], strict=True))
    after = dict(zip(axes, pads[len(axes) :], strict=True))
    x = cut(b, x, {axis: range(max(0, -before[axis]), x.dims[axis] + min(0, after[axis])) for axis in axes})
    for axis in axes:
        before[axis], after[axis] = max(0, before[axis]), max(0, after[axis])
    direct = {place_of(x.dims, axis): axis for axis in axes if place_of(x.dims, axis) is not None}
    grown = [axis for axis in axes if before[axis] or after[axis]]
    if not grown:
        return x
    if not math.isfinite(value):
        raise Unsupported(f"pads with {value}")
    attrs = Attrs(alpha=value)
    start, chw, dims = [0, 0, 0], list(x.chw), list(x.dims)
    for place, axis in direct.items():
        if place is not None:
            start[place], chw[place] = before[axis], x.chw[place] + before[axis] + after[axis]
            dims[axis] += before[axis] + after[axis]
    if dims != list(x.dims):
        x = b.reshape(b.emit("pad", [x], (1, *chw), attrs=attrs, start=tuple(start)), dims)
    for axis in grown:
        if axis not in direct.values():
            blocks = b.blocks(x, axis, axis + 1)
            extent = blocks.h + before[axis] + after[axis]
            y = b.emit("pad", [blocks], (1, blocks.c, extent, blocks.w), attrs=attrs, start=(0, before[axis], 0))
            x = b.reshape(y, (*x.dims[:axis], extent, *x.dims[axis + 1 :]))
    return x


@importer("Expand")
def expand(call: Call, b: Builder) -> Tensor:
    """Numpy broadcasting to a constant shape."""
    x, wanted = call.activation(), call.integers(1, "shape", "shape")
    try:
        return b.expand(x, np.broadcast_shapes(x.dims, tuple(wanted or ())))
    except ValueError:
        raise Unsupported(f"cannot broadcast {list(x.dims)} to {wanted}") from None


@importer("Tile")
def tile(call: Call, b: Builder) -> Tensor:
    """Repeat whole axes."""
    x, repeats = call.activation(), call.integers(1, "repeats", "repeats")
    if repeats is None or len(repeats) != len(x.dims) or min(repeats, default=1) < 1:
        raise Unsupported(f"repeats {repeats} do not fit {list(x.dims)}")
    for axis, times in enumerate(repeats):
        if times > 1:
            dims = (*x.dims[:axis], x.dims[axis] * times, *x.dims[axis + 1 :])
            outer = math.prod(x.dims[:axis])
            blocks = b.reshape(x, (1, outer, 1, math.prod(x.dims[axis:])))
            x = b.reshape(b.repeat(blocks, 2, times), dims)
    return x


@importer("Resize", "Upsample")
def resize(call: Call, b: Builder) -> Tensor:
    """Nearest neighbour where it repeats or drops whole rows and columns."""
    x = call.activation()
    for axis, indices in enumerate(nearest_indices(call, b, x.dims)):
        extent = x.dims[axis]
        if indices == list(range(extent)):
            continue
        times = len(indices) // extent
        if times and indices == [i for i in range(extent) for _ in range(times)]:
            x = b.repeat(x, axis, times)
        else:
            x = pick(b, x, axis, indices)
    return x
