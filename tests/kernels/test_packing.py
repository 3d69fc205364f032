"""Packing puts every weight where the C reads it: each test finds weights again by the documented order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import registry
from kernels.conv import dense, depthwise, panels
from kernels.spec import Array, Layout, Shape, weight_elems
from tests.kernels.streamed import unpacked

ALL = list(registry.all_primitives().values())


def conv(c: int, m: int, kh: int, kw: int, group: int = 1) -> Shape:
    return Shape("conv", c * group, 9, 9, m * group, 9, 9, kh, kw, group=group)


def numbered(s: Shape) -> Array:
    """Weights that are all different and not zero."""
    return np.arange(1, weight_elems(s) + 1, dtype=np.float32)


@given(total=st.integers(1, 200), widest=st.integers(1, 8))
def test_panels_are_few_and_share_the_blocks_evenly(total: int, widest: int) -> None:
    sizes = panels.panel_blocks(total, widest)
    assert sum(sizes) == total
    assert len(sizes) == -(-total // widest)
    assert max(sizes) <= widest
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("layout", [Layout.CHW, Layout.HWC, Layout.CHW16C])
@pytest.mark.parametrize("family", ["rows_r8", "panel"])
def test_dense_weights_meet_the_input_in_memory_order(layout: Layout, family: str) -> None:
    s = Shape("dense", 19, 3, 5, 37, 1, 1)
    primitive = registry.get(f"dense_{family}_{layout}_chw_f32")
    weights = numbered(s)
    x = np.random.default_rng(3).standard_normal((s.c, s.h, s.w)).astype(np.float32)
    packed = primitive.packing.pack(s, weights)
    assert packed.size == primitive.packing.elems(s)
    stored = layout.store(x)
    matrix = packed.reshape(s.m, -1) if family != "panel" else unpacked(packed, stored.size, s.m, dense.PANEL_BLOCKS).T
    expected = weights.reshape(s.m, -1).astype(np.float64) @ x.reshape(-1)
    np.testing.assert_allclose(matrix.astype(np.float64) @ stored, expected, rtol=1e-9)


def test_dense_hwc_is_refused_where_it_is_chw_under_another_name() -> None:
    primitive = registry.get("dense_rows_r8_hwc_chw_f32")
    assert primitive.refuses(Shape("dense", 64, 1, 1, 10, 1, 1)) == "same as chw"
    assert primitive.refuses(Shape("dense", 1, 8, 8, 10, 1, 1)) == "same as chw"
    assert primitive.refuses(Shape("dense", 2, 8, 8, 10, 1, 1)) is None


@given(c=st.integers(1, 40), kernel=st.sampled_from([(3, 3), (1, 5)]))
def test_depthwise_weights_lie_block_by_block_and_tap_by_tap(c: int, kernel: tuple[int, int]) -> None:
    s = conv(1, 1, *kernel, group=c)
    taps = numbered(s).reshape(c, -1)
    blocked, hwc = depthwise.pack_blocked(s, taps), depthwise.pack_hwc(s, taps)
    assert blocked.size == hwc.size == depthwise.packed_elems(s)
    lanes = blocked.reshape(-1, s.kh * s.kw, 16).transpose(0, 2, 1).reshape(-1, s.kh * s.kw)
    np.testing.assert_array_equal(lanes[:c], taps)
    assert not lanes[c:].any()
    # In hwc the last block ends with the last channel, where there are enough.
    first = max(0, c - 16)
    np.testing.assert_array_equal(hwc[: blocked.size - s.kh * s.kw * 16], blocked[: -s.kh * s.kw * 16])
    np.testing.assert_array_equal(hwc[-s.kh * s.kw * 16 :].reshape(-1, 16)[:, : c - first].T, taps[first:])
