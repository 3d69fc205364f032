"""Packing puts every weight where the C reads it: each test finds weights again by the documented order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import registry
from kernels.conv import dense, depthwise, panels, winograd
from kernels.spec import Array, Layout, Shape, weight_elems

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


def unpacked(packed: Array, k: int, m: int, widest: int) -> Array:
    """[k][m] read the way the tiles stream a group's panels."""
    columns, at = [], 0
    for blocks in panels.panel_blocks(panels.blocks(m), widest):
        lanes = blocks * panels.BLOCK
        columns.append(packed[at : at + k * lanes].reshape(k, lanes))
        at += k * lanes
    assert at == packed.size
    whole = np.concatenate(columns, axis=1)
    assert not whole[:, m:].any(), "missing channels must be zero"
    return whole[:, :m]


@pytest.mark.parametrize(("m", "r"), [(2, 3), (4, 3), (6, 3), (2, 5), (4, 5)])
def test_filter_transform_evaluates_the_filter_at_its_points(m: int, r: int) -> None:
    """Row i times the product of differences is w(p_i); the last row is the leading coefficient."""
    w = np.random.default_rng(m * r).standard_normal(r)
    points = [0.0] + [sign * p for p in winograd.PAIRS[m + r - 1] for sign in (1, -1)]
    values = winograd.filter_transform(m, r) @ w
    for i, p in enumerate(points):
        scale = np.prod([p - q for k, q in enumerate(points) if k != i])
        assert values[i] * scale == pytest.approx(np.polynomial.polynomial.polyval(p, w))
    assert values[-1] == w[-1]


@pytest.mark.parametrize("form", ["f2", "f4", "f6", "f2k5", "f4k5"])
@pytest.mark.parametrize("group", [1, 2])
def test_winograd_weights_are_transformed_once_and_streamed_plane_by_plane(form: str, group: int) -> None:
    primitive = registry.get(f"conv_winograd_{form}_t12_hwc_hwc_f32")
    r = 5 if form.endswith("k5") else 3
    m_tile = int(form[1])
    c, m, planes = 3, 83, (m_tile + r - 1) ** 2
    s = conv(c, m, r, r, group)
    weights = np.random.default_rng(7).standard_normal(weight_elems(s)).astype(np.float32)
    packed = primitive.packing.pack(s, weights)
    assert packed.size == primitive.packing.elems(s)
    G = winograd.filter_transform(m_tile, r)
    filters = weights.reshape(group, m, c, r, r)
    for g, part in enumerate(np.split(packed, group)):
        streamed = unpacked(part, planes * c, m, 4).reshape(planes, c, m)
        for channel in range(c):
            for out in (0, 17, m - 1):
                expected = G @ filters[g, out, channel].astype(np.float64) @ G.T
                np.testing.assert_array_equal(streamed[:, channel, out], expected.astype(np.float32).reshape(-1))


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


@pytest.mark.parametrize("primitive", [p for p in ALL if p.family == "winograd"], ids=lambda p: p.name)
def test_winograd_refuses_what_its_tiles_cannot_compute(primitive) -> None:
    r = 5 if "k5" in primitive.variant else 3
    accepted = Shape("conv", 16, 30, 30, 16, 30, 30, r, r, pad_t=r // 2, pad_l=r // 2, pad_b=r // 2, pad_r=r // 2)
    assert primitive.refuses(accepted) is None
    assert primitive.refuses(Shape("conv", 16, 30, 30, 16, 15, 15, r, r, stride_h=2, stride_w=2))
    assert primitive.refuses(Shape("conv", 16, 30, 30, 16, 24, 24, 7, 7))
    assert primitive.refuses(Shape("conv", 16, 30, 30, 16, 26, 26, r, r, dilation_h=2, dilation_w=2))
