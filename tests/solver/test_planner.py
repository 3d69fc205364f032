"""The greedy planner does what interpreters do: it places by size, and is sometimes worse than it has to be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from solver.arena import place
from solver.planner import largest_first
from solver.problem import Buffer, BufferKind


def buffers_of(*lives: tuple[int, int, int]) -> list[Buffer]:
    """(bytes, first, last) as buffers."""
    return [Buffer(BufferKind.OUTPUT, i, size, first, last) for i, (size, first, last) in enumerate(lives)]


def test_the_largest_lies_lowest_and_a_later_one_takes_the_first_gap_that_is_large_enough():
    buffers = buffers_of((64, 0, 4), (256, 1, 2), (128, 3, 4), (192, 2, 3), (128, 0, 2))
    found = largest_first(buffers)
    # 256 at 0; 192 at 0 (never meets it); 128 of steps 3-4 at 0; 128 of steps 0-2 above 256; 64 above what it meets.
    assert [p.offset_bytes for p in found.placements] == [384, 0, 0, 0, 256]
    assert found.arena_bytes == 448
    assert found.arena_bytes == found.lower_bound_bytes
    assert found.proven_minimal


def test_placing_by_size_can_waste_what_the_packing_of_points_saves():
    buffers = buffers_of((192, 1, 3), (128, 0, 2), (128, 2, 4), (64, 0, 1), (64, 3, 4), (64, 0, 4))
    assert largest_first(buffers).arena_bytes >= place(buffers, 64).arena_bytes


def test_nothing_to_place_needs_nothing():
    assert largest_first([]).arena_bytes == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 7), st.integers(1, 4)), max_size=12))
def test_buffers_that_live_together_never_share_bytes_and_no_arena_is_below_the_points(rows):
    buffers = buffers_of(*((64 * size, first, first + length) for size, first, length in rows))
    found = largest_first(buffers)
    assert [p.buffer for p in found.placements] == buffers
    assert all(p.offset_bytes % 64 == 0 for p in found.placements)
    for i, p in enumerate(found.placements):
        for q in found.placements[:i]:
            met = p.buffer.first < q.buffer.last and q.buffer.first < p.buffer.last
            below = min(p, q, key=lambda one: one.offset_bytes)
            above = q if below is p else p
            assert not met or below.offset_bytes + below.buffer.size_bytes <= above.offset_bytes
    assert found.lower_bound_bytes <= place(buffers, 64).arena_bytes <= found.arena_bytes
