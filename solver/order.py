"""In which orders the nodes of a network can run: stretches whose orders are independent, and kinds of orders.

Pure combinatorics on what reads what; knows no options, layouts or times. docs/formulation.md, section 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

Order = tuple[int, ...]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Precedence:
    """The nodes 0, 1, ... in one possible order, and what any other order has to respect: `reads[v]` run before v."""

    reads: tuple[frozenset[int], ...]

    @cached_property
    def before(self) -> tuple[int, ...]:
        """Bit set of the nodes that run before each node in every order."""
        found: dict[int, int] = {}

        def of(v: int) -> int:
            if v not in found:
                found[v] = 0
                for u in self.reads[v]:
                    found[v] |= of(u) | 1 << u
            return found[v]

        return tuple(of(v) for v in range(len(self.reads)))

    def free(self, a: int, b: int) -> bool:
        """Whether some orders have a before b and others b before a."""
        return a != b and not self.before[a] >> b & 1 and not self.before[b] >> a & 1

    def with_pair(self, a: int, b: int) -> Precedence:
        """The same with a before b, which must be possible."""
        reads = list(self.reads)
        reads[b] |= {a}
        return Precedence(tuple(reads))

    def order_of(self, nodes: Iterable[int]) -> Order:
        """An order of these nodes: by their number as far as possible."""
        left, found = sorted(nodes), []
        mask = sum(1 << v for v in left)
        while left:
            v = next(v for v in left if not self.before[v] & mask)
            left.remove(v)
            mask ^= 1 << v
            found.append(v)
        return tuple(found)


def segments(precedence: Precedence, together: Iterable[frozenset[int]] = ()) -> list[Order]:
    """The nodes cut into stretches whose orders are independent: any orders of them, one after the other, are an order.

    A cut lies behind each node that is before or after every other one in all orders. Nodes of a set in `together`
    come into one stretch when the order of any of the stretches they span is free.
    """
    count = len(precedence.reads)
    after = [0] * count
    for v, mask in enumerate(precedence.before):
        for u in members(mask):
            after[u] |= 1 << v
    pieces: list[list[int]] = [[]]
    for v in range(count):
        pieces[-1].append(v)
        if precedence.before[v].bit_count() + after[v].bit_count() == count - 1:
            pieces.append([])
    found = [tuple(piece) for piece in pieces if piece]
    for group in together:
        spanned = [i for i, piece in enumerate(found) if group & set(piece)]
        if not spanned:
            continue
        lo, hi = spanned[0], spanned[-1] + 1
        if any(has_orders(precedence, piece) for piece in found[lo:hi]):
            found[lo:hi] = [tuple(v for piece in found[lo:hi] for v in piece)]
    merged: list[Order] = []
    for piece in found:  # stretches of one order are one stretch
        if merged and not has_orders(precedence, piece) and not has_orders(precedence, merged[-1]):
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def has_orders(precedence: Precedence, piece: Sequence[int]) -> bool:
    """Whether these consecutive nodes can run in more than one order."""
    return any(not precedence.before[b] >> a & 1 for a, b in pairwise(piece))


def kinds(precedence: Precedence, piece: Sequence[int], watched: Iterable[Pair]) -> Iterator[Precedence]:
    """The orders of a stretch by the order of each watched pair in it; the kind of the given order comes first."""
    inside = set(piece)
    pairs = sorted({(min(pair), max(pair)) for pair in watched if inside.issuperset(pair)})

    def settle(at: Precedence, i: int) -> Iterator[Precedence]:
        if i == len(pairs):
            yield at
            return
        a, b = pairs[i]
        if not at.free(a, b):
            yield from settle(at, i + 1)
            return
        yield from settle(at.with_pair(a, b), i + 1)
        yield from settle(at.with_pair(b, a), i + 1)

    yield from settle(replace(precedence), 0)


def members(mask: int) -> Iterator[int]:
    """The numbers in a bit set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
