"""Calls shared among threads: the parts are the call, bit for bit where the routine adds in the same order."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from kernels import registry
from kernels.harness import Harness, _parts
from kernels.spec import F32_BYTES, Layout, Primitive, Shape, bias_elems, weight_elems
from kernels.split import LINE_BYTES, MOST_THREADS, Part, parts_workspace_bytes, split, workspace_bytes
from tests.kernels.contract import remembering, variants
from tests.strategies import edge_shapes, operands

PRIMITIVES = registry.all_primitives()
THREADS = (2, 3, 5)


@functools.lru_cache(maxsize=1)  # tests of one primitive, compiled in several ways, follow each other
def shared_calls(name: str) -> tuple[tuple[Shape, int, tuple[Part, ...]], ...]:
    """Every edge shape, also as part of larger tensors, with its parts on two, three and five threads."""
    return tuple(_shared_calls(PRIMITIVES[name]))


def _shared_calls(primitive: Primitive) -> Iterator[tuple[Shape, int, tuple[Part, ...]]]:
    for seed, shape in enumerate(edge_shapes(primitive.op)):
        if primitive.refusal(shape) is None:
            for variant, threads in itertools.product(variants(primitive, shape, seed), THREADS):
                parts = split(primitive, variant, threads, always=True)
                if len(parts) > 1:
                    yield variant, seed, parts


def written(primitive: Primitive, shape: Shape, at: int) -> np.ndarray:
    """Floats of the output a call writes, counted from `at`."""
    count, length, step = _parts(primitive, shape, None)
    return (at + np.arange(count)[:, None] * step + np.arange(length)).reshape(-1)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_parts_write_disjoint_outputs_that_together_are_the_calls(name: str) -> None:
    primitive = PRIMITIVES[name]
    for shape, _, parts in shared_calls(name):
        found = np.concatenate([written(primitive, part.shape, part.y) for part in parts])
        assert np.array_equal(np.sort(found), np.sort(written(primitive, shape, 0))), shape.key()


@pytest.mark.parametrize("name", PRIMITIVES)
def test_packed_weights_of_a_part_lie_in_those_of_the_call(name: str) -> None:
    primitive = remembering(PRIMITIVES[name])
    for shape, seed, parts in shared_calls(name):
        given = operands(shape, seed)
        kinds = [
            (packing, values, values if values is None else packing.pack(shape, values))
            for packing, values in ((primitive.packing, given.weights), (primitive.bias_packing, given.bias))
        ]
        begin = 0  # output channel
        for part in parts:
            end = begin + part.shape.m
            for (packing, values, whole), at in zip(kinds, (part.weights, part.bias), strict=True):
                if values is None:
                    continue
                own = values
                if shape.op in ("const_add", "const_mul"):
                    rows = _rows_before(primitive, part)
                    own = values.reshape(shape.c, shape.h, shape.w)[:, rows : rows + part.shape.h]
                if part.shape.m < shape.m:
                    own = own.reshape(shape.m, -1)[begin:end]
                packed = packing.pack(part.shape, np.ascontiguousarray(own).reshape(-1))
                assert np.array_equal(whole[at : at + packed.size], packed), f"{shape.key()}: {part.title}"
            if part.shape.m < shape.m:
                begin = end


def _rows_before(primitive: Primitive, part: Part) -> int:
    pixel = part.shape.x_pitch or part.shape.c  # floats from one to the next in hwc
    per_row = part.shape.w * (pixel if primitive.in_layout is Layout.HWC else primitive.in_layout.block)
    return part.x[0] // per_row if part.title.startswith("rows") else 0


@pytest.mark.parametrize("variant", ["sanitized", "native"])
@pytest.mark.parametrize("name", PRIMITIVES)
def test_shared_call_gives_what_one_thread_gives(name: str, variant: str, harness_of: Callable[[str], Harness]) -> None:
    primitive = remembering(PRIMITIVES[name])
    harness = harness_of(variant)
    for (shape, seed), calls in itertools.groupby(shared_calls(name), key=lambda call: call[:2]):
        given = operands(shape, seed)
        arguments = (primitive, shape, given.attrs, given.inputs, given.weights, given.bias)
        alone = harness.check(*arguments)
        for _, _, parts in calls:
            shared = harness.check(*arguments, parts=parts)
            where = f"{shape.key()}: {', '.join(part.title for part in parts)}"
            assert shared.guards_ok, where
            assert shared.inputs_unmodified, where
            assert shared.deterministic, where
            assert shared.padding_zero, where
            assert shared.gaps_ok, where
            assert shared.high_water_bytes == parts_workspace_bytes(primitive, parts), where
            # The order of additions may differ where a part ends in another register tile than the call does there.
            scale = float(np.max(np.abs(alone.y))) or 1.0
            assert np.allclose(shared.y, alone.y, rtol=0, atol=primitive.max_rel_err * scale, equal_nan=True), where
            overwritable = primitive.in_place and shape.x_pitch == shape.y_pitch
            for port in [0] if overwritable else [1] if shape.residual else []:
                again = harness.check(*arguments, in_place=port, parts=parts)
                assert np.array_equal(again.y, shared.y, equal_nan=True), where


def test_operators_of_networks_are_shared() -> None:
    conv = Shape("conv", 64, 56, 56, 64, 56, 56, kh=3, kw=3, pad_t=1, pad_l=1, pad_b=1, pad_r=1)
    for shape in (
        conv,
        Shape("max_pool", 64, 112, 112, 64, 56, 56, kh=2, kw=2, stride_h=2, stride_w=2),
        Shape("lrn", 64, 56, 56, 64, 56, 56, kh=5),
        Shape("add", 64, 56, 56, 64, 56, 56),
        Shape("clamp", 64, 56, 56, 64, 56, 56),
        Shape("dense", 512, 7, 7, 4096, 1, 1),
    ):
        for primitive in registry.candidates(shape)[0]:
            is_hwc = primitive.in_layout is primitive.out_layout is Layout.HWC
            if shape.op == "dense" or is_hwc:
                assert len(split(primitive, shape, 2)) == 2, primitive.name


def test_small_calls_are_not_worth_sharing() -> None:
    clamp = PRIMITIVES["clamp_elementwise_hwc_hwc_f32"]
    shape = Shape("clamp", 16, 8, 8, 16, 8, 8)
    (only,) = split(clamp, shape, 4)
    assert only.shape == shape
    assert len(split(clamp, shape, 4, always=True)) == 4


def test_one_thread_or_none_or_too_many() -> None:
    clamp = PRIMITIVES["clamp_elementwise_hwc_hwc_f32"]
    shape = Shape("clamp", 64, 80, 80, 64, 80, 80)
    assert len(split(clamp, shape, 1)) == 1
    assert len(split(clamp, shape, MOST_THREADS)) == MOST_THREADS
    for threads in (0, -1, MOST_THREADS + 1):
        with pytest.raises(ValueError, match="threads"):
            split(clamp, shape, threads)


def test_winograd_rows_are_cut_between_tiles_and_workspaces_begin_lines() -> None:
    primitive = PRIMITIVES["conv_winograd_f4_full_hwc_hwc_f32"]
    shape = Shape("conv", 32, 30, 30, 32, 30, 30, kh=3, kw=3, pad_t=1, pad_l=1, pad_b=1, pad_r=1)
    parts = split(primitive, shape, 3)
    assert [part.shape.oh for part in parts] == [8, 12, 10]
    assert all(part.workspace * F32_BYTES % LINE_BYTES == 0 for part in parts)
    own = [primitive.workspace_bytes(part.shape) for part in parts]
    rounded = sum(-(-size // LINE_BYTES) * LINE_BYTES for size in own[:-1])
    assert workspace_bytes(primitive, shape, 3) == rounded + own[-1]
    assert workspace_bytes(primitive, shape, 1) == primitive.workspace_bytes(shape)


def test_padding_counted_by_a_mean_is_that_of_the_call() -> None:
    primitive = PRIMITIVES["avg_pool_window_hwc_hwc_f32"]
    shape = Shape("avg_pool", 8, 9, 9, 8, 9, 9, kh=3, kw=3, pad_t=1, pad_l=1, pad_b=1, pad_r=1, count_include_pad=1)
    first, last = (part.shape for part in split(primitive, shape, 2, always=True))
    assert (first.pad_t, first.pad_b, last.pad_t, last.pad_b) == (1, 0, 0, 1)


def test_a_range_of_rows_that_sees_no_row_is_not_a_part() -> None:
    primitive = PRIMITIVES["conv_direct_b2p12_hwc_hwc_f32"]
    shape = Shape("conv", 1, 1, 1, 8, 5, 1, kh=3, kw=1, pad_t=3, pad_b=3)
    assert len(split(primitive, shape, 5, always=True)) == 1


def test_weights_and_bias_are_counted_by_the_operator() -> None:
    dense = PRIMITIVES["dense_rows_r8_chw_chw_f32"]
    shape = Shape("dense", 64, 1, 1, 100, 1, 1)
    first, second = split(dense, shape, 2, always=True)
    assert second.weights == weight_elems(first.shape)
    assert second.bias == second.y == bias_elems(first.shape) == first.shape.m
    assert first.shape.m % 8 == 0
    assert dataclasses.replace(second.shape, m=100) == shape
