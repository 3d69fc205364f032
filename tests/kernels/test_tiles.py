"""The panels of direct convolution: every weight where the tiles read it, channels rounded up to 8."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import registry
from kernels.conv import panels
from kernels.spec import Array, Layout, Shape, weight_elems

TILED = [p for p in registry.all_primitives().values() if p.source.startswith(("conv/direct_b", "conv/pointwise_b"))]


def conv(c: int, m: int, kh: int, kw: int, group: int = 1) -> Shape:
    return Shape("conv", c * group, 9, 9, m * group, 9, 9, kh, kw, group=group)


def numbered(s: Shape) -> Array:
    """Weights that are all different and not zero."""
    return np.arange(1, weight_elems(s) + 1, dtype=np.float32)


@given(channels=st.integers(1, 300), widest=st.integers(1, 4))
def test_panels_round_channels_up_to_eight_and_share_whole_blocks_evenly(channels: int, widest: int) -> None:
    lanes = panels.conv_lanes(channels, widest)
    eighths = -(-channels // 8)
    assert sum(lanes) == 8 * eighths
    assert all(n % 16 == 0 for n in lanes[:-1])
    assert lanes[-1] in (8, 24) or lanes[-1] % 16 == 0
    assert [n // 16 for n in lanes if n >= 16] == panels.panel_blocks(eighths // 2, widest)
    assert all(n <= 16 * widest for n in lanes)


@given(channels=st.integers(1, 300), widest=st.integers(1, 4))
def test_panels_between_cuts_are_those_of_their_channels_alone(channels: int, widest: int) -> None:
    s = conv(1, channels, 1, 1)
    packing = panels.conv_packing(widest)
    assert packing.cuts is not None
    whole = packing.pack(s, numbered(s))
    for first, last in itertools.combinations([*packing.cuts(s), channels], 2):
        alone = packing.pack(conv(1, last - first, 1, 1), numbered(s)[first:last])
        np.testing.assert_array_equal(whole[first : first + alone.size], alone)


def unpacked(packed: Array, k: int, m: int, widest: int) -> Array:
    """[k][m] read the way the tiles stream a group's panels."""
    columns, at = [], 0
    for lanes in panels.conv_lanes(m, widest):
        columns.append(packed[at : at + k * lanes].reshape(k, lanes))
        at += k * lanes
    assert at == packed.size
    whole = np.concatenate(columns, axis=1)
    assert not whole[:, m:].any(), "missing channels must be zero"
    return whole[:, :m]


@given(
    c=st.integers(1, 5),
    m=st.integers(1, 100),
    kernel=st.sampled_from([(1, 1), (3, 3), (1, 5)]),
    group=st.integers(1, 3),
    widest=st.integers(1, 4),
)
def test_panels_hold_every_weight_tap_by_tap(c: int, m: int, kernel: tuple[int, int], group: int, widest: int) -> None:
    s = conv(c, m, *kernel, group)
    weights = numbered(s)
    packing = panels.conv_packing(widest)
    packed = packing.pack(s, weights)
    assert packed.size == packing.elems(s)
    k = c * s.kh * s.kw
    by_tap = weights.reshape(group, m, c, s.kh * s.kw).transpose(0, 3, 2, 1).reshape(group, k, m)
    for g, part in enumerate(np.split(packed, group)):
        np.testing.assert_array_equal(unpacked(part, k, m, widest), by_tap[g])


@pytest.mark.parametrize("primitive", TILED, ids=lambda p: p.name)
def test_the_panel_width_of_a_variant_is_in_its_name(primitive) -> None:
    s = conv(3, 200, 1, 1)
    widest = int(primitive.variant[1 : primitive.variant.index("p")])
    np.testing.assert_array_equal(
        primitive.packing.pack(s, numbered(s)), panels.conv_packing(widest).pack(s, numbered(s))
    )


@pytest.mark.parametrize("primitive", TILED, ids=lambda p: p.name)
def test_every_tile_adds_a_residual_and_takes_pitched_tensors(primitive) -> None:
    s = conv(3, 20, 1, 1)
    assert primitive.residual
    assert primitive.pitched
    assert primitive.refusal(s) is None
    assert primitive.refusal(Shape(**{**vars(s), "residual": 1, "x_pitch": 90, "y_pitch": 95})) is None


def test_few_variants_read_and_write_blocks_of_eight() -> None:
    for family in ("direct", "pointwise"):
        eights = [p for p in TILED if p.family == family and p.out_layout is Layout.CHW8C]
        assert 1 <= len({p.variant for p in eights}) <= 3
