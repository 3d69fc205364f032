"""Chains of layers run strip by strip: which rows each layer computes when, and the few rows kept in between. Pure.

A chain is a path of row-local operators (convolutions, pools, element by element) of which only the last one's output
is wanted whole. Its rows are computed in strips of `height` rows. For each strip every layer computes just the rows
that the next one needs and does not have yet; the rows that a later strip needs again are moved to the front of a
rolling buffer, so nothing is computed twice. After Alwani et al. 2016, Fused-layer CNN accelerators (reuse model).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from kernels.spec import Layout, Shape

WINDOWED_OPS = frozenset({"conv", "max_pool", "avg_pool"})
ROW_LOCAL_OPS = frozenset(
    {
        *WINDOWED_OPS,
        *("lrn", "scale", "prelu", "clamp", "leaky_relu", "elu", "hard_sigmoid"),
        *("hard_swish", "sigmoid", "tanh", "add", "mul"),
    }
)
"""An output row depends on the input rows under its window only, and on nothing of other rows."""


@dataclass(frozen=True)
class StripCall:
    """Layer `layer` of a chain computes output rows [first, end) in one call on the geometry `shape`.

    Its window reads `shape.h` rows from row `input_row` on: of the chain's whole input for layer 0, of the rolling
    buffer of the layer before (row 0 is the buffer's first) for the others. The result goes to row `output_row` of the
    layer's own buffer, or of the chain's whole output for the last layer.
    """

    layer: int
    first: int
    end: int
    shape: Shape
    input_row: int
    output_row: int


@dataclass(frozen=True)
class StripMove:
    """Rows [row, row + rows) of layer `layer`'s buffer move to row `to`: the next strip needs them again.

    They are rows [first, first + rows) of its output. `to` is 0, or where the move before it ended when rows would
    otherwise move onto themselves.
    """

    layer: int
    row: int
    rows: int
    to: int
    first: int


@dataclass(frozen=True)
class StripPlan:
    """What a chain does, in order, and how many rows the buffer of each layer but the last must hold."""

    shapes: tuple[Shape, ...]
    height: int
    steps: tuple[StripCall | StripMove, ...]
    buffer_rows: tuple[int, ...]

    @property
    def calls(self) -> tuple[StripCall, ...]:
        """The calls without the moves."""
        return tuple(step for step in self.steps if isinstance(step, StripCall))

    @property
    def may_overwrite_input(self) -> bool:
        """Whether the output may be written over the input, both from the same byte on.

        Byte for byte: what a call of the last layer writes ends before the first row that this call or a later one
        still reads of the input.
        """
        first, last = self.shapes[0], len(self.shapes) - 1
        out = self.shapes[last]
        if math.prod(out.output_dims) > math.prod(first.input_dims(0)):
            return False
        unread = first.h  # from the end backwards: the first row that is still to be read
        for call in reversed(self.calls):
            if call.layer == 0:
                unread = min(unread, call.input_row)
            if call.layer == last and unread < first.h and call.end * out.m * out.ow > unread * first.c * first.w:
                return False
        return True

    def buffer_bytes(self, layer: int) -> int:
        """Bytes of the rolling buffer behind `layer`, in hwc."""
        s = self.shapes[layer]
        return Layout.HWC.bytes(s.m, self.buffer_rows[layer], s.ow)


def _span(shape: Shape, first: int, end: int) -> tuple[int, int]:
    """Rows [from, to) under the windows of output rows [first, end), rows of padding included."""
    if shape.op not in WINDOWED_OPS:  # of an lrn, kh counts channels
        return first, end
    return (
        first * shape.stride_h - shape.pad_t,
        (end - 1) * shape.stride_h - shape.pad_t + (shape.kh - 1) * shape.dilation_h + 1,
    )


def rows_needed(shape: Shape, first: int, end: int) -> tuple[int, int]:
    """Input rows [from, to) inside the image that output rows [first, end) read; empty ranges are (r, r)."""
    top, bottom = _span(shape, first, end)
    start = min(max(0, top), shape.h)
    return start, max(start, min(shape.h, bottom))


def staging(shape: Shape) -> Shape:
    """A layer that copies the rows a layer of `shape` reads: the rows in its rolling buffer may be overwritten."""
    dims = shape.input_dims(0)
    return Shape("slice", *dims, *dims)


def plan_strips(shapes: Sequence[Shape], height: int) -> StripPlan:
    """The steps of a chain whose last output comes in strips of `height` rows (the last strip may be lower).

    `shapes[i + 1]` reads the output of `shapes[i]`. Raises ValueError on a chain that does not fit together.
    """
    for before, after in itertools.pairwise(shapes):
        if before.output_dims != after.input_dims(0):
            raise ValueError(f"[{before.key()}] does not feed [{after.key()}]")
    if height < 1:
        raise ValueError(f"strips of {height} rows")
    last = len(shapes) - 1
    done = [0] * len(shapes)  # rows computed so far
    kept = [0] * len(shapes)  # the row that lies first in the buffer
    capacity = [0] * len(shapes)
    steps: list[StripCall | StripMove] = []
    while done[last] < shapes[last].oh:
        goal = [0] * len(shapes)
        goal[last] = min(shapes[last].oh, done[last] + height)
        for i in range(last, 0, -1):
            goal[i - 1] = max(done[i - 1], rows_needed(shapes[i], done[i], goal[i])[1] if goal[i] > done[i] else 0)
        for i in range(last):
            if goal[i + 1] > done[i + 1]:
                keep = min(rows_needed(shapes[i + 1], done[i + 1], goal[i + 1])[0], done[i])
                if keep > kept[i]:
                    ahead = keep - kept[i]
                    for row in range(keep, done[i], ahead):
                        rows = min(ahead, done[i] - row)
                        steps.append(StripMove(i, row - kept[i], rows, to=row - keep, first=row))
                    kept[i] = keep
            capacity[i] = max(capacity[i], goal[i] - kept[i])
        for i, shape in enumerate(shapes):
            if goal[i] == done[i]:
                continue
            first, end = rows_needed(shape, done[i], goal[i])
            top, bottom = _span(shape, done[i], goal[i])
            steps.append(
                StripCall(
                    layer=i,
                    first=done[i],
                    end=goal[i],
                    shape=dataclasses.replace(
                        shape,
                        h=end - first,
                        oh=goal[i] - done[i],
                        pad_t=max(0, first - top),
                        pad_b=max(0, bottom - end),
                    ),
                    input_row=first if i == 0 else first - kept[i - 1],
                    output_row=done[i] if i == last else done[i] - kept[i],
                )
            )
            done[i] = goal[i]
    return StripPlan(tuple(shapes), height, tuple(steps), tuple(capacity[:last]))
