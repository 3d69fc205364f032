"""Offsets for buffers with known lifetimes: greedy orders, then exact methods: a job shop, a skyline search, a MILP."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solver.packing import Ints, Packing
from solver.problem import Buffer, BufferKind, Placement

MOST_KNOWN = 512  # packings kept in mind
MOST_PAIRS = 20_000  # overlapping pairs the MILP is still worth building for


@dataclass(frozen=True)
class Arena:
    """Where every buffer lies. `lower_bound_bytes` is the largest sum of live buffers: no arena is smaller.

    `proven_minimal`: no placement of these buffers needs fewer bytes (the bound is reached, or the MILP says so).
    """

    placements: tuple[Placement, ...]
    arena_bytes: int
    lower_bound_bytes: int
    proven_minimal: bool
    method: str  # "greedy", "complaints", "job shop", "skyline" or "milp"


def place(buffers: Sequence[Buffer], align_bytes: int, *, time_limit_s: float = 20.0, enough_bytes: int = 0) -> Arena:
    """The smallest arena the chain of methods finds, placements in the order of `buffers`; offsets are aligned.

    Each method runs only while the arena is larger than the lower bound and than `enough_bytes`. `time_limit_s` bounds
    the MILP. Resident buffers come first, in their order; the others lie behind them, for which nothing is lost, since
    whatever lies below a resident buffer can be moved up by its size.
    """
    residents = [buffer for buffer in buffers if buffer.kind is BufferKind.RESIDENT]
    if residents:
        first_bytes = sum(buffer.size_bytes for buffer in residents)
        others = [buffer for buffer in buffers if buffer.kind is not BufferKind.RESIDENT]
        enough = max(0, enough_bytes - first_bytes)
        return _behind(residents, place(others, align_bytes, time_limit_s=time_limit_s, enough_bytes=enough), buffers)
    for buffer in buffers:
        if buffer.size_bytes <= 0 or buffer.size_bytes % align_bytes or not 0 <= buffer.first < buffer.last:
            raise ValueError(f"not a buffer of an arena aligned to {align_bytes} bytes: {buffer}")
    if not buffers:
        return Arena((), 0, 0, True, "greedy")
    packing = Packing(buffers, enough_bytes)
    best, method, proven = packing.greedy(), "greedy", False
    if packing.height(best) > packing.goal:
        best, method, proven = _search(packing, best, method, time_limit_s)
    height = packing.height(best)
    return Arena(
        placements=tuple(Placement(b, int(offset)) for b, offset in zip(buffers, best, strict=True)),
        arena_bytes=height,
        lower_bound_bytes=packing.bound,
        proven_minimal=height == packing.bound or (proven and height > packing.goal),
        method=method,
    )


_lowest: dict[bytes, tuple[Ints, str]] = {}
"""Proven lowest packings of cores met before, and how they were found: a front meets the same one again and again."""
_lowest_lock = threading.Lock()


def _search(packing: Packing, best: Ints, method: str, time_limit_s: float) -> tuple[Ints, str, bool]:
    """All other methods on the buffers that could be in each other's way; the others find a place in any case.

    `best` was found by `method`. Returns (offsets, method, whether nothing lower is possible but what the goal allows).
    """
    core, easy = packing.core()
    inner = Packing([packing.buffers[i] for i in core], packing.goal)
    found, proven = best[core], False
    known = _lowest.get(inner.key)
    if known is not None and (inner.height(known[0]) < inner.height(found) or inner.height(known[0]) > inner.goal):
        found, method, proven = *known, True
    elif known is None and inner.height(found) > inner.goal:
        found, method, proven = _exact(inner, found, method, time_limit_s)
        if inner.height(found) == inner.bound or (proven and inner.height(found) > inner.goal):
            with _lowest_lock:  # a server's threads lay out at the same time
                _lowest[inner.key] = found, method
                if len(_lowest) > MOST_KNOWN:
                    del _lowest[next(iter(_lowest))]
    offsets = np.full(len(best), -1, np.int64)
    offsets[core] = found
    return packing.lowest_fit(easy, offsets), method, proven


def _exact(packing: Packing, best: Ints, method: str, time_limit_s: float) -> tuple[Ints, str, bool]:
    """Below the height of `best`, found by `method`: (offsets, method, whether nothing lower is possible)."""

    def lower(offsets: Ints, by: str) -> bool:
        """Take them where they are lower. Whether the goal is reached."""
        nonlocal best, method
        if packing.height(offsets) < packing.height(best):
            best, method = offsets, by
        return packing.height(best) <= packing.goal

    offsets, proven = packing.job_shop(best)
    if lower(offsets, "job shop") or proven or lower(packing.complaints(best), "complaints"):
        return best, method, proven
    lying = packing.skyline()
    if lying is not None:
        return lying, "skyline", False
    if packing.pairs <= MOST_PAIRS:
        offsets, proven = packing.milp(best, time_limit_s)
        lower(offsets, "milp")
    return best, method, proven


def _behind(residents: Sequence[Buffer], arena: Arena, order: Sequence[Buffer]) -> Arena:
    """The arena with the resident buffers in front of it, placements in the given order."""
    offsets = [0, *itertools.accumulate(buffer.size_bytes for buffer in residents)]
    first_bytes = offsets.pop()
    at = {id(buffer): offset for buffer, offset in zip(residents, offsets, strict=True)}
    at |= {id(placed.buffer): first_bytes + placed.offset_bytes for placed in arena.placements}
    return Arena(
        placements=tuple(Placement(buffer, at[id(buffer)]) for buffer in order),
        arena_bytes=first_bytes + arena.arena_bytes,
        lower_bound_bytes=first_bytes + arena.lower_bound_bytes,
        proven_minimal=arena.proven_minimal,
        method=arena.method,
    )
