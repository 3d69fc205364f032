"""Exact trade-offs with weights: label sets over the dynamic program's tables, cut by Lagrangian bounds.

Where weights are bounded or counted, cost has two sums (time, weights) and the linear relaxation is far from integral.
Here every bucket passes on the non-dominated (time, weights) sums of its subtree, for each layout of its separator. A
label is dropped when no completion can reach the wanted region: the bounds on a completion are min-sums of
alpha * time + beta * weights over the rest, for a few directions (alpha, beta), the two axes among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from solver.dp import Bucket, DynamicProgram
from solver.problem import MemoryAxis, Problem, Selection
from solver.tables import NEVER

Reals = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DIRECTIONS = 14  # besides time alone and weights alone
SLACK = 1e-9  # relative; sums of doubles err by 1e-13 at most, so no reachable label is ever dropped
MOST_COMPARISONS = 4_000_000  # of labels with corners, for one sharper test
FAR = 1e17  # beyond any time or weight


@dataclass(frozen=True)
class Choice:
    """A complete selection with its exact sums. `need_bytes` is its arena (or workspace, by the program's axis)."""

    time_ns: int
    weights_bytes: int
    need_bytes: int
    selection: Selection


class Corners:
    """The wanted region: all (time, weights) at or below at least one corner. Corners rise in time, fall in weights."""

    def __init__(self, time_ns: Sequence[float], weights_bytes: Sequence[float], alpha: Reals, beta: Reals):
        self.time_ns = np.asarray(time_ns, np.float64)
        self.weights_bytes = np.asarray(weights_bytes, np.float64)
        lines = alpha[:, None] * self.time_ns + beta[:, None] * self.weights_bytes
        # levels[i][k, c]: largest value of direction k over corners c .. c + 2^i - 1
        self.levels = [lines]
        span = 1
        while 2 * span <= lines.shape[1]:
            last = self.levels[-1]
            self.levels.append(np.maximum(last[:, :-span], last[:, span:]))
            span *= 2

    def reach(self, values: Reals) -> npt.NDArray[np.bool_]:
        """Which columns of lower bounds `values[k, n]` (row 0: time, row 1: weights) some corner may still admit."""
        low = np.searchsorted(self.time_ns * (1 + SLACK), values[0], side="left")
        high = np.searchsorted(-self.weights_bytes * (1 + SLACK), -values[1], side="right") - 1
        able: npt.NDArray[np.bool_] = (low <= high) & np.isfinite(values).all(axis=0)
        where = np.flatnonzero(able)
        if not len(where):
            return able
        first, last = low[where], high[where]
        level = np.frexp((last - first + 1).astype(np.float64))[1] - 1
        most = np.empty((len(values), len(where)))
        for i in np.unique(level):
            mine = level == i
            table = self.levels[i]
            most[:, mine] = np.maximum(table[:, first[mine]], table[:, last[mine] - (1 << int(i)) + 1])
        able[where] = (values[:, where] <= most * (1 + SLACK)).all(axis=0)
        return able

    def reach_together(self, values: Reals) -> npt.NDArray[np.bool_]:
        """Sharper: which columns a single corner admits by every bound, as far as comparing all pairs is cheap."""
        able = self.reach(values)
        lines = self.levels[0] * (1 + SLACK)
        where = np.flatnonzero(able)
        if len(where) * lines.shape[1] > MOST_COMPARISONS:
            return able
        meets = np.ones((len(where), lines.shape[1]), np.bool_)
        for value, line in zip(values[:, where], lines, strict=True):
            meets &= value[:, None] <= line
        able[where] = meets.any(axis=1)
        return able


@dataclass
class _Labels:
    """Non-dominated sums by rising time and falling weights, and who made them."""

    time_ns: Ints
    weights_bytes: Ints
    ids: Ints


class ParetoProgram:
    """Bi-objective optimum over a problem's layouts at any memory level. TooWide when the tables cannot be built."""

    def __init__(self, problem: Problem, axis: MemoryAxis):
        self.problem = problem
        self.program = DynamicProgram(problem, axis, weights_matter=True)
        self.tables, self.buckets = self.program.tables, self.program.buckets
        self.alpha, self.beta = np.array([1.0, 0.0]), np.array([0.0, 1.0])
        self.roots = [b for b, bucket in enumerate(self.buckets) if len(bucket.scope) == 1]
        used = [table.need_bytes for table in self.tables]
        self.levels: Ints = np.unique(np.concatenate(used)) if used else np.zeros(0, np.int64)
        self._choose_directions()

    def _choose_directions(self) -> None:
        """Directions along the supported trade-offs without a memory limit, found by dichotomy."""
        if not len(self.levels):
            return
        top = int(self.levels[-1])
        found = self._optima(_Bounds(self, top))
        if len(found) < 2:
            return
        pending = [(found[0], found[1])]
        while pending and len(self.alpha) < 2 + DIRECTIONS:
            left, right = pending.pop(0)
            down, across = left.weights_bytes - right.weights_bytes, right.time_ns - left.time_ns
            if down <= 0 or across <= 0:
                continue
            self.alpha = np.append(self.alpha, down / (down + across))
            self.beta = np.append(self.beta, across / (down + across))
            middle = self._optima(_Bounds(self, top, directions=slice(-1, None)))[0]
            if middle.time_ns not in (left.time_ns, right.time_ns):
                pending += [(left, middle), (middle, right)]

    def corners(self, time_ns: Sequence[float], weights_bytes: Sequence[float]) -> Corners:
        """A wanted region in this program's directions."""
        return Corners(time_ns, weights_bytes, self.alpha, self.beta)

    def optima(self, level_bytes: int) -> tuple[_Bounds, list[Choice]]:
        """Bounds within `level_bytes`, and the best selection in each direction (none when nothing fits)."""
        bounds = _Bounds(self, level_bytes)
        return bounds, self._optima(bounds)

    def _optima(self, bounds: _Bounds) -> list[Choice]:
        return [bounds.trace_back(k) for k in range(len(bounds.total)) if np.isfinite(bounds.total[k])]

    def search(self, bounds: _Bounds, corners: Corners) -> list[Choice]:
        """All non-dominated (time, weights) within the level of `bounds` and the wanted region."""
        return _Search(self, bounds, corners).run()

    def fastest_ns(self, budget_bytes: int | None, max_weights_bytes: int, claim_ns: int | None) -> int | None:
        """The least time within both bounds; None when nothing fits. A right `claim_ns` makes the search short.

        The region searched reaches up to the claim, so an answer above a claim is never given: None says that nothing
        is as fast as the claim.
        """
        if not len(self.levels):
            return None
        top = int(self.levels[-1])
        bounds = _Bounds(self, top if budget_bytes is None else min(budget_bytes, top))
        corners = self.corners([FAR if claim_ns is None else float(claim_ns)], [float(max_weights_bytes)])
        if not corners.reach(bounds.total[:, None])[0]:
            return None
        return min((c.time_ns for c in self.search(bounds, corners)), default=None)

    def choice(self, ways: dict[int, int], layout: Sequence[int]) -> Choice:
        """The figures of one way per table."""
        time_ns = weights_bytes = need_bytes = 0
        options = []
        for t, table in enumerate(self.tables):
            at = (ways[t], *(layout[u] for u in table.scope))
            time_ns += int(table.grids[0][at])
            need_bytes = max(need_bytes, int(table.grids[1][at]))
            weights_bytes += int(table.weights_bytes[ways[t]])
            options.append(table.options[ways[t]])
        return Choice(time_ns, weights_bytes, need_bytes, Selection(tuple(options)))

    def layouts_of(self, ways: dict[int, int]) -> list[int]:
        """The layout index each node writes."""
        found = []
        for v, table in enumerate(self.tables):
            wrote = self.problem.nodes[v].options[table.options[ways[v]]].out_layout
            found.append(self.program.layouts[v].index(wrote))
        return found


class _Bounds:
    """Min-sums in every direction within a memory level: upward messages, and for each bucket the rest of the tree."""

    def __init__(self, owner: ParetoProgram, level_bytes: int, directions: slice = slice(None)):
        self.owner, self.level_bytes = owner, level_bytes
        self.alpha, self.beta = owner.alpha[directions], owner.beta[directions]
        self.sums: list[Reals] = []
        self.messages: list[Reals] = []
        best = [self._best(t) for t in range(len(owner.tables))]
        n = len(self.alpha)
        for bucket in owner.buckets:
            total = np.zeros((n, *bucket.shape))
            for t, shape in bucket.tables:
                total += best[t].reshape(n, *shape)
            for m, shape in bucket.messages:
                total += self.messages[m].reshape(n, *shape)
            self.sums.append(total)
            self.messages.append(total.min(axis=1 + bucket.axis))
        self.total: Reals = np.sum([self.messages[b] for b in owner.roots], axis=0)

    def costs(self, t: int, at: tuple[int | slice, ...] = ()) -> Reals:
        """alpha * time + beta * weights of each way of table t, infinite when it does not fit; [k, way, ...]."""
        table = self.owner.tables[t]
        times, needs = (grid[(slice(None), *at)] for grid in table.grids)
        spread = (-1,) + (1,) * (times.ndim - 1)
        along = (-1,) + (1,) * times.ndim
        fits = (needs <= self.level_bytes) & (times < NEVER)
        value = self.alpha.reshape(along) * times + self.beta.reshape(along) * table.weights_bytes.reshape(spread)
        return np.where(fits, value, np.inf)

    def _best(self, t: int) -> Reals:
        best: Reals = self.costs(t).min(axis=1)
        return best

    def trace_back(self, k: int) -> Choice:
        """The best selection in direction k."""
        owner = self.owner
        layout = [0] * len(owner.tables)
        for b in reversed(range(len(owner.buckets))):
            bucket = owner.buckets[b]
            at = tuple(slice(None) if u == bucket.variable else layout[u] for u in bucket.scope)
            layout[bucket.variable] = int(self.sums[b][k][at].argmin())
        ways = {}
        for t, table in enumerate(owner.tables):
            ways[t] = int(self.costs(t, tuple(layout[u] for u in table.scope))[k].argmin())
        return owner.choice(ways, layout)

    def rests(self) -> list[Reals]:
        """For each bucket and each layout of its separator, the min-sums of everything outside its subtree."""
        owner = self.owner
        rests: list[Reals | None] = [None] * len(owner.buckets)
        for b in owner.roots:
            others = [self.messages[r] for r in owner.roots if r != b]
            rests[b] = np.sum(others, axis=0) if others else np.zeros(len(self.alpha))
        found: list[Reals] = []
        for b in reversed(range(len(owner.buckets))):
            bucket = owner.buckets[b]
            rest = rests[b]
            assert rest is not None
            found.append(rest)
            full = self.sums[b] + np.expand_dims(rest, 1 + bucket.axis)
            for m, shape in bucket.messages:
                message = self.messages[m].reshape(len(self.alpha), *shape)
                with np.errstate(invalid="ignore"):
                    outside = np.where(np.isfinite(message), full - message, np.inf)
                gone = tuple(1 + i for i, extent in enumerate(shape) if extent == 1 and bucket.shape[i] > 1)
                rests[m] = outside.min(axis=gone).reshape(self.messages[m].shape)
        return found[::-1]


class _Search:
    """One pass over the buckets with label sets instead of numbers."""

    def __init__(self, owner: ParetoProgram, bounds: _Bounds, corners: Corners):
        self.owner, self.bounds, self.corners = owner, bounds, corners
        # A label's recipe: two earlier labels, or (-1 - table, way).
        self.left: list[Ints] = []
        self.right: list[Ints] = []
        self.made = 0

    def run(self) -> list[Choice]:
        owner, bounds = self.owner, self.bounds
        rests = bounds.rests()
        messages: list[dict[tuple[int, ...], _Labels]] = []
        for b, bucket in enumerate(owner.buckets):
            full = bounds.sums[b] + np.expand_dims(rests[b], 1 + bucket.axis)
            alive = self.corners.reach_together(full.reshape(len(full), -1)).reshape(bucket.shape)
            gathered: dict[tuple[int, ...], list[_Labels]] = {}
            for found in np.argwhere(alive).tolist():
                entry: tuple[int, ...] = tuple(found)
                layout = dict(zip(bucket.scope, entry, strict=True))
                labels: _Labels | None = None
                for t, _ in bucket.tables:
                    labels = self._join(labels, self._ways(t, layout))
                for m, _ in bucket.messages:
                    child = owner.buckets[m]
                    key = tuple(layout[u] for u in child.scope if u != child.variable)
                    labels = self._join(labels, messages[m].get(key))
                if labels is None or not len(labels.time_ns):
                    continue
                separator = entry[: bucket.axis] + entry[bucket.axis + 1 :]
                rest = rests[b].reshape(len(full), -1)[:, self._flat(bucket, separator)]
                values = (
                    bounds.alpha[:, None] * labels.time_ns + bounds.beta[:, None] * labels.weights_bytes + rest[:, None]
                )
                gathered.setdefault(separator, []).append(_pick(labels, self.corners.reach(values)))
            messages.append({key: _best_of(parts) if parts[1:] else parts[0] for key, parts in gathered.items()})
        labels = None
        for b in owner.roots:
            labels = self._join(labels, messages[b].get(()))
        return [] if labels is None or not len(labels.ids) else self._choices(labels)

    @staticmethod
    def _flat(bucket: Bucket, separator: tuple[int, ...]) -> int:
        """The position of a separator assignment in a flattened message of the bucket."""
        at = 0
        for extent, index in zip(bucket.shape[: bucket.axis] + bucket.shape[bucket.axis + 1 :], separator, strict=True):
            at = at * extent + index
        return at

    def _ways(self, t: int, layout: dict[int, int]) -> _Labels:
        table = self.owner.tables[t]
        at: tuple[slice | int, ...] = (slice(None), *(layout[u] for u in table.scope))
        times, needs = (grid[at] for grid in table.grids)
        ways = np.flatnonzero((needs <= self.bounds.level_bytes) & (times < NEVER))
        ids = self._record(np.full(len(ways), -1 - t), ways)
        if len(ways) == 1:
            return _Labels(times[ways], table.weights_bytes[ways], ids)
        return _best_of([_Labels(times[ways], table.weights_bytes[ways], ids)])

    def _join(self, one: _Labels | None, other: _Labels | None) -> _Labels:
        """All sums of a label of each; the first may be None (nothing joined yet), the second None means no label."""
        if other is None:
            return _Labels(*(np.zeros(0, np.int64),) * 3)
        if one is None:
            return other
        if len(other.ids) == 1:  # a shift keeps the order and the dominance
            ids = self._record(one.ids, np.repeat(other.ids, len(one.ids)))
            return _Labels(one.time_ns + other.time_ns, one.weights_bytes + other.weights_bytes, ids)
        times = (one.time_ns[:, None] + other.time_ns).reshape(-1)
        weights = (one.weights_bytes[:, None] + other.weights_bytes).reshape(-1)
        kept = _efficient(times, weights)
        left, right = np.divmod(kept, max(1, len(other.ids)))
        return _Labels(times[kept], weights[kept], self._record(one.ids[left], other.ids[right]))

    def _record(self, left: Ints, right: Ints) -> Ints:
        self.left.append(left)
        self.right.append(right)
        self.made += len(left)
        return np.arange(self.made - len(left), self.made)

    def _choices(self, labels: _Labels) -> list[Choice]:
        left = np.concatenate(self.left)
        right = np.concatenate(self.right)
        found = []
        values = self.bounds.alpha[:, None] * labels.time_ns + self.bounds.beta[:, None] * labels.weights_bytes
        for label in labels.ids[self.corners.reach(values)]:
            ways: dict[int, int] = {}
            pending = [int(label)]
            while pending:
                at = pending.pop()
                if left[at] < 0:
                    ways[-1 - int(left[at])] = int(right[at])
                else:
                    pending += [int(left[at]), int(right[at])]
            found.append(self.owner.choice(ways, self.owner.layouts_of(ways)))
        return found


def _efficient(times: Ints, weights: Ints) -> Ints:
    """Indices of the non-dominated pairs, by rising time; one of equals."""
    order = np.lexsort((weights, times))
    sorted_weights = weights[order]
    kept = np.ones(len(order), np.bool_)
    kept[1:] = sorted_weights[1:] < np.minimum.accumulate(sorted_weights)[:-1]
    return order[kept]


def _pick(labels: _Labels, which: npt.NDArray[np.bool_]) -> _Labels:
    return _Labels(labels.time_ns[which], labels.weights_bytes[which], labels.ids[which])


def _best_of(parts: list[_Labels]) -> _Labels:
    times = np.concatenate([part.time_ns for part in parts])
    weights = np.concatenate([part.weights_bytes for part in parts])
    kept = _efficient(times, weights)
    return _Labels(times[kept], weights[kept], np.concatenate([part.ids for part in parts])[kept])
