"""Winograd: matrices, packed weights, workspace worked out by hand, refusals and measured errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kernels import reference, registry
from kernels.conv import winograd_form
from kernels.harness import Harness
from kernels.spec import Shape, weight_elems
from tests.kernels.contract import relative_error
from tests.kernels.streamed import unpacked
from tests.strategies import operands, window_shape

ALL = [p for p in registry.all_primitives().values() if p.family == "winograd"]
LINE = [p for p in ALL if p.variant.startswith("l")]
PHASE = [p for p in ALL if "s2" in p.variant]
SQUARE = [p for p in ALL if p not in LINE and p not in PHASE]


def kernel_of(variant: str) -> int:
    return int(variant[variant.index("k") + 1]) if "k" in variant else 3


def layer(c: int, hw: int, m: int, kernel: int = 3, stride: int = 1, group: int = 1) -> Shape:
    pad = kernel // 2
    return window_shape(
        "conv", c, hw, hw, m=m, kernel=(kernel, kernel), stride=(stride, stride), pads=(pad,) * 4, group=group
    )


@pytest.mark.parametrize(("m", "r"), [(2, 3), (4, 3), (5, 3), (6, 3), (2, 5), (4, 5), (4, 2)])
def test_filter_transform_evaluates_the_filter_at_its_points(m: int, r: int) -> None:
    """Row i times the product of differences is w(p_i); the last row is the leading coefficient."""
    w = np.random.default_rng(m * r).standard_normal(r)
    a = m + r - 1
    points = ([] if a % 2 else [0.0]) + [sign * p for p in winograd_form.PAIRS[a] for sign in (1, -1)]
    assert len(points) == a - 1
    values = winograd_form.filter_transform(m, r) @ w
    for i, p in enumerate(points):
        scale = np.prod([p - q for k, q in enumerate(points) if k != i])
        assert values[i] * scale == pytest.approx(np.polynomial.polynomial.polyval(p, w))
    assert values[-1] == w[-1]


@pytest.mark.parametrize("form", ["f2", "f4", "f5", "f6", "f2k5", "f4k5"])
@pytest.mark.parametrize("group", [1, 2])
def test_weights_are_transformed_once_and_streamed_plane_by_plane(form: str, group: int) -> None:
    primitive = registry.get(f"conv_winograd_{form}_b3t8_hwc_hwc_f32")
    r = kernel_of(form)
    m_tile = int(form[1])
    c, m, planes = 3, 83, (m_tile + r - 1) ** 2
    s = layer(c * group, 9, m * group, r, group=group)
    weights = np.random.default_rng(7).standard_normal(weight_elems(s)).astype(np.float32)
    packed = primitive.packing.pack(s, weights)
    assert packed.size == primitive.packing.elems(s)
    G = winograd_form.filter_transform(m_tile, r)
    filters = weights.reshape(group, m, c, r, r)
    for g, part in enumerate(np.split(packed, group)):
        streamed = unpacked(part, planes * c, m, 3).reshape(planes, c, m)
        for channel in range(c):
            for out in (0, 17, m - 1):
                expected = G @ filters[g, out, channel].astype(np.float64) @ G.T
                np.testing.assert_array_equal(streamed[:, channel, out], expected.astype(np.float32).reshape(-1))


@pytest.mark.parametrize(("form", "kernel"), [("f4s2", 3), ("f4s2k5", 5)])
def test_weights_of_stride_2_have_no_row_for_the_products_that_vanish(form: str, kernel: int) -> None:
    primitive = registry.get(f"conv_winograd_{form}_b3t8_hwc_hwc_f32")
    c, m, r = 2, 20, (kernel + 1) // 2
    finite = 4 + r - 2
    s = layer(c, 15, m, kernel, stride=2)
    weights = np.random.default_rng(8).standard_normal(weight_elems(s)).astype(np.float32)
    packed = primitive.packing.pack(s, weights)
    assert packed.size == primitive.packing.elems(s) == (2 * finite + 1) ** 2 * c * 32
    rows = unpacked(packed, (2 * finite + 1) ** 2 * c, m, 3)
    filters = weights.reshape(m, c, kernel, kernel)
    # Plane (0, 0) has four phases of c channels; the last one, at infinity twice, only the last tap of the longest.
    G = winograd_form.filter_transform(4, r)
    for channel in range(c):
        odd = np.zeros((r, r))
        odd[: r - 1, : r - 1] = filters[5, channel, 1::2, 1::2]
        assert rows[3 * c + channel, 5] == np.float32((G @ odd @ G.T)[0, 0])
        assert rows[-c + channel, 5] == filters[5, channel, -1, -1]


# Workspace in floats, worked out by hand: tiles held * (planes * channels + planes * lanes) + gaps.
@pytest.mark.parametrize(
    ("variant", "shape", "elems"),
    [
        # 14 x 14 tiles of 4 x 4 in 25 blocks of at most 8; panels of 2 blocks of 16.
        ("f4_b3t8", layer(16, 55, 64), 36 * 8 * (16 + 32) + 71 * 16),
        # 9 tiles of 5 x 5 in one block, or two of 5 and 4; one block of 16 lanes.
        ("f5_b1t12", layer(48, 13, 192), 49 * 9 * (48 + 16) + 97 * 16),
        ("f5_b1t6", layer(48, 13, 192), 49 * 5 * (48 + 16) + 97 * 16),
        # All 16 tiles; panels of one block of 16.
        ("f4_full", layer(48, 13, 192), 36 * 16 * (48 + 16) + 71 * 16),
        # 25 tiles of 6 x 6 in 4 blocks of at most 7, two groups of 64 -> 40 channels: panels of 3 blocks.
        ("f6_b3t8", layer(128, 28, 80, group=2), 64 * 7 * (64 + 48) + 127 * 16),
        # 16 tiles in 4 blocks: 81 products of 16 channels, 25 planes of 16 lanes.
        ("f4s2_b1t4", layer(16, 32, 32, stride=2), 4 * (81 * 16 + 25 * 16) + 49 * 16),
        # 11 * 11 products of 48 channels; 64 tiles in 8 blocks; 64 outputs are panels of 2 blocks.
        ("f4s2k5_b3t8", layer(48, 64, 64, 5, stride=2), 8 * (121 * 48 + 36 * 32) + 71 * 16),
        # 17 rows of 9 tiles of 2 in 26 blocks of at most 6.
        (
            "l2k7_b4t6",
            window_shape("conv", 128, 17, 17, m=128, kernel=(1, 7), pads=(0, 3, 0, 3)),
            8 * 6 * 192 + 15 * 16,
        ),
        # 8 columns of 2 tiles of 4 in 3 blocks of at most 6.
        ("l4_b4t6", window_shape("conv", 384, 8, 8, m=384, kernel=(3, 1), pads=(1, 0, 1, 0)), 6 * 6 * 448 + 11 * 16),
    ],
)
def test_workspace_is_the_figure_worked_out_by_hand(variant: str, shape: Shape, elems: int) -> None:
    primitive = registry.get(f"conv_winograd_{variant}_hwc_hwc_f32")
    assert primitive.refusal(shape) is None
    assert primitive.workspace_elems(shape) == elems


@pytest.mark.parametrize("primitive", SQUARE, ids=lambda p: p.name)
def test_square_tiles_refuse_what_they_cannot_compute(primitive) -> None:
    r = kernel_of(primitive.variant)
    assert primitive.refuses(layer(16, 30, 16, r)) is None
    assert primitive.refuses(layer(16, 30, 16, r, stride=2))
    assert primitive.refuses(layer(16, 30, 16, 7))
    dilated = window_shape("conv", 16, 30, 30, m=16, kernel=(r, r), dilation=(2, 2))
    assert primitive.refuses(dilated)


@pytest.mark.parametrize("primitive", PHASE, ids=lambda p: p.name)
def test_phases_refuse_what_they_cannot_compute(primitive) -> None:
    kernel = kernel_of(primitive.variant)
    assert primitive.refuses(layer(16, 30, 16, kernel, stride=2)) is None
    assert primitive.refuses(layer(16, 30, 16, kernel))
    assert primitive.refuses(layer(16, 30, 16, 7, stride=2))
    uneven = window_shape("conv", 16, 30, 30, m=16, kernel=(kernel, kernel), stride=(2, 1))
    assert primitive.refuses(uneven)


@pytest.mark.parametrize("primitive", LINE, ids=lambda p: p.name)
def test_lines_refuse_what_they_cannot_compute(primitive) -> None:
    r = kernel_of(primitive.variant)
    for kernel in ((1, r), (r, 1)):
        pads = (kernel[0] // 2, kernel[1] // 2) * 2
        assert primitive.refuses(window_shape("conv", 16, 30, 30, m=16, kernel=kernel, pads=pads)) is None
        assert primitive.refuses(window_shape("conv", 16, 30, 30, m=16, kernel=kernel, stride=(2, 2), pads=pads))
    assert primitive.refuses(layer(16, 30, 16, r))
    assert primitive.refuses(layer(16, 30, 16, 1))


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("form", ["l4", "l2k7"])
def test_weights_of_lines_are_the_transformed_taps(form: str, vertical: bool) -> None:
    primitive = registry.get(f"conv_winograd_{form}_b4t6_hwc_hwc_f32")
    r, m_tile = kernel_of(form), int(form[1])
    s = window_shape("conv", 5, 9, 9, m=33, kernel=(r, 1) if vertical else (1, r))
    weights = np.random.default_rng(9).standard_normal(weight_elems(s)).astype(np.float32)
    packed = primitive.packing.pack(s, weights)
    planes = m_tile + r - 1
    rows = unpacked(packed, planes * 5, 33, 4).reshape(planes, 5, 33)
    expected = winograd_form.filter_transform(m_tile, r) @ weights.reshape(33, 5, r)[32, 4].astype(np.float64)
    np.testing.assert_array_equal(rows[:, 4, 32], expected.astype(np.float32))


def test_blockings_that_make_the_same_call_are_offered_once() -> None:
    nine_tiles = layer(16, 13, 16)  # of 5 x 5
    calls = {p.variant: p.refusal(nine_tiles) for p in SQUARE if p.variant.startswith("f5") and p.in_layout == "hwc"}
    assert [v for v, why in calls.items() if why is None] == ["f5_b1t12", "f5_b1t4", "f5_b1t6", "f5_b3t8", "f5_b4t6"]
    four_tiles = layer(16, 8, 16)  # of 4 x 4
    assert registry.get("conv_winograd_f4_b4t6_hwc_hwc_f32").refusal(four_tiles) is None
    assert registry.get("conv_winograd_f4_full_hwc_hwc_f32").refusal(four_tiles) is None
    assert registry.get("conv_winograd_f4_b1t4_hwc_hwc_f32").refusal(four_tiles) == "4 tiles: the same as full"
    assert registry.get("conv_winograd_f4_b3t16_hwc_hwc_f32").refusal(four_tiles) == "4 tiles: the same as b3t8"


@pytest.mark.parametrize(
    ("variant", "shape", "most"),
    [
        ("f2_b3t8", layer(64, 14, 16), 1e-6),
        ("f4_b3t8", layer(64, 14, 16), 1e-5),
        ("f5_b3t8", layer(64, 14, 16), 1.5e-5),
        ("f6_b3t8", layer(64, 14, 16), 3e-5),
        ("f4k5_b3t8", layer(32, 14, 16, 5), 2e-5),
        ("f4s2_b3t8", layer(64, 15, 16, stride=2), 5e-6),
        ("f4s2k5_b3t8", layer(64, 15, 16, 5, stride=2), 1e-5),
    ],
)
def test_error_of_a_form_stays_in_its_class_with_room(
    variant: str, shape: Shape, most: float, harness_of: Callable[[str], Harness]
) -> None:
    """A wrong point or a lost digit of a matrix shows here long before the declared class is left."""
    primitive = registry.get(f"conv_winograd_{variant}_hwc_hwc_f32")
    given = operands(shape, 0)
    expected = reference.compute(shape, given.attrs, given.inputs, given.weights, given.bias)
    result = harness_of("native").check(primitive, shape, given.attrs, given.inputs, given.weights, given.bias)
    error = relative_error(result.y, expected, float(np.max(np.abs(expected))))
    assert error <= most
    assert most <= primitive.max_rel_err
