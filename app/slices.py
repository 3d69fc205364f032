"""Concats without copying: which tensors may be written straight into their slice of a concat's output.

A *buffer* is the output of a concat, the root, in one layout in which every input is a contiguous run of it or, in
hwc, a run of the channels of each pixel. Inputs that are concats themselves are taken in as well, so a nest of concats
has one buffer. docs/decisions/015.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.graph.ir import Node
from app.links import Link
from app.options import NodeOption, apart, pitch_of, reading_apart
from app.rooms import ROOM
from kernels.spec import F32_BYTES, Layout, Shape, canonical


@dataclass(frozen=True)
class Slice:
    """A node's output as `size_bytes` at `offset_bytes` of a buffer of `whole_bytes`; the concat `join` reads it there.

    With a `pitch` it is every `pitch`-th stretch of channels between these bytes.
    `share_bytes` are offset and size counted as if the concat's inputs lay one behind the other. `carries`: its node
    is the first to write into the buffer, so the buffer is allocated with it. `output`: the graph output that is the
    buffer, which is then the caller's; else None. `copied`: ordinary options may write the slice; else only a join.
    """

    buffer: str
    join: str
    layout: Layout
    offset_bytes: int
    size_bytes: int
    pitch: int
    share_bytes: tuple[int, int]
    whole_bytes: int
    carries: bool
    output: int | None
    copied: bool

    @property
    def name(self) -> str:
        """The slice as a layout of its own: app.options.plain is its inverse."""
        return slice_name(self.layout, self.buffer)

    @property
    def arena_bytes(self) -> int:
        """Bytes of the arena its node's output brings along."""
        return self.whole_bytes if self.carries and self.output is None else 0


def slice_name(layout: Layout, buffer: str) -> str:
    """The name of a layout whose tensor lies in a buffer."""
    return f"{layout}@{buffer}"


def buffer_of(layout: str) -> str:
    """The buffer a layout's name speaks of; "" when the tensor has memory of its own, be it larger than it needs.

    It is "" too where an option only says with which pitch it reads.
    """
    name = layout.partition("@")[2]
    return "" if name.startswith(ROOM.removeprefix("@")) or pitch_of(layout) else name


@dataclass(frozen=True)
class _Part:
    """Input `port` of the concat `join` in a buffer; `inner` are the parts of an input that is a concat itself."""

    producer: str
    place: int  # of the producer in the execution order
    port: int
    layout: Layout  # of the producer's output
    wanted: Layout  # of the concat's input; another one where a view lies between
    offset_bytes: int
    size_bytes: int
    pitch: int
    share_bytes: tuple[int, int]
    inner: tuple[_Part, ...]

    @property
    def start(self) -> int:
        """When the first byte is written if everything inside is joined."""
        return min((part.start for part in self.inner), default=self.place)


class Slicing:
    """All slices and joins of a graph.

    A concat qualifies when each input is written by a node, read last by this concat and by none of its other ports,
    and no graph output. Buffers are offered for every such concat; those inside an input go along only in the buffer
    of the outermost concat of a nest, so a nest of n concats has n buffers of one level and one of all. `among` are the
    concats to look at (None: all). `pitches` are those that a node's output has besides, by the node's name.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        links: Sequence[Link],
        options: Mapping[str, tuple[NodeOption, ...]],
        among: Collection[str] | None = None,
        pitches: Mapping[str, Collection[int]] | None = None,
    ) -> None:
        self._among = among
        self._pitches = pitches or {}
        self._nodes = {node.name: node for node in nodes}
        self._place = {node.name: i for i, node in enumerate(nodes)}
        self._options = options
        self._readers: dict[str, list[Link]] = {}
        self._feeds: dict[str, list[Link]] = {}
        for link in links:
            self._readers.setdefault(link.tensor, []).append(link)
            if link.consumer is not None:
                self._feeds.setdefault(link.consumer, []).append(link)
        self._parent = {
            link.producer: node.name for node in nodes if self._qualifies(node) for link in self._feeds[node.name]
        }
        self._concats = set(self._parent.values())
        self.slices: dict[str, dict[str, Slice]] = {}
        self.joins: dict[str, list[NodeOption]] = {}
        for root in dict.fromkeys(self._parent.values()):
            seen = set()
            for layout in Layout:
                parts = self._expand(root, layout, (0, 0, 0), deep=root not in self._parent)
                out_layout = canonical(layout, *self._shape(root).output_dims)
                known = (out_layout, tuple((p.layout, p.wanted) for p in _all(parts or ())))
                if parts is not None and known not in seen:
                    seen.add(known)
                    self._offer(root, layout, out_layout, parts)

    @cached_property
    def options(self) -> dict[str, tuple[NodeOption, ...]]:
        """The options given, each with its variants that read and write slices, and the joins."""
        found = {}
        for name, given in self._options.items():
            read = [variant for o in given for p in self._pitches_read(name) if (variant := reading_apart(o, p))]
            options = (*given, *read)
            places = [s for s in self.slices.get(name, {}).values() if s.copied]
            into = [
                dataclasses.replace(variant, out_layout=place.name)
                for option in options
                for place in places
                if (variant := _writing(option, place.layout, place.pitch)) is not None
            ]
            found[name] = (*options, *into, *self.joins.get(name, ()))
        return found

    def _pitches_read(self, node: str) -> list[int]:
        """Pitches that input 0 of a node may have."""
        (first, *_) = self._feeds.get(node, [None])
        if first is None or first.port != 0 or first.producer is None or first.via is not None:
            return []
        places = self.slices.get(first.producer, {}).values()
        found = {place.pitch for place in places if place.pitch and place.join != node}
        return sorted(found.union(self._pitches.get(first.producer, ())))

    def _qualifies(self, node: Node) -> bool:
        if node.op != "concat" or (self._among is not None and node.name not in self._among):
            return False
        for link in self._feeds[node.name]:
            readers = [reader.consumer for reader in self._readers[link.tensor]]
            if link.producer is None or readers.count(node.name) > 1:
                return False
            if any(name is None or self._place[name] > self._place[node.name] for name in readers):
                return False
        return True

    def _shape(self, concat: str) -> Shape:
        shape = self._nodes[concat].shape
        assert shape is not None
        return shape

    def _expand(
        self, concat: str, layout: Layout, begin: tuple[int, int, int], *, deep: bool
    ) -> tuple[_Part, ...] | None:
        """The parts of a concat whose output lies in `layout`; None when one of them cannot be a slice.

        `begin` is where the output lies: its offset in bytes, its pitch (0: dense), its offset in shares.
        """
        shape, at, parts = self._shape(concat), 0, []
        offset_bytes, pitch, share_bytes = begin
        apart_by = pitch
        if layout is Layout.HWC and shape.axis == 0 and shape.oh * shape.ow > 1:
            apart_by = pitch or shape.m
        elif pitch:
            return None
        for link, extent in zip(self._feeds[concat], shape.parts, strict=True):
            first = at if apart_by else first_element(layout, shape.output_dims, shape.axis, at)
            at += extent
            wanted = canonical(layout, *link.consumer_dims)
            entry, leave = link.via or (wanted, wanted)
            if first is None or canonical(leave, *link.consumer_dims) != wanted:
                return None
            # The bytes between are somebody else's, which a view could not tell the concat.
            if apart_by and (link.via or wanted is not Layout.HWC):
                return None
            assert link.producer is not None
            written = canonical(entry, *link.tensor_dims)
            here = (offset_bytes + F32_BYTES * first, apart_by, share_bytes)
            inner = None
            if deep and link.via is None and link.producer in self._concats:
                inner = self._expand(link.producer, layout, here, deep=True)
            if inner is None and not self._writes(link.producer, written, apart_by):
                return None
            dense_bytes = layout.bytes(*link.consumer_dims)
            parts.append(
                _Part(
                    producer=link.producer,
                    place=self._place[link.producer],
                    port=link.port,
                    layout=written,
                    wanted=wanted,
                    offset_bytes=here[0],
                    size_bytes=F32_BYTES * layout.elems(*link.consumer_dims, apart_by),
                    pitch=apart_by,
                    share_bytes=(share_bytes, dense_bytes),
                    inner=inner or (),
                )
            )
            share_bytes += dense_bytes
        return tuple(parts)

    def _writes(self, producer: str, layout: Layout, pitch: int) -> bool:
        return any(_writing(option, layout, pitch) is not None for option in self._options[producer])

    def _offer(self, root: str, layout: Layout, out_layout: Layout, parts: tuple[_Part, ...]) -> None:
        buffer = f"{root}.{layout}"
        shape = self._shape(root)
        outputs = (
            link.port
            for link in self._readers.get(self._nodes[root].output, ())
            if link.consumer is None and not link.steps(out_layout, Layout.CHW)
        )
        served = next(outputs, None)
        whole_bytes = layout.bytes(*shape.output_dims)

        def offer(concat: str, output: str, parts: tuple[_Part, ...], *, first: bool, others: int) -> None:
            """Slices and the join of one level; `others`: when the first part outside this level starts."""
            head = min(parts, key=lambda part: part.start)
            for part in parts:
                carries = first and part is head
                rivals = min([others, *(p.start for p in parts if p is not part)])
                found = Slice(
                    buffer=buffer,
                    join=concat,
                    layout=part.layout,
                    offset_bytes=part.offset_bytes,
                    size_bytes=part.size_bytes,
                    pitch=part.pitch,
                    share_bytes=part.share_bytes,
                    whole_bytes=whole_bytes,
                    carries=carries,
                    output=served,
                    # Copied as a whole, a nested concat starts to write later: it must then still be the first.
                    copied=not part.inner or not carries or part.place < rivals,
                )
                self.slices.setdefault(part.producer, {})[found.name] = found
                if part.inner:
                    offer(part.producer, found.name, part.inner, first=carries, others=rivals)
            names = tuple(slice_name(part.wanted, buffer) for part in parts)
            over = head.port if first and served is None else None
            self.joins.setdefault(concat, []).append(NodeOption((), names, output, over))

        offer(root, out_layout, parts, first=True, others=len(self._place))


def _writing(option: NodeOption, layout: Layout, pitch: int) -> NodeOption | None:
    """The option as it writes a slice in `layout`; None if it cannot."""
    if option.in_place is not None or option.out_layout != layout:
        return None
    return apart(option, pitch) if pitch else option


def _all(parts: Sequence[_Part]) -> Iterator[_Part]:
    for part in parts:
        yield part
        yield from _all(part.inner)


def first_element(layout: Layout, dims: tuple[int, int, int], axis: int, index: int) -> int | None:
    """Where in a (c, h, w) tensor the entries from `index` of an axis begin; None when they are no contiguous run."""
    c, h, w = dims
    planes, block = -(-c // layout.block), layout.block
    if layout is Layout.HWC:
        outer, inner = {0: (h * w, 1), 1: (1, w * c), 2: (h, c)}[axis]
    else:
        outer, inner = {0: (1, h * w), 1: (planes, w * block), 2: (planes * h, block)}[axis]
        if axis == 0 and index % block:
            return None
    return index * inner if outer == 1 else None
