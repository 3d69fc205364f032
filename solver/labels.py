"""Searches of labels: one pass over the buckets of an elimination with sets of sums instead of numbers.

Every bucket passes on the non-dominated sums of its subtree, for each layout of its separator. A label is dropped as
soon as no completion can reach the wanted region: least sums over the rest, in a few directions, bound a completion.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

import numpy as np

from solver.levels import Bounds, Choice
from solver.min_sums import Ints, Reals, at_assignment
from solver.region import Corners

Labels = Ints
"""[sum, label]: time, weights, perhaps added bytes; the last row says who made them: [sums + 1, label]."""

FEW = 64  # labels that are not worth a test of their own before a join is complete
BLOCK = 1 << 17  # labels tested at once


class TooMany(Exception):
    """A search has more labels than are worth their memory, or its time is over; nothing is claimed."""


class Search:
    """All non-dominated selections in the region, within the level of `bounds`."""

    def __init__(
        self,
        bounds: Bounds,
        corners: Corners,
        should_stop: Callable[[], bool] = lambda: False,
        most_labels: int | None = None,
    ):
        self.bounds, self.corners, self.should_stop, self.most_labels = bounds, corners, should_stop, most_labels
        self.owner = bounds.owner
        self.n_sums = bounds.directions.shape[1]
        self.nothing = np.zeros((self.n_sums + 1, 0), np.int64)
        # A label's recipe: two earlier labels, or (-1 - table, its entry).
        self.left: list[Ints] = []
        self.right: list[Ints] = []
        self._known_ways: dict[tuple[int, tuple[int, ...]], Labels] = {}
        self.made = 0
        self.tried = 0

    def run(self) -> list[Choice]:
        """The selections. Raises TooMany."""
        least = self.bounds.least
        rests = least.rests()
        messages: list[dict[tuple[int, ...], Labels]] = []
        for b, bucket in enumerate(self.owner.buckets):
            full = least.sums[b] + np.expand_dims(rests[b], 1 + bucket.axis)
            alive = self.corners.reach_together(full.reshape(len(full), -1)).reshape(bucket.shape)
            gathered: dict[tuple[int, ...], list[Labels]] = {}
            for found in np.argwhere(alive).tolist():
                entry: tuple[int, ...] = tuple(found)
                labels = self._entry(b, entry, at_assignment(full, entry), messages)
                if labels.shape[1]:
                    gathered.setdefault(entry[: bucket.axis] + entry[bucket.axis + 1 :], []).append(labels)
            messages.append(
                {
                    key: efficient(np.concatenate(parts, axis=1)) if parts[1:] else parts[0]
                    for key, parts in gathered.items()
                }
            )
        labels = np.zeros((self.n_sums + 1, 1), np.int64)
        outside = least.total
        for i, b in enumerate(least.roots):
            outside = outside - least.messages[b]
            message = messages[b].get((), self.nothing)
            labels = self._join(labels, message, outside) if i else message
        return self._choices(labels)

    def _entry(
        self,
        b: int,
        entry: tuple[int, ...],
        full: Reals,
        messages: Sequence[dict[tuple[int, ...], Labels]],
    ) -> Labels:
        """The labels of a bucket at an assignment of its scope; `full` is what a selection through it has at least."""
        bucket = self.owner.buckets[b]
        layout = dict(zip(bucket.scope, entry, strict=True))
        labels: Labels | None = None
        outside = full
        for t, _ in bucket.tables:
            at = tuple(layout[u] for u in self.owner.tables[t].scope)
            outside = outside - at_assignment(self.bounds.best[t], at)
            labels = self._join(labels, self._ways(t, at), outside)
        for m, _ in bucket.messages:
            child = self.owner.buckets[m]
            key = tuple(layout[u] for u in child.scope if u != child.variable)
            outside = outside - at_assignment(self.bounds.least.messages[m], key)
            labels = self._join(labels, messages[m].get(key, self.nothing), outside)
        assert labels is not None
        return self._able(labels, outside)

    def _ways(self, t: int, at: tuple[int, ...]) -> Labels:
        """The ways of a table at an assignment of its scope."""
        known = self._known_ways.get((t, at))
        if known is not None:
            return known
        entries = self.bounds.level.entries_at(t, at)
        sums = self.owner.sums_of(t, entries)
        labels = efficient(np.concatenate([sums, self._record(np.full(len(entries), -1 - t), entries)[None]]))
        self._known_ways[t, at] = labels
        return labels

    def _join(self, one: Labels | None, other: Labels, outside: Reals) -> Labels:
        """All sums of a label of each; `one` is None where nothing is joined yet."""
        if self.should_stop():
            raise TooMany("the time is over")
        if one is None:
            return other
        n, m = one.shape[1], other.shape[1]
        if not n or not m:
            return self.nothing
        self.tried += n * m
        if self.most_labels is not None and self.tried > self.most_labels:
            raise TooMany(f"a search has more than {self.most_labels} labels")
        if self.n_sums == 3 and n * m > FEW:  # dominance in two sums is cheaper than this test, and drops more
            rows = max(1, BLOCK // m)
            blocks = [self._able(_pairs(one, other, i, min(n, i + rows)), outside) for i in range(0, n, rows)]
            joined = np.concatenate(blocks, axis=1)
        else:
            joined = _pairs(one, other, 0, n)
        if n > 1 < m:  # a shift keeps the order and the dominance
            joined = efficient(joined)
        left, right = np.divmod(joined[-1], m)
        joined[-1] = self._record(one[-1, left], other[-1, right])
        return joined

    def _able(self, labels: Labels, outside: Reals) -> Labels:
        if not labels.shape[1]:
            return labels
        return labels[:, self.corners.reach(self.bounds.directions @ labels[:-1] + outside[:, None])]

    def _record(self, left: Ints, right: Ints) -> Ints:
        self.left.append(left)
        self.right.append(right)
        self.made += len(left)
        return np.arange(self.made - len(left), self.made)

    def _choices(self, labels: Labels) -> list[Choice]:
        if not labels.shape[1]:
            return []
        left, right = np.concatenate(self.left), np.concatenate(self.right)
        found = []
        for label in self._able(labels, np.zeros(len(self.bounds.directions)))[-1]:
            entries: dict[int, int] = {}
            pending = [int(label)]
            while pending:
                at = pending.pop()
                if left[at] < 0:
                    entries[-1 - int(left[at])] = int(right[at])
                else:
                    pending += [int(left[at]), int(right[at])]
            found.append(self.owner.choice(entries))
        return found


def _pairs(one: Labels, other: Labels, first: int, end: int) -> Labels:
    """Sums of labels first..end of one with each of the other; the last row has their number, all pairs counted."""
    m = other.shape[1]
    sums = (one[:-1, first:end, None] + other[:-1, None, :]).reshape(len(one) - 1, -1)
    return np.concatenate([sums, np.arange(first * m, end * m)[None]])


def efficient(labels: Labels) -> Labels:
    """The labels that no other one equals or beats in all sums, by rising time."""
    if labels.shape[1] <= 1:
        return labels
    if len(labels) == 3:
        ordered = labels[:, np.lexsort((labels[1], labels[0]))]
        kept = np.ones(ordered.shape[1], np.bool_)
        kept[1:] = ordered[1, 1:] < np.minimum.accumulate(ordered[1])[:-1]
        return ordered[:, kept]
    ordered = labels[:, np.lexsort((labels[2], labels[1], labels[0]))]
    weights: list[int] = []  # a staircase of what was kept: rising weights, falling added bytes
    added: list[int] = []
    kept_at = []
    for i, (w, a) in enumerate(zip(ordered[1].tolist(), ordered[2].tolist(), strict=True)):
        at = bisect.bisect_right(weights, w)
        if at and added[at - 1] <= a:
            continue
        kept_at.append(i)
        first = bisect.bisect_left(weights, w)
        end = first
        while end < len(weights) and added[end] >= a:
            end += 1
        weights[first:end], added[first:end] = [w], [a]
    return ordered[:, kept_at]
