"""Sharing one call among threads: each part is the same routine on a smaller shape, so kernels know no threads.

Pure arithmetic, and the only place of it: bundles and the measuring program get the parts as numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kernels.spec import BINARY_OPS, F32_BYTES, UNARY_OPS, Layout, Primitive, Shape

MOST_THREADS = 64
LINE_BYTES = 64
"""A part's workspace begins at a multiple of this from the call's, so that two threads never write one cache line."""

LEAST_MACS = 1 << 18
LEAST_ELEMS = 1 << 14
"""Below so many multiply-accumulates, for operators without so many floats in and out, a call takes a few
microseconds: no more than waking and awaiting another thread may cost. It then runs on the caller alone."""

_POOLS = frozenset({"max_pool", "avg_pool"})
_CONSTANTS = frozenset({"const_add", "const_mul"})
_BY_CHANNEL = _POOLS | _CONSTANTS | BINARY_OPS | UNARY_OPS | {"scale", "prelu"}
_BY_ROW = _BY_CHANNEL | {"conv", "lrn", "upsample", "convert"}
_HWC_CHANNELS = 16  # a channel range of pixels begins at a whole vector

# What speaks against a kind of split, from measurements of both (docs/decisions/014-threads.md).
_WEIGHTS_PIXELS = 8
"""Every range of rows reads all weights, which costs as much as computing so many pixels or tiles with them."""
_REPEATS_STAGE = 0.8
"""A convolution with a workspace (transformed tiles, patches) repeats what it puts there for every range of outputs."""
_READS_ALL = 0.95
"""Every range of outputs reads the whole input, a part of which the other threads have in their caches."""


@dataclass(frozen=True)
class Part:
    """One thread's share of a call: the routine on `shape`.

    The other fields are floats from the call's own operands to the part's; `x` has one per activation input.
    """

    shape: Shape
    x: tuple[int, ...]
    weights: int
    bias: int
    y: int
    workspace: int
    title: str  # for readers: "rows 0 to 27"


def split(primitive: Primitive, shape: Shape, threads: int, *, always: bool = False) -> tuple[Part, ...]:
    """The parts of a call on up to `threads` threads, in order: disjoint outputs that together are the call's.

    A single part, the call itself, where the routine cannot be split or the work is too small to share; `always`
    shares it however small it is.
    """
    whole = Part(shape, (0,) * shape.n_in, 0, 0, 0, 0, "all of it")
    if not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"{threads} threads; 1 to {MOST_THREADS} are possible")
    if threads == 1 or not (always or _worth_sharing(shape)):
        return (whole,)
    kinds = [_by_rows, _by_channels]
    if shape.op in _BY_CHANNEL:
        kinds.reverse()  # where both are as good: planes are whole, rows of planes are many pieces
    best = 0.0
    parts: tuple[Part, ...] = (whole,)
    for kind in kinds:
        found = kind(primitive, shape, threads)
        promise = _promise(primitive, shape, found)
        if promise > best:
            best, parts = promise, found
    return _with_workspaces(primitive, parts)


def workspace_bytes(primitive: Primitive, shape: Shape, threads: int) -> int:
    """Scratch bytes a call on `threads` threads writes, exactly: those of its parts, each beginning a cache line."""
    return parts_workspace_bytes(primitive, split(primitive, shape, threads))


@functools.cache
def on_threads(primitive: Primitive, threads: int) -> Primitive:
    """The primitive as `threads` threads run it: the same, but for the workspace its calls need."""
    if threads == 1:
        return primitive
    own = functools.lru_cache(maxsize=None)(lambda s: workspace_bytes(primitive, s, threads) // F32_BYTES)
    return dataclasses.replace(primitive, workspace_elems=own)


def parts_workspace_bytes(primitive: Primitive, parts: Sequence[Part]) -> int:
    """Scratch bytes these parts of a call write side by side, exactly."""
    ends = ((part.workspace, primitive.workspace_elems(part.shape)) for part in parts)
    return F32_BYTES * max((at + elems for at, elems in ends if elems), default=0)


def _worth_sharing(s: Shape) -> bool:
    elems = s.c * s.h * s.w + s.m * s.oh * s.ow
    return s.macs >= LEAST_MACS or (s.op not in ("conv", "dense") and elems >= LEAST_ELEMS)


def _promise(primitive: Primitive, s: Shape, parts: tuple[Part, ...]) -> float:
    """How many times faster than alone the slowest of the parts promises to be; 0 for no parts."""
    if len(parts) < 2:
        return 0.0
    grain = primitive.row_grain
    if parts[0].shape.m == s.m:  # rows
        rows, columns = -(-s.oh // grain), -(-s.ow // grain)
        weights = _WEIGHTS_PIXELS / (rows * columns) if s.op == "conv" else 0.0
        return (1 + weights) / (max(-(-part.shape.oh // grain) for part in parts) / rows + weights)
    repeats = 1.0
    if s.op == "conv" and s.group == 1:
        repeats = _REPEATS_STAGE if primitive.workspace_elems(s) else _READS_ALL
    return repeats * s.m / max(part.shape.m for part in parts)


def _with_workspaces(primitive: Primitive, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    line = LINE_BYTES // F32_BYTES
    placed, at = [], 0
    for part in parts:
        placed.append(dataclasses.replace(part, workspace=at))
        at += -(-primitive.workspace_elems(part.shape) // line) * line
    return tuple(placed)


def _accepted(primitive: Primitive, parts: Iterable[Part | None]) -> tuple[Part, ...]:
    """The parts, if there are several and the routine computes each of them."""
    found = []
    for part in parts:
        if part is None or primitive.impossible(part.shape) is not None:
            return ()
        found.append(part)
    return tuple(found) if len(found) > 1 else ()


def _ranges(cuts: list[int], end: int, parts: int) -> list[tuple[int, int]]:
    """Up to `parts` ranges between `cuts` (sorted, from 0) and `end`, the largest as small as equal shares allow."""
    edges = [0]
    for k in range(1, parts):
        ideal = end * k / parts
        later = [cut for cut in cuts if edges[-1] < cut < end]
        if not later:
            break
        edges.append(min(later, key=lambda cut: (abs(cut - ideal), cut)))
    edges.append(end)
    return list(itertools.pairwise(edges))


# Ranges of output rows.


def _by_rows(primitive: Primitive, s: Shape, threads: int) -> tuple[Part, ...]:
    if s.op not in _BY_ROW:
        return ()
    grain = s.oh // s.h if s.op == "upsample" else primitive.row_grain
    units = -(-s.oh // grain)
    count = min(threads, units)
    edges = [min(s.oh, units * k // count * grain) for k in range(count + 1)]
    return _accepted(primitive, (_rows(primitive, s, a, b) for a, b in itertools.pairwise(edges)))


def _rows(primitive: Primitive, s: Shape, a: int, b: int) -> Part | None:
    """Output rows a to b - 1; None where they see no row of the input."""
    first, end, pad_t, pad_b = _input_rows(s, a, b)
    if first >= end:
        return None
    x_pitch, y_pitch = primitive.pitches(s)
    shape = dataclasses.replace(
        s,
        h=end - first,
        oh=b - a,
        pad_t=pad_t,
        pad_b=pad_b,
        x_pitch=x_pitch if _is_apart(primitive.in_layout, s.c) else s.x_pitch,
        y_pitch=y_pitch if _is_apart(primitive.out_layout, s.m) else s.y_pitch,
    )
    x = first * s.w * _pixel(primitive.in_layout, x_pitch)
    y = a * s.ow * _pixel(primitive.out_layout, y_pitch)
    dense = first * s.w * _pixel(primitive.in_layout, s.c)
    has_dense = s.op in BINARY_OPS or s.op in _CONSTANTS
    if has_dense and _is_apart(primitive.in_layout, s.c):
        return None  # only input 0 has a pitch, but the other operand's rows would be apart as well
    return Part(
        shape,
        (x, y if s.residual else dense)[: s.n_in],
        dense if s.op in _CONSTANTS else 0,
        0,
        y,
        0,
        f"rows {a} to {b - 1}",
    )


def _input_rows(s: Shape, a: int, b: int) -> tuple[int, int, int, int]:
    """(first, end) of the input rows that output rows [a, b) see, and the padding above and below them."""
    if s.op == "upsample":
        factor = s.oh // s.h
        return a // factor, b // factor, s.pad_t, s.pad_b
    if s.op != "conv" and s.op not in _POOLS:
        return a, b, s.pad_t, s.pad_b
    top = a * s.stride_h - s.pad_t
    bottom = (b - 1) * s.stride_h - s.pad_t + (s.kh - 1) * s.dilation_h + 1
    first, end = min(max(top, 0), s.h), min(max(bottom, 0), s.h)
    # A mean that counts the declared padding must not count what lies beyond it.
    return first, end, max(0, first - top), max(0, min(bottom, s.h + s.pad_b) - end)


def _is_apart(layout: Layout, channels: int) -> bool:
    """Whether consecutive rows of all channels are not consecutive memory: there is more than one plane."""
    return layout is not Layout.HWC and channels > layout.block


def _pixel(layout: Layout, pitch: int) -> int:
    """Floats from a pixel to the next; `pitch` is that of the tensor."""
    return pitch if layout is Layout.HWC else layout.block


# Ranges of output channels.


def _by_channels(primitive: Primitive, s: Shape, threads: int) -> tuple[Part, ...]:
    ranges = _ranges(list(_cuts(primitive, s)), s.m, threads)
    return _accepted(primitive, (_channels(primitive, s, a, b) for a, b in ranges))


def _cuts(primitive: Primitive, s: Shape) -> Iterator[int]:
    """Output channels at which a range may begin: of memory, and of packed weights."""
    blocks = [layout.block for layout in (primitive.in_layout, primitive.out_layout)]
    if s.op in _BY_CHANNEL:
        if primitive.in_layout is Layout.HWC:
            # Where the rows cannot be shared: global pooling.
            yield from range(0, s.m, _HWC_CHANNELS) if s.op in _POOLS else ()
        else:
            yield from range(0, s.m, max(blocks))
        return
    if s.op not in ("conv", "dense") or primitive.packing.cuts is None:
        return
    if s.group > 1:
        outputs, inputs = s.m // s.group, s.c // s.group
        for g in range(s.group):
            if g * outputs % primitive.out_layout.block == 0 and g * inputs % primitive.in_layout.block == 0:
                yield g * outputs
    else:
        yield from (cut for cut in primitive.packing.cuts(s) if cut % primitive.out_layout.block == 0)


def _channels(primitive: Primitive, s: Shape, a: int, b: int) -> Part:
    """Output channels a to b - 1, of the input those they see."""
    x_pitch, y_pitch = primitive.pitches(s)
    shape = dataclasses.replace(s, m=b - a)
    first = 0  # input channel
    if s.op in _BY_CHANNEL:
        first, shape = a, dataclasses.replace(shape, c=b - a)
    elif s.group > 1:
        per_group = s.c // s.group
        group = (b - a) * s.group // s.m
        first, shape = a * s.group // s.m * per_group, dataclasses.replace(shape, c=group * per_group, group=group)
    if s.op != "dense":  # whose output is a vector, whatever its layout
        if primitive.out_layout is Layout.HWC:
            shape = dataclasses.replace(shape, y_pitch=y_pitch)
        if primitive.in_layout is Layout.HWC and shape.c != s.c:
            shape = dataclasses.replace(shape, x_pitch=x_pitch)
    before = _before(s, a, first)
    y = a if s.op == "dense" else _plane(primitive.out_layout, a, y_pitch)
    x = _plane(primitive.in_layout, first, x_pitch)
    second = y if s.residual else _plane(primitive.in_layout, first, primitive.in_layout.pitch(s.c, s.h, s.w))
    return Part(
        shape,
        (x, second)[: s.n_in],
        primitive.packing.elems(before) if a else 0,
        primitive.bias_packing.elems(before) if a else 0,
        y,
        0,
        f"outputs {a} to {b - 1}" if s.op in ("conv", "dense") else f"channels {a} to {b - 1}",
    )


def _before(s: Shape, a: int, first: int) -> Shape:
    """The shape of the channels before `a`, whose packed weights the part's follow; `first` is its input channel."""
    before = dataclasses.replace(s, m=a)
    if s.op in _BY_CHANNEL:
        return dataclasses.replace(before, c=a)
    return dataclasses.replace(before, c=first, group=a * s.group // s.m) if s.group > 1 else before


def _plane(layout: Layout, channel: int, pitch: int) -> int:
    """Floats from a tensor's start to the plane (in hwc, the lane) of `channel`, which begins a block."""
    return channel if layout is Layout.HWC else channel // layout.block * pitch * layout.block
