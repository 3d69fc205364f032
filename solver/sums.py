"""Bounds on weights beside a sum that shares the budget with the arena: label searches of three sums. No HiGHS.

Resident weights take bytes of the arena for ever, so a budget bounds the largest step plus their sum. With a bound on
shipped weights a selection has three sums (time, weights, added bytes) beside its largest step. A step of a front is
confirmed by searching all selections up to the claimed time: over ranges of levels of the largest step, each searched
only if Lagrangian bounds cannot rule it out, and halved down to one level.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from solver.dp import Bucket, DynamicProgram
from solver.front import FrontPoint
from solver.pareto import FAR, SLACK, Ints, Reals
from solver.problem import MemoryAxis, Problem
from solver.tables import NEVER

ASCENTS = 30  # steps towards the best multipliers of all levels
MORE_ASCENTS = 6  # from those to the best of half a range
MOST_LABELS = 2_000_000  # of one search
CONFIRM_S = 10.0  # for all steps of a front


Multipliers = tuple[float, float]
"""What a byte of weights and an added one are worth in nanoseconds."""


class TooMany(Exception):
    """A search has more labels than are worth their memory, or its time is over; nothing is claimed."""


@dataclass(frozen=True)
class Step:
    """A step of a front: within a budget on the axis and a bound on weights (None: none), nothing beats `claim`.

    Without a claim: nothing fits.
    """

    budget_bytes: int | None
    max_weights_bytes: int | None
    claim: FrontPoint | None


@dataclass(frozen=True)
class _Sums:
    """A complete selection: its three sums and its largest step."""

    time_ns: int
    weights_bytes: int
    added_bytes: int
    need_bytes: int


@dataclass(frozen=True)
class _Region:
    """Upper bounds of the three sums, and the level that no step may exceed."""

    bounds: Reals  # time, weights, added
    level_bytes: int


class SumsProgram:
    """The least time within both bounds, on the arena or the total axis. TooWide when the tables cannot be built."""

    def __init__(self, problem: Problem, axis: MemoryAxis):
        program = DynamicProgram(problem, MemoryAxis.ARENA, weights_matter=True)
        self.tables, self.buckets = program.tables, program.buckets
        self.roots = [b for b, bucket in enumerate(self.buckets) if len(bucket.scope) == 1]
        used = [table.need_bytes for table in self.tables]
        self.levels: Ints = np.unique(np.concatenate(used))
        weighs = axis is MemoryAxis.TOTAL
        self.added: list[Ints] = [t.resident_bytes + (t.weights_bytes if weighs else 0) for t in self.tables]
        self.n_nodes = len(problem.nodes)

    def fastest_ns(
        self,
        budget_bytes: int | None,
        max_weights_bytes: int | None,
        claim_ns: int | None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> int | None:
        """The least time within both bounds, None when nothing is as fast as the claim (None: nothing at all fits)."""
        if not len(self.levels):
            return None
        best = FAR if claim_ns is None else float(claim_ns + 1)
        most_weights = FAR if max_weights_bytes is None else float(max_weights_bytes)
        found: int | None = None
        pending: list[tuple[int, int, Multipliers | None]] = [(0, len(self.levels) - 1, None)]
        while pending:
            if should_stop():
                raise TooMany("the time is over")
            low, high, known = pending.pop()
            room = FAR if budget_bytes is None else float(budget_bytes - int(self.levels[low]))
            if room < 0:
                continue
            region = _Region(np.array([best - 1, most_weights, room]), int(self.levels[high]))
            level = _Level(self, region.level_bytes)
            multipliers, candidates = self._multipliers(level, region, known)
            if low == high and multipliers is not None:
                candidates += _Search(_Bounds(level, _directions(multipliers)), region, should_stop).run()
            for sums in candidates:
                fits = budget_bytes is None or sums.need_bytes + sums.added_bytes <= budget_bytes
                if fits and sums.weights_bytes <= most_weights and sums.time_ns < best:
                    best, found = float(sums.time_ns), sums.time_ns
            if multipliers is not None and low < high:
                middle = (low + high) // 2
                pending += [(low, middle, multipliers), (middle + 1, high, multipliers)]  # larger levels first
        return found

    def _multipliers(
        self, level: _Level, region: _Region, known: Multipliers | None
    ) -> tuple[Multipliers | None, list[_Sums]]:
        """Good multipliers for bounding a region, None when they show it empty; and selections met on the way.

        Ascent of min over selections of time + multipliers * (sums - bounds), by Polyak's step towards the time bound.
        """
        met: list[_Sums] = []
        bounds = _Bounds(level, np.eye(3))
        if not np.isfinite(bounds.total).all() or (bounds.total > region.bounds * (1 + SLACK)).any():
            return None, met
        met += [bounds.trace_back(k) for k in range(3)]
        multipliers = np.array(known or (0.0, 0.0))
        best, best_value = multipliers, -np.inf
        for _ in range(ASCENTS if known is None else MORE_ASCENTS):
            direction = np.array([[1.0, *multipliers]])
            bounds = _Bounds(level, direction)
            value = float(bounds.total[0]) - float(multipliers @ region.bounds[1:])
            if float(bounds.total[0]) > float(direction[0] @ region.bounds) * (1 + SLACK):
                return None, met
            if value > best_value:
                best, best_value = multipliers, value
            sums = bounds.trace_back(0)
            met.append(sums)
            over = np.array([sums.weights_bytes, sums.added_bytes]) - region.bounds[1:]
            over = np.where((multipliers <= 0) & (over < 0), 0.0, over)
            length = float(over @ over)
            if length == 0.0:
                break
            multipliers = np.maximum(0.0, multipliers + over * (max(region.bounds[0] - value, 1.0) / length))
        return (float(best[0]), float(best[1])), met


def _directions(multipliers: Multipliers) -> Reals:
    """The three sums alone, time with both multipliers, and with each of them."""
    both = [[1.0, *multipliers]]
    each = [[1.0, multipliers[0], 0.0], [1.0, 0.0, multipliers[1]]] if all(multipliers) else []
    return np.array([*np.eye(3).tolist(), *both, *each])


class _Level:
    """The tables in doubles, infinite where a way needs more than the level."""

    def __init__(self, owner: SumsProgram, level_bytes: int):
        self.owner, self.level_bytes = owner, level_bytes
        self.times: list[Reals] = []
        self.weights: list[Reals] = []
        self.added: list[Reals] = []
        for table, added in zip(owner.tables, owner.added, strict=True):
            times, needs = table.grids
            fits = (needs <= level_bytes) & (times < NEVER)
            along = (-1,) + (1,) * (times.ndim - 1)
            self.times.append(np.where(fits, times, np.inf))
            self.weights.append(table.weights_bytes.reshape(along).astype(np.float64))
            self.added.append(added.reshape(along).astype(np.float64))

    def costs(self, t: int, direction: Reals) -> Reals:
        """A direction's sum of each way of table t; [way, ...]."""
        alpha, beta, gamma = direction.tolist()
        times = self.times[t] if alpha == 1.0 else np.where(np.isfinite(self.times[t]), 0.0, np.inf)
        costs: Reals = times + (beta * self.weights[t] + gamma * self.added[t])
        return costs


class _Bounds:
    """Min-sums in every direction within a level: upward messages, and for each bucket the rest of the tree.

    In a direction time counts as it is, or not at all.
    """

    def __init__(self, level: _Level, directions: Reals):
        self.level, self.owner, self.directions = level, level.owner, directions
        owner = self.owner
        self.sums: list[Reals] = []
        self.messages: list[Reals] = []
        best = [
            np.stack([level.costs(t, direction).min(axis=0) for direction in directions])
            for t in range(len(owner.tables))
        ]
        n = len(directions)
        for bucket in owner.buckets:
            total = np.zeros((n, *bucket.shape))
            for t, shape in bucket.tables:
                total += best[t].reshape(n, *shape)
            for m, shape in bucket.messages:
                total += self.messages[m].reshape(n, *shape)
            self.sums.append(total)
            self.messages.append(total.min(axis=1 + bucket.axis))
        self.total: Reals = np.sum([self.messages[b] for b in owner.roots], axis=0)

    def trace_back(self, k: int) -> _Sums:
        """The best selection in direction k."""
        owner = self.owner
        layout = [0] * owner.n_nodes
        for b in reversed(range(len(owner.buckets))):
            bucket = owner.buckets[b]
            at = tuple(slice(None) if u == bucket.variable else layout[u] for u in bucket.scope)
            layout[bucket.variable] = int(self.sums[b][k][at].argmin())
        time_ns = weights_bytes = added_bytes = need_bytes = 0
        for t, table in enumerate(owner.tables):
            at = tuple(layout[u] for u in table.scope)
            way = int(self.level.costs(t, self.directions[k])[(slice(None), *at)].argmin())
            time_ns += int(table.grids[0][(way, *at)])
            need_bytes = max(need_bytes, int(table.grids[1][(way, *at)]))
            weights_bytes += int(table.weights_bytes[way])
            added_bytes += int(owner.added[t][way])
        return _Sums(time_ns, weights_bytes, added_bytes, need_bytes)

    def rests(self) -> list[Reals]:
        """For each bucket and each layout of its separator, the min-sums of everything outside its subtree."""
        owner = self.owner
        rests: list[Reals] = [np.zeros(0)] * len(owner.buckets)
        for b in owner.roots:
            others = [self.messages[r] for r in owner.roots if r != b]
            rests[b] = np.sum(others, axis=0) if others else np.zeros(len(self.directions))
        for b in reversed(range(len(owner.buckets))):
            bucket = owner.buckets[b]
            full = self.sums[b] + np.expand_dims(rests[b], 1 + bucket.axis)
            for m, shape in bucket.messages:
                message = self.messages[m].reshape(len(self.directions), *shape)
                with np.errstate(invalid="ignore"):
                    outside = np.where(np.isfinite(message), full - message, np.inf)
                gone = tuple(1 + i for i, extent in enumerate(shape) if extent == 1 and bucket.shape[i] > 1)
                rests[m] = outside.min(axis=gone).reshape(self.messages[m].shape)
        return rests


Labels = Ints
"""[3 sums, label]: time, weights, added; then the largest step: [4, label]."""


class _Search:
    """One pass over the buckets with sets of labels. The largest step rides along, it decides nothing."""

    def __init__(self, bounds: _Bounds, region: _Region, should_stop: Callable[[], bool]):
        self.owner, self.bounds, self.should_stop = bounds.owner, bounds, should_stop
        self.most = (bounds.directions @ region.bounds) * (1 + SLACK)
        self.made = 0

    def run(self) -> list[_Sums]:
        owner, bounds = self.owner, self.bounds
        rests = bounds.rests()
        messages: list[dict[tuple[int, ...], Labels]] = []
        for b, bucket in enumerate(owner.buckets):
            full = bounds.sums[b] + np.expand_dims(rests[b], 1 + bucket.axis)
            alive = (full <= self.most.reshape(-1, *(1,) * len(bucket.scope))).all(axis=0)
            gathered: dict[tuple[int, ...], list[Labels]] = {}
            for found in np.argwhere(alive).tolist():
                entry: tuple[int, ...] = tuple(found)
                labels = self._entry(bucket, entry, messages)
                separator = entry[: bucket.axis] + entry[bucket.axis + 1 :]
                rest = np.array([of_direction[separator] for of_direction in rests[b]])
                labels = labels[:, (bounds.directions @ labels[:3] + rest[:, None] <= self.most[:, None]).all(axis=0)]
                if labels.shape[1]:
                    gathered.setdefault(separator, []).append(labels)
            messages.append({key: _efficient(np.concatenate(parts, axis=1)) for key, parts in gathered.items()})
        labels = np.zeros((4, 1), np.int64)
        for b in owner.roots:
            labels = self._join(labels, messages[b].get((), np.zeros((4, 0), np.int64)))
        return [_Sums(*map(int, label)) for label in labels.T]

    def _entry(
        self, bucket: Bucket, entry: tuple[int, ...], messages: Sequence[dict[tuple[int, ...], Labels]]
    ) -> Labels:
        layout = dict(zip(bucket.scope, entry, strict=True))
        labels = np.zeros((4, 1), np.int64)
        for t, _ in bucket.tables:
            labels = self._join(labels, self._ways(t, layout))
        for m, _ in bucket.messages:
            child = self.owner.buckets[m]
            key = tuple(layout[u] for u in child.scope if u != child.variable)
            labels = self._join(labels, messages[m].get(key, np.zeros((4, 0), np.int64)))
        return labels

    def _ways(self, t: int, layout: dict[int, int]) -> Labels:
        table = self.owner.tables[t]
        at: tuple[slice | int, ...] = (slice(None), *(layout[u] for u in table.scope))
        times, needs = (grid[at] for grid in table.grids)
        ways = np.flatnonzero((needs <= self.bounds.level.level_bytes) & (times < NEVER))
        return _efficient(np.stack([times[ways], table.weights_bytes[ways], self.owner.added[t][ways], needs[ways]]))

    def _join(self, one: Labels, other: Labels) -> Labels:
        if self.should_stop():
            raise TooMany("the time is over")
        self.made += one.shape[1] * other.shape[1]
        if self.made > MOST_LABELS:
            raise TooMany(f"a search has more than {MOST_LABELS} labels")
        sums = (one[:3, :, None] + other[:3, None, :]).reshape(3, -1)
        needs = np.maximum(one[3][:, None], other[3][None, :]).reshape(1, -1)
        joined = np.concatenate([sums, needs])
        return joined if min(one.shape[1], other.shape[1]) <= 1 else _efficient(joined)


def _efficient(labels: Labels) -> Labels:
    """The labels that no other one equals or beats in its three sums."""
    order = np.lexsort((labels[3], labels[2], labels[1], labels[0]))
    weights: list[int] = []  # a staircase of what was kept: rising weights, falling added bytes
    added: list[int] = []
    kept = []
    for i, w, a in zip(order.tolist(), labels[1][order].tolist(), labels[2][order].tolist(), strict=True):
        at = bisect.bisect_right(weights, w)
        if at and added[at - 1] <= a:
            continue
        kept.append(i)
        first = bisect.bisect_left(weights, w)
        end = first
        while end < len(weights) and added[end] >= a:
            end += 1
        weights[first:end], added[first:end] = [w], [a]
    return labels[:, kept]


def confirm(
    problem: Problem,
    axis: MemoryAxis,
    steps: Sequence[Step],
    compare: Callable[[int | None, FrontPoint | None, int | None], None],
    should_cancel: Callable[[], bool] | None = None,
    limit_s: float = 0.0,
) -> str:
    """Search every step, evenly spread first, and `compare`; "" when all were, else how many in the time there is.

    That is CONFIRM_S, or `limit_s` if that is more.
    """
    deadline_s = time.perf_counter() + max(CONFIRM_S, limit_s)

    def should_stop() -> bool:
        return time.perf_counter() > deadline_s or (should_cancel is not None and should_cancel())

    program = SumsProgram(problem, axis)
    order = sorted(range(len(steps)), key=lambda i: (-(i & -i) if i else -len(steps), i))
    for confirmed, i in enumerate(order):
        step = steps[i]
        claim_ns = step.claim.evaluation.time_ns if step.claim else None
        try:
            found_ns = program.fastest_ns(step.budget_bytes, step.max_weights_bytes, claim_ns, should_stop)
        except TooMany as reason:
            return f"labels confirmed {confirmed} of {len(steps)} steps: {reason}"
        compare(step.budget_bytes, step.claim, found_ns)
    return ""
