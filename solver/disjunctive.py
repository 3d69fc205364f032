"""Whether buffers fit a height, decided exactly: of two that live at the same time one lies above the other.

That is a job shop with offsets for times and steps for machines, and what is known of those carries over: every buffer
has a head (the least offset it can have) and a tail (the least bytes above it), which decided pairs raise and which
decide pairs (Carlier, Pinson: An algorithm for solving the job-shop problem, Management Science 1989). The branching on
the pair with least slack is that of Smith and Cheng (AAAI 1993).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


class Undecided(Exception):
    """The search ended at its limit."""


@dataclass
class _Node:
    """What is known on the way to a packing: heads, tails, who lies below and above whom (bit sets), open pairs."""

    head: list[int]
    tail: list[int]
    below: list[int]
    above: list[int]
    open: set[tuple[int, int]]

    def copy(self) -> _Node:
        return _Node(self.head[:], self.tail[:], self.below[:], self.above[:], set(self.open))


class Disjunctive:
    """Buffers of `sizes`; `crowds` are the sets of those that live at the same time, every overlapping pair in one."""

    def __init__(self, sizes: Sequence[int], crowds: Sequence[Sequence[int]]):
        self.sizes, self.crowds = list(sizes), crowds
        self.members = [sum(1 << i for i in crowd) for crowd in crowds]
        self.crowds_of: list[list[int]] = [[] for _ in sizes]
        for c, crowd in enumerate(crowds):
            for i in crowd:
                self.crowds_of[i].append(c)
        self.pairs = {(i, j) for crowd in crowds for i in crowd for j in crowd if i < j}
        self.height = 0
        self.effort = 0  # comparisons made, most of what a search takes

    def within(self, height: int, most_effort: int) -> list[int] | None:
        """Offsets with which all end at `height` or below; None when there are none. Raises Undecided."""
        self.height, self.effort = height, 0
        n = len(self.sizes)
        root = _Node([0] * n, [0] * n, [0] * n, [0] * n, set(self.pairs))
        if not self._settle(root, set(range(n))):
            return None
        stack = [iter([root])]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                continue
            if self.effort > most_effort:
                raise Undecided
            pair = self._tightest(node)
            if pair is None:
                return node.head
            stack.append(self._children(node, pair))
        return None

    def _tightest(self, node: _Node) -> tuple[int, int] | None:
        """The pair (low, high) to try next: of those that overlap with all at their heads, the one with least slack."""
        head, tail, sizes = node.head, node.tail, self.sizes
        best = None
        for i, j in node.open:
            if head[i] + sizes[i] <= head[j] or head[j] + sizes[j] <= head[i]:
                continue
            room = self.height - sizes[i] - sizes[j]
            up, down = room - head[i] - tail[j], room - head[j] - tail[i]  # with j above i, with i above j
            slack = (min(up, down), max(up, down), *((i, j) if up >= down else (j, i)))
            best = slack if best is None else min(best, slack)
        return None if best is None else best[2:]

    def _children(self, node: _Node, pair: tuple[int, int]) -> Iterator[_Node]:
        """The node with the first of the pair below the second, then the other way round; where that can be."""
        for low, high in (pair, pair[::-1]):
            child = node.copy()
            raised: set[int] = set()
            if self._put(child, low, high, raised) and self._settle(child, raised):
                yield child

    def _put(self, node: _Node, low: int, high: int, raised: set[int]) -> bool:
        """`low` below `high`, if that is not decided yet; False when it is decided otherwise or they do not fit so."""
        if node.above[low] >> high & 1:
            return True
        if node.below[low] >> high & 1:
            return False
        node.open.discard((low, high) if low < high else (high, low))
        node.above[low] |= 1 << high
        node.below[high] |= 1 << low
        raised |= {low, high}
        return node.head[low] + self.sizes[low] + self.sizes[high] + node.tail[high] <= self.height

    def _settle(self, node: _Node, raised: set[int]) -> bool:
        """Raise heads and tails and decide pairs until nothing follows any more; False when the buffers do not fit.

        `raised` are the buffers of which something new is known.
        """
        head, tail = node.head, node.tail
        while raised:
            touched: set[int] = set()
            while raised:
                i = raised.pop()
                touched.update(self.crowds_of[i])
                low, high = head[i], tail[i]
                for c in self.crowds_of[i]:
                    low = max(low, self._stacked(node.below[i] & self.members[c], head))
                    high = max(high, self._stacked(node.above[i] & self.members[c], tail))
                if low + self.sizes[i] + high > self.height:
                    return False
                if low > head[i]:
                    head[i] = low
                    raised.update(_bits(node.above[i]))
                if high > tail[i]:
                    tail[i] = high
                    raised.update(_bits(node.below[i]))
            for c in touched:
                if not self._decide(node, self.crowds[c], raised):
                    return False
        return True

    def _stacked(self, members: int, start: list[int]) -> int:
        """Where a stack of these buffers ends at least, each from its start on."""
        end = 0
        for i in sorted(_bits(members), key=start.__getitem__):
            end = max(end, start[i]) + self.sizes[i]
        return end

    def _decide(self, node: _Node, crowd: Sequence[int], raised: set[int]) -> bool:
        """Decide pairs of a crowd that have one order left; False when some have none."""
        head, tail, sizes, height = node.head, node.tail, self.sizes, self.height
        self.effort += len(crowd) ** 2
        for i in crowd:
            for j in crowd:
                if (i, j) not in node.open:
                    continue
                both = sizes[i] + sizes[j]
                if head[j] + both + tail[i] > height and not self._put(node, i, j, raised):
                    return False
                if head[i] + both + tail[j] > height and not self._put(node, j, i, raised):
                    return False
        # Edge finding: some of a crowd and one more that fit only with that one above or below all of them.
        for low in {head[i] for i in crowd}:
            later = [i for i in crowd if head[i] >= low]
            for high in {tail[i] for i in later}:
                some = [i for i in later if tail[i] >= high]
                stacked = sum(sizes[i] for i in some)
                self.effort += len(crowd)
                if low + stacked + high > height:
                    return False
                for i in crowd:
                    if head[i] >= low and tail[i] >= high:
                        continue  # one of them
                    room = height - stacked - sizes[i]
                    if min(low, head[i]) + high > room and not all(self._put(node, k, i, raised) for k in some):
                        return False
                    if low + min(high, tail[i]) > room and not all(self._put(node, i, k, raised) for k in some):
                        return False
        return True


def _bits(mask: int) -> Iterator[int]:
    """The places of the ones."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
