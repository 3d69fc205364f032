"""Chains of layers run strip by strip: which rows each layer computes when, and the few rows kept in between. Pure.

A chain is a group of row-local operators (convolutions, pools, element by element, concats of channels) that reads one
tensor and of which only the last one's output is wanted whole. It may branch inside, as residual and inception blocks
do. Every layer computes just the rows that its readers need and do not have yet; the rows that are needed again are
moved to the front of a rolling buffer, so nothing is computed twice. After Alwani et al. 2016, Fused-layer CNN
accelerators (reuse model).
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from kernels.spec import BINARY_OPS, Layout, Shape

WINDOWED_OPS = frozenset({"conv", "max_pool", "avg_pool"})
ROW_LOCAL_OPS = frozenset(
    {
        *WINDOWED_OPS,
        *("lrn", "scale", "prelu", "clamp", "leaky_relu", "elu", "hard_sigmoid"),
        *("hard_swish", "sigmoid", "tanh"),
        *BINARY_OPS,
    }
)
"""An output row depends on the input rows under its window only, and on nothing of other rows."""

INPUT = -1
"""Among the sources of a layer: the chain's input, which is whole."""
BESIDE = -2
"""A second operand of the last layer, whole as well, that is neither the input nor of the chain."""


class StripCall(NamedTuple):
    """Layer `layer` of a chain computes output rows [first, end) in one call on the geometry `shape`.

    On each port it reads from row `input_rows[port]` on, of a whole tensor or of the rolling buffer of the layer it
    reads (row 0 is the buffer's first). The result goes to row `output_row` of the rolling buffer, or of the chain's
    whole output. `strip` counts strips of the chain's output.
    """

    layer: int
    first: int
    end: int
    shape: Shape
    input_rows: tuple[int, ...]
    output_row: int
    strip: int


class StripMove(NamedTuple):
    """Rows [row, row + rows) of layer `layer`'s buffer move to row `to`: they are needed again.

    They are rows [first, first + rows) of its output. `to` is 0, or where the move before it ended when rows would
    otherwise move onto themselves.
    """

    layer: int
    row: int
    rows: int
    to: int
    first: int
    strip: int


Sources = tuple[tuple[int, ...], ...]
"""Per layer and port the layer it reads, or INPUT or BESIDE."""


@dataclass(frozen=True)
class StripPlan:
    """What a chain does, in order, and how many rows each layer's rolling buffer holds.

    The last layer has no buffer, and neither has a layer that writes into a concat: `places` says for each layer whose
    buffer (or whole output) holds its rows, and from which channel on.
    """

    shapes: tuple[Shape, ...]
    sources: Sources
    height: int
    steps: tuple[StripCall | StripMove, ...]
    buffer_rows: tuple[int, ...]
    places: tuple[tuple[int, int], ...]

    @cached_property
    def calls(self) -> tuple[StripCall, ...]:
        """The calls without the moves."""
        return tuple(step for step in self.steps if isinstance(step, StripCall))

    @cached_property
    def kinds(self) -> tuple[tuple[StripCall | StripMove, ...], tuple[int, ...]]:
        """The first of each kind of steps, of which others differ in their place only; and the kind of each step."""
        firsts: list[StripCall | StripMove] = []
        known: dict[tuple[int, ...], int] = {}
        kinds = []
        for step in self.steps:
            # A layer's calls of one geometry share its object.
            like = (step.layer, step.rows, 0) if isinstance(step, StripMove) else (step.layer, id(step.shape))
            kind = known.setdefault(like, len(firsts))
            if kind == len(firsts):
                firsts.append(step)
            kinds.append(kind)
        return tuple(firsts), tuple(kinds)

    @property
    def counts(self) -> Iterator[tuple[StripCall | StripMove, int]]:
        """The first of each kind of steps, in order, and how many there are."""
        firsts, kinds = self.kinds
        return zip(firsts, Counter(kinds).values(), strict=True)

    @property
    def input_dims(self) -> tuple[int, int, int]:
        """(c, h, w) of the chain's input."""
        return next(
            shape.input_dims(found.index(INPUT))
            for shape, found in zip(self.shapes, self.sources, strict=True)
            if INPUT in found
        )

    @property
    def may_overwrite_input(self) -> bool:
        """Whether the output may be written over the input, both from the same byte on.

        Byte for byte: what a call of the last layer writes ends before the first row that this call or a later one
        still reads of the input. An operand of the last layer that is the input itself does not count: its rows are
        read by the call that writes over them.
        """
        last = len(self.shapes) - 1
        out = self.shapes[last]
        c, h, w = self.input_dims
        if out.op == "concat" or math.prod(out.output_dims) > c * h * w:
            return False
        unread = h  # from the end backwards: the first row that is still to be read
        for call in reversed(self.calls):
            reads = [
                row
                for port, (row, source) in enumerate(zip(call.input_rows, self.sources[call.layer], strict=True))
                if source == INPUT and (port == 0 or call.layer != last)
            ]
            unread = min([unread, *reads])
            if call.layer == last and unread < h and call.end * out.m * out.ow > unread * c * w:
                return False
        return True

    def buffer_bytes(self, layer: int) -> int:
        """Bytes of the rolling buffer behind `layer`, in hwc; 0 when it has none."""
        s = self.shapes[layer]
        return Layout.HWC.bytes(s.m, self.buffer_rows[layer], s.ow) if self.buffer_rows[layer] else 0


class Window(NamedTuple):
    """Which rows of its input a layer reads: a row every `stride`, from `pad` above the image on, `reach` rows each."""

    stride: int
    pad: int
    reach: int
    h: int

    def span(self, first: int, end: int) -> tuple[int, int]:
        """Rows [from, to) under the windows of output rows [first, end), rows of padding included."""
        stride, pad, reach, _ = self
        return first * stride - pad, (end - 1) * stride - pad + reach

    def rows(self, first: int, end: int) -> tuple[int, int]:
        """Those of them inside the image; empty ranges are (r, r)."""
        stride, pad, reach, h = self
        start = first * stride - pad
        stop = (end - 1) * stride - pad + reach
        start = 0 if start < 0 else h if start > h else start  # asked for every step of a plan: no calls
        stop = h if stop > h else stop
        return start, stop if stop > start else start


def window_of(shape: Shape) -> Window:
    """The window of a layer, on its first input."""
    if shape.op not in WINDOWED_OPS:  # of an lrn, kh counts channels
        return Window(1, 0, 1, shape.h)
    return Window(shape.stride_h, shape.pad_t, (shape.kh - 1) * shape.dilation_h + 1, shape.h)


def rows_needed(shape: Shape, first: int, end: int, port: int = 0) -> tuple[int, int]:
    """Input rows [from, to) inside the image that output rows [first, end) read; empty ranges are (r, r)."""
    if port:  # a residual or the other operand: the very rows
        return first, end
    return window_of(shape).rows(first, end)


def staging(shape: Shape) -> Shape:
    """A layer that copies the rows a layer of `shape` reads: the rows in its rolling buffer may be overwritten."""
    dims = shape.input_dims(0)
    return Shape("slice", *dims, *dims)


def in_line(shapes: Sequence[Shape]) -> Sources:
    """The sources of layers of which each reads the one before; other operands lie beside."""
    return tuple((i - 1, *[BESIDE] * (shape.n_in - 1)) for i, shape in enumerate(shapes))


def least_buffer_rows(shapes: Sequence[Shape], sources: Sources, height: int) -> dict[int, int]:
    """A lower bound of the rows that the buffer of each layer holds in any plan; layers without buffer are left out.

    A buffer holds all the rows of one call of a reader: at least those of a row in the middle, and the last layer
    computes strips of `height`. What is part of a concat is in the concat's buffer.
    """
    found: dict[int, int] = {}
    for i, (shape, ports) in enumerate(zip(shapes, sources, strict=True)):
        if shape.op == "concat":
            continue
        rows = min(height, shape.oh) if i == len(shapes) - 1 else 1
        middle = shape.oh // 2 // rows * rows
        for port, source in enumerate(ports):
            if source >= 0:
                first, end = rows_needed(shape, middle, min(middle + rows, shape.oh), port)
                found[source] = max(found.get(source, 0), end - first)
    return found


def plan_strips(shapes: Sequence[Shape], height: int, sources: Sources | None = None) -> StripPlan:
    """The steps of a chain whose layers compute about `height` rows at a time (None: each layer reads the one before).

    Raises ValueError on a chain that does not fit together.
    """
    sources = in_line(shapes) if sources is None else sources
    if height < 1:
        raise ValueError(f"strips of {height} rows")
    return _Planner(tuple(shapes), sources, height).plan()


class _Planner:
    """Goes through the strips of a chain and writes down its steps.

    Layers whose rows all later layers depend on alone, the *necks*, advance by `height` rows at a time, each as far as
    the next one needs for its own next rows: so the buffers of a long chain stay as low as those of a short one. What
    lies between two necks, a branching block, advances together.
    """

    def __init__(self, shapes: tuple[Shape, ...], sources: Sources, height: int):
        self.shapes, self.sources, self.height = shapes, sources, height
        self.last = len(shapes) - 1
        self._check()
        self.windows = [window_of(shape) for shape in shapes]
        self.places = self._places()
        self.readers: list[list[tuple[int, int]]] = [[] for _ in shapes]  # of each layer: (reader, port)
        for i, found in enumerate(sources):
            for port, source in enumerate(found):
                if source >= 0 and shapes[i].op != "concat":
                    self.readers[source].append((i, port))
        self.done = [0] * len(shapes)  # rows computed so far
        self.kept = [0] * len(shapes)  # the row that lies first in the buffer
        self.capacity = [0] * len(shapes)
        self.steps: list[StripCall | StripMove] = []
        self.parts: dict[tuple[int, ...], Shape] = {}  # geometries of calls
        self.strip = 0

    def plan(self) -> StripPlan:
        necks = self._necks()
        rows = self.shapes[self.last].oh
        while self.done[self.last] < rows:
            self.piece(necks, len(necks) - 1, min(rows, self.done[self.last] + self.height))
            self.strip += 1
        buffer_rows = tuple(0 if i == self.last else self.capacity[i] for i in range(len(self.shapes)))
        steps = tuple(self.steps)
        return StripPlan(self.shapes, self.sources, self.height, steps, buffer_rows, tuple(self.places))

    def _check(self) -> None:
        whole = {
            s.input_dims(p)
            for s, f in zip(self.shapes, self.sources, strict=True)
            for p, x in enumerate(f)
            if x == INPUT
        }
        if len(whole) != 1:
            raise ValueError(f"inputs of {sorted(whole)}")
        for i, (shape, found) in enumerate(zip(self.shapes, self.sources, strict=True)):
            if len(found) != shape.n_in or any(source >= i or source < BESIDE for source in found):
                raise ValueError(f"[{shape.key()}] cannot read layers {found}")
            for port, source in enumerate(found):
                if source >= 0 and self.shapes[source].output_dims != shape.input_dims(port):
                    raise ValueError(f"[{self.shapes[source].key()}] does not feed [{shape.key()}]")

    def _places(self) -> list[tuple[int, int]]:
        """Whose buffer holds the rows of each layer, and from which channel on."""
        places = [(i, 0) for i in range(len(self.shapes))]
        for i in reversed(range(len(self.shapes))):  # a concat before what it reads, so nested ones fall into place
            if self.shapes[i].op == "concat":
                root, channel = places[i]
                for source, extent in zip(self.sources[i], self.shapes[i].parts, strict=True):
                    used = sum(found.count(source) for found in self.sources)
                    if source < 0 or used > 1:
                        raise ValueError(
                            "a concat in a chain is the only reader of its parts, and all are of the chain"
                        )
                    places[source] = (root, channel)
                    channel += extent
        return places

    def _necks(self) -> list[int]:
        """Layers that no later layer reads past, the last one included."""
        lowest, found = self.last, [self.last]  # lowest: the first layer that layers from here on read
        for i in reversed(range(self.last)):
            lowest = min([lowest, *(source for source in self.sources[i + 1] if source >= 0)])
            if lowest >= i and self.places[i][0] == i:  # a part of a concat is there when all of it is
                found.append(i)
        return found[::-1]

    def piece(self, necks: Sequence[int], number: int, end: int) -> None:
        """Rows up to `end` of neck `number`, and before them all that they need."""
        neck, before = necks[number], necks[number - 1] if number else -1
        goal = {i: self.done[i] for i in range(before + 1, neck + 1)}
        goal[neck] = end
        need = self.done[before] if number else 0
        for i in range(neck, before, -1):
            if goal[i] == self.done[i]:
                continue
            for port, source in enumerate(self.sources[i]):
                if source < 0:
                    continue
                upto = goal[i] if port else self.windows[i].rows(self.done[i], goal[i])[1]
                if source == before:
                    need = max(need, upto)
                else:
                    goal[source] = max(goal[source], upto)
        if number:
            self.advance(necks, number - 1, need)
        for i in range(before + 1, neck + 1):
            self.make_room(i, goal[i])
        for i in range(before + 1, neck + 1):
            if goal[i] > self.done[i]:
                self.compute(i, goal[i])

    def advance(self, necks: Sequence[int], number: int, need: int) -> None:
        """Rows up to `need` of a neck, about `height` at a time; the odd ones come with the first."""
        neck = necks[number]
        while (left := need - self.done[neck]) > 0:
            times = max(1, left // self.height)
            self.piece(necks, number, need - (times - 1) * self.height)

    def make_room(self, layer: int, goal: int) -> None:
        """Rows that nobody needs any more leave the buffer of `layer`, those needed again move to its front."""
        if layer == self.last or self.places[layer][0] != layer or goal == self.done[layer]:
            return
        kept, done = self.kept[layer], self.done[layer]
        keep = done
        for i, port in self.readers[layer]:
            row = self.done[i]
            if row < self.shapes[i].oh:
                keep = min(keep, row if port else self.windows[i].rows(row, row + 1)[0])
        if (ahead := keep - kept) > 0:
            for row in range(keep, done, ahead):
                rows = min(ahead, done - row)
                self.steps.append(StripMove(layer, row - kept, rows, to=row - keep, first=row, strip=self.strip))
            self.kept[layer] = keep
        self.capacity[layer] = max(self.capacity[layer], goal - self.kept[layer])

    def compute(self, layer: int, goal: int) -> None:
        """One call for the rows up to `goal`; a concat is there when its parts are."""
        shape, done = self.shapes[layer], self.done[layer]
        self.done[layer] = goal
        if shape.op == "concat":
            return
        first, end = self.windows[layer].rows(done, goal)
        top, bottom = self.windows[layer].span(done, goal)
        input_rows = []
        for port, source in enumerate(self.sources[layer]):
            row = done if port else first
            input_rows.append(row if source < 0 else row - self.kept[self.places[source][0]])
        root = self.places[layer][0]
        part = (layer, end - first, goal - done, max(0, first - top), max(0, bottom - end))
        if part not in self.parts:
            _, h, oh, pad_t, pad_b = part
            self.parts[part] = dataclasses.replace(shape, h=h, oh=oh, pad_t=pad_t, pad_b=pad_b)
        self.steps.append(
            StripCall(
                layer=layer,
                first=done,
                end=goal,
                shape=self.parts[part],
                input_rows=tuple(input_rows),
                output_row=done if root == self.last else done - self.kept[root],
                strip=self.strip,
            )
        )
