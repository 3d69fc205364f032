"""The memory planner of small interpreters: largest buffer first, each at the lowest offset free during its life.

A reference to compare with, never a way to a point: `solver.arena` places those.
"""

from __future__ import annotations

from collections.abc import Sequence

from solver.arena import Arena
from solver.problem import Buffer, BufferKind, Placement

LARGEST_FIRST = "largest first"
"""The method of its arenas."""


def largest_first(buffers: Sequence[Buffer]) -> Arena:
    """Buffers by falling size, ties in the order given, each into the lowest gap between those it meets in time.

    What TensorFlow Lite Micro's GreedyMemoryPlanner does; resident buffers come before all others. Sizes are rounded
    up to the alignment already, so offsets are aligned. Placements come in the order of `buffers`.
    """
    placed: list[Placement] = []
    for buffer in sorted(buffers, key=lambda one: (one.kind is not BufferKind.RESIDENT, -one.size_bytes)):
        met = [p for p in placed if p.buffer.first < buffer.last and buffer.first < p.buffer.last]
        offset_bytes = 0
        for other in sorted(met, key=lambda one: one.offset_bytes):
            if other.offset_bytes - offset_bytes >= buffer.size_bytes:
                break
            offset_bytes = max(offset_bytes, other.offset_bytes + other.buffer.size_bytes)
        placed.append(Placement(buffer, offset_bytes))
    of = {p.buffer: p for p in placed}
    arena_bytes = max((p.offset_bytes + p.buffer.size_bytes for p in placed), default=0)
    steps = {b.first for b in buffers}
    live_bytes = max((sum(b.size_bytes for b in buffers if b.first <= t < b.last) for t in steps), default=0)
    return Arena(tuple(of[b] for b in buffers), arena_bytes, live_bytes, arena_bytes == live_bytes, LARGEST_FIRST)
