"""Least sums over the buckets of an elimination, in several directions at once: what bounds all completions of a part.

A direction weighs the figures of a way (time first) into one number; the least sum of these over all selections, over a
subtree of the elimination, or over all outside it follows from one pass up the buckets and one down.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from solver.buckets import Bucket

Reals = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class MinSums:
    """What follows from `best[t][k, ...]`: the least costs of table t in direction k, by assignments of its scope."""

    def __init__(self, buckets: Sequence[Bucket], best: Sequence[Reals]):
        self.buckets = buckets
        self.n_directions = n = len(best[0])
        self.sums: list[Reals] = []  # [k, ...] over the scope of each bucket
        self.messages: list[Reals] = []
        for bucket in buckets:
            total = np.zeros((n, *bucket.shape))
            for t, shape in bucket.tables:
                total += best[t].reshape(n, *shape)
            for m, shape in bucket.messages:
                total += self.messages[m].reshape(n, *shape)
            self.sums.append(total)
            self.messages.append(total.min(axis=1 + bucket.axis))
        self.roots = [b for b, bucket in enumerate(buckets) if len(bucket.scope) == 1]
        self.total: Reals = np.sum([self.messages[b] for b in self.roots], axis=0)
        self._rests: list[Reals] | None = None

    def layouts(self, k: int) -> list[int]:
        """The layout of each node in the best selection of direction k."""
        found = [0] * len(self.buckets)
        for b in reversed(range(len(self.buckets))):
            bucket = self.buckets[b]
            at = tuple(slice(None) if u == bucket.variable else found[u] for u in bucket.scope)
            found[bucket.variable] = int(self.sums[b][k][at].argmin())
        return found

    def rests(self) -> list[Reals]:
        """For each bucket and each layout of its separator, the least sums of everything outside its subtree."""
        if self._rests is None:
            self._rests = self._find_rests()
        return self._rests

    def _find_rests(self) -> list[Reals]:
        rests: list[Reals] = [np.zeros(0)] * len(self.buckets)
        for b in self.roots:
            others = [self.messages[r] for r in self.roots if r != b]
            rests[b] = np.sum(others, axis=0) if others else np.zeros(self.n_directions)
        for b in reversed(range(len(self.buckets))):
            bucket = self.buckets[b]
            full = self.sums[b] + np.expand_dims(rests[b], 1 + bucket.axis)
            for m, shape in bucket.messages:
                message = self.messages[m].reshape(self.n_directions, *shape)
                with np.errstate(invalid="ignore"):
                    outside = np.where(np.isfinite(message), full - message, np.inf)
                gone = tuple(1 + i for i, extent in enumerate(shape) if extent == 1 and bucket.shape[i] > 1)
                rests[m] = outside.min(axis=gone).reshape(self.messages[m].shape)
        return rests


def at_assignment(sums: Reals, assignment: Sequence[int]) -> Reals:
    """Column of `sums[k, ...]`: every direction at one assignment of the scope."""
    at: tuple[int | slice, ...] = (slice(None), *assignment)
    column: Reals = sums[at]
    return column
