from __future__ import annotations

import random
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import arena as arenas
from solver.arena import place
from solver.packing import Packing
from solver.problem import Buffer, BufferKind


@st.composite
def buffer_lists(draw, max_size=12, max_steps=8):
    buffers = []
    for i in range(draw(st.integers(0, max_size))):
        first = draw(st.integers(0, max_steps - 1))
        last = draw(st.integers(first + 1, max_steps))
        buffers.append(Buffer(BufferKind.OUTPUT, i, 64 * draw(st.integers(1, 9)), first, last))
    return buffers


def smallest_arena(buffers: list[Buffer]) -> int:
    """Every order, each buffer as low as it fits: some order gives an optimal packing."""
    best = sum(b.size_bytes for b in buffers)
    for order in permutations(buffers):
        placed: list[tuple[int, Buffer]] = []
        for b in order:
            rivals = sorted((o, o + r.size_bytes) for o, r in placed if r.first < b.last and b.first < r.last)
            offset = 0
            for bottom, top in rivals:
                if bottom - offset >= b.size_bytes:
                    break
                offset = max(offset, top)
            placed.append((offset, b))
        best = min(best, max(o + b.size_bytes for o, b in placed))
    return best


@settings(max_examples=150, deadline=None)
@given(buffer_lists())
def test_buffers_that_live_together_never_share_bytes(buffers):
    arena = place(buffers, 64)
    assert [p.buffer for p in arena.placements] == buffers
    assert arena.arena_bytes == max((p.offset_bytes + p.buffer.size_bytes for p in arena.placements), default=0)
    for i, p in enumerate(arena.placements):
        assert p.offset_bytes >= 0
        assert p.offset_bytes % 64 == 0
        for q in arena.placements[:i]:
            apart_in_time = p.buffer.last <= q.buffer.first or q.buffer.last <= p.buffer.first
            apart_in_space = (
                p.offset_bytes + p.buffer.size_bytes <= q.offset_bytes
                or q.offset_bytes + q.buffer.size_bytes <= p.offset_bytes
            )
            assert apart_in_time or apart_in_space


@settings(max_examples=60, deadline=None)
@given(buffer_lists(max_size=6))
def test_arena_proven_minimal_is_the_smallest_of_all_orders(buffers):
    arena = place(buffers, 64)
    assert arena.proven_minimal
    if buffers:
        assert arena.arena_bytes == smallest_arena(buffers)


@settings(max_examples=60, deadline=None)
@given(buffer_lists(max_size=6).filter(bool))
def test_each_method_alone_is_right(buffers):
    packing = Packing(buffers)
    least = smallest_arena(buffers)
    worst = packing.lowest_fit(sorted(range(len(buffers)), key=lambda i: packing.sizes[i]))
    placed, proven = packing.milp(worst, 10.0)
    assert proven
    assert packing.height(placed) == least
    placed, proven = packing.job_shop(worst)
    assert packing.height(placed) == least
    assert proven == (least > packing.bound)
    found = packing.skyline()
    assert (found is not None) == (least == packing.bound)
    if found is not None:
        assert packing.height(found) == least


def units(rectangles: list[tuple[int, int, int]]) -> list[Buffer]:
    """(first, last, units of 64 bytes) as buffers."""
    return [Buffer(BufferKind.OUTPUT, i, 64 * size, first, last) for i, (first, last, size) in enumerate(rectangles)]


# fmt: off
HARD_FOR_GREEDY = [(0, 2, 1), (0, 1, 6), (4, 7, 1), (2, 3, 6), (7, 9, 1), (1, 4, 2), (0, 4, 6)]
HARD_FOR_ONE_PASS = [
    (4, 8, 1), (6, 7, 1), (10, 11, 3), (1, 4, 1), (3, 5, 3), (3, 6, 1), (0, 2, 2), (9, 12, 2), (6, 9, 4), (11, 12, 1),
    (0, 1, 3), (9, 11, 1), (0, 2, 1), (4, 5, 1), (8, 10, 2), (2, 3, 3), (2, 4, 1), (5, 6, 4), (7, 8, 1), (11, 12, 2),
    (11, 12, 1), (1, 3, 1), (9, 10, 1),
]
HARD_FOR_SKYLINE = [
    (0, 1, 3), (0, 1, 1), (7, 10, 4), (6, 7, 2), (1, 3, 2), (10, 12, 3), (3, 5, 4), (0, 4, 2), (5, 12, 2), (10, 12, 1),
    (0, 1, 1), (1, 3, 1), (0, 1, 1), (4, 6, 4), (5, 12, 1), (6, 7, 2), (3, 4, 2), (1, 3, 2), (5, 12, 1), (1, 3, 1),
]
BOUND_OUT_OF_REACH = [
    (1, 3, 4), (7, 8, 2), (5, 7, 1), (4, 6, 1), (3, 7, 3), (7, 8, 2), (1, 5, 2), (6, 8, 2), (3, 4, 1), (5, 6, 1),
]
# fmt: on


@pytest.mark.parametrize(
    ("rectangles", "method"),
    [
        (HARD_FOR_ONE_PASS, "job shop"),
        (HARD_FOR_ONE_PASS, "complaints"),
        (HARD_FOR_GREEDY, "skyline"),
        (HARD_FOR_SKYLINE, "milp"),
    ],
    ids=["one pass", "job shop", "greedy", "skyline"],
)
def test_the_next_method_reaches_the_bound_where_one_fails(rectangles, method, monkeypatch):
    monkeypatch.setattr(arenas, "_lowest", {})  # nothing is known of it
    if method != "job shop":
        monkeypatch.setattr("solver.packing.EFFORT", -1)
    if method == "milp":
        monkeypatch.setattr("solver.packing.SEARCH_NODES", 10)
    arena = place(units(rectangles), 64)
    assert arena.arena_bytes == arena.lower_bound_bytes
    assert (arena.method, arena.proven_minimal) == (method, True)


def test_a_bound_out_of_reach_is_proven_so():
    arena = place(units(BOUND_OUT_OF_REACH), 64)
    assert arena.lower_bound_bytes == 6 * 64
    assert arena.arena_bytes == 7 * 64
    assert arena.proven_minimal


def test_without_time_for_a_proof_none_is_claimed(monkeypatch):
    monkeypatch.setattr(arenas, "_lowest", {})  # nothing is known of it
    monkeypatch.setattr("solver.packing.EFFORT", -1)
    arena = place(units(BOUND_OUT_OF_REACH), 64, time_limit_s=0.0)
    assert arena.arena_bytes > arena.lower_bound_bytes
    assert not arena.proven_minimal


def test_a_misaligned_size_is_refused():
    with pytest.raises(ValueError, match="not a buffer"):
        place([Buffer(BufferKind.OUTPUT, 0, 65, 0, 1)], 64)


@pytest.mark.parametrize("seed", range(40))
def test_buffers_that_fit_in_any_case_do_and_leave_the_least_height_as_it_is(seed):
    rng = random.Random(seed)
    rectangles = []
    for _ in range(rng.randrange(4, 8)):
        first = rng.randrange(6)
        rectangles.append((first, rng.randrange(first + 1, 8), rng.choice([1, 1, 1, 2, 5, 9])))
    buffers = units(rectangles)
    least = smallest_arena(buffers)
    for enough in (0, least - 64, least, least + 64, least + 192):
        packing = Packing(buffers, enough)
        core, easy = packing.core()
        assert sorted([*core, *easy]) == list(range(len(buffers)))
        inner = Packing([buffers[i] for i in core], packing.goal)
        placed, _ = inner.milp(inner.greedy(), 10.0) if core else (np.zeros(0, np.int64), True)
        offsets = np.full(len(buffers), -1, np.int64)
        offsets[core] = placed
        whole = packing.lowest_fit(easy, offsets)
        overlapping = [(i, j) for i in range(len(whole)) for j in packing.neighbours[i] if i < j]
        for i, j in overlapping:
            assert whole[i] + packing.sizes[i] <= whole[j] or whole[j] + packing.sizes[j] <= whole[i]
        assert packing.height(whole) <= max(least, packing.goal)
        arena = place(buffers, 64, enough_bytes=enough)
        assert arena.arena_bytes <= max(least, enough)
        assert arena.arena_bytes == least or not arena.proven_minimal
