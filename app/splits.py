"""Slices without copying: which outputs of slice operators may be read where they lie in the input.

A *whole* is an output that a slice operator reads last. It exists in one more layout for each memory order in which
some slice of it is a *piece*: a contiguous run or, in hwc, a run of the channels of each pixel. A whole in that layout
is held until the last reader of any piece has run. docs/decisions/027.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.graph.ir import Node
from app.links import Dims, Link
from app.options import NodeOption
from app.slices import first_element
from kernels.spec import F32_BYTES, Layout, canonical

ANY = "any"
"""What the end of a hold calls the layout of what it reads, because it touches no byte of it."""


@dataclass(frozen=True)
class Piece:
    """A slice operator's output as `size_bytes` at `offset_bytes` of its input.

    `layout` is that of the piece for its readers. `pitch` are the channels of each pixel of the input; 0: it is dense.
    """

    layout: Layout
    offset_bytes: int
    size_bytes: int
    pitch: int


@dataclass(frozen=True)
class Hold:
    """The whole of `producer` in one of `layouts` is held from its last reader `after` to `until`, the last of a piece.

    `readers` are all that read the whole, `piece_readers` all that read what may be a piece of it.
    """

    producer: str
    tensor: str
    dims: Dims
    after: str
    until: str
    layouts: tuple[str, ...]
    readers: tuple[str, ...]
    piece_readers: tuple[str, ...]

    @property
    def name(self) -> str:
        """For the step at which the whole passes to the pieces."""
        return f"hold {self.producer}"

    def link(self, tensor: str) -> Link:
        """The edge on which a step of the hold reads the whole, or what an earlier step of it holds."""
        return Link(tensor, self.dims, self.producer, self.name, 0, self.dims, None)


def held_layout(layout: Layout, producer: str) -> str:
    """The name of the layout of a whole."""
    return f"{layout}@{producer}.{layout} in pieces"


class Splitting:
    """All wholes and pieces of a graph; `among` are the producers of wholes to look at (None: all)."""

    def __init__(self, nodes: Sequence[Node], links: Sequence[Link], among: Collection[str] | None = None) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._place = {node.name: i for i, node in enumerate(nodes)}
        self._readers: dict[str, list[Link]] = {}
        for link in links:
            self._readers.setdefault(link.tensor, []).append(link)
        self.pieces: dict[str, dict[str, Piece]] = {}
        self._views: dict[str, list[NodeOption]] = {}
        holds: list[Hold] = []
        for readers in self._readers.values():
            producer = readers[0].producer
            if among is None or producer is None or producer in among:
                holds += self._split(readers, producer)
        self.holds = tuple(sorted(holds, key=lambda hold: hold.name))  # whatever the order of the nodes

    @property
    def pitches(self) -> dict[str, list[int]]:
        """Pitches of the pieces a node's output may be, by its name."""
        return {name: [piece.pitch for piece in some.values() if piece.pitch] for name, some in self.pieces.items()}

    def options(self, options: Mapping[str, tuple[NodeOption, ...]]) -> dict[str, tuple[NodeOption, ...]]:
        """The options given, those that write a whole once more for each layout it is held in, and the pieces."""
        held = {hold.producer: {name.partition("@")[0]: name for name in hold.layouts} for hold in self.holds}
        found = {}
        for name, given in options.items():
            layouts = held.get(name, {})
            kept = [dataclasses.replace(o, out_layout=layouts[o.out_layout]) for o in given if o.out_layout in layouts]
            found[name] = (*given, *kept, *self._views.get(name, ()))
        return found

    def _split(self, readers: list[Link], producer: str | None) -> Iterator[Hold]:
        """Offer the pieces of what `readers` read; the hold if it needs one. A graph input is there all the time."""
        names = [link.consumer for link in readers if link.consumer is not None]
        if len(names) < len(readers):
            return  # the caller's own memory, which is read when the network has run
        last = max(names, key=lambda name: self._place[name])
        # Slices never work in place, so nobody loses by it that the hold reads the whole behind the last of them.
        if producer is not None and self._nodes[last].op != "slice":
            return
        layouts: dict[str, None] = {}
        piece_readers: dict[str, None] = {}
        for link in readers:
            assert link.consumer is not None
            node = self._nodes[link.consumer]
            after = self._readers.get(node.output, [])
            if any(reader.consumer is None for reader in after):
                continue
            for layout, piece in _pieces(node):
                entry, leave = link.via or (layout, layout)
                if canonical(leave, *link.consumer_dims) != layout:
                    continue
                layout = canonical(entry, *link.tensor_dims)  # of the whole, which a view may show in another one
                if producer is None and layout is not Layout.CHW:
                    continue
                source = producer or link.tensor
                name = f"{piece.layout}@piece of {source}.{layout}"
                whole = held_layout(layout, producer) if producer is not None else str(layout)
                self.pieces.setdefault(node.name, {})[name] = piece
                self._views.setdefault(node.name, []).append(NodeOption((), (whole,), name, None, cuts=True))
                layouts[whole] = None
                piece_readers |= {reader.consumer: None for reader in after if reader.consumer is not None}
        if producer is not None and layouts:
            until = max((last, *piece_readers), key=lambda name: self._place[name])
            yield Hold(
                producer=producer,
                tensor=readers[0].tensor,
                dims=readers[0].tensor_dims,
                after=last,
                until=until,
                layouts=tuple(layouts),
                readers=tuple(dict.fromkeys(names)),
                piece_readers=tuple(piece_readers),
            )


def _pieces(node: Node) -> Iterator[tuple[Layout, Piece]]:
    """The layouts of its input in which a slice operator's output is a piece, and which."""
    shape = node.shape
    if node.op != "slice" or shape is None or shape.step != (1, 1, 1):
        return
    whole, dims = shape.input_dims(0), shape.output_dims
    axes = [axis for axis in range(3) if dims[axis] < whole[axis]]
    if len(axes) != 1:
        return
    (axis,) = axes
    at, extent = shape.start[axis], dims[axis]
    for layout in Layout:
        if canonical(layout, *whole) is not layout:
            continue
        if layout is Layout.HWC and axis == 0:
            if extent > 1:
                yield layout, Piece(layout, F32_BYTES * at, F32_BYTES * layout.elems(*dims, whole[0]), whole[0])
            continue
        first = first_element(layout, whole, axis, at)
        # The padding of a last block would be channels of the next piece.
        if first is None or (axis == 0 and at + extent < whole[0] and extent % layout.block):
            continue
        yield layout, Piece(canonical(layout, *dims), F32_BYTES * first, layout.bytes(*dims), 0)
