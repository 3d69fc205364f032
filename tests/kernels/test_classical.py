"""Workspace of the classical families against figures worked out by hand, and the weight orders they share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import registry
from kernels.conv.fft import frequency_order, smooth_length
from kernels.gemm_packing import BLOCK, PANEL, pack_pixels, pack_planar
from kernels.spec import Shape
from tests.strategies import edge_shapes, window_shape

# Third block of VGG-16 (Simonyan & Zisserman 2015, D): 256 channels of 56x56, 3x3, padding 1.
VGG = window_shape("conv", 256, 56, 56, m=256, kernel=(3, 3), pads=(1, 1, 1, 1))
# Second layer of AlexNet (Krizhevsky et al. 2012): two groups, 5x5.
ALEXNET = window_shape("conv", 96, 27, 27, m=256, kernel=(5, 5), pads=(2, 2, 2, 2), group=2)
# The 5x5 branch of GoogLeNet's inception 3b (Szegedy et al. 2015).
INCEPTION = window_shape("conv", 32, 28, 28, m=96, kernel=(5, 5), pads=(2, 2, 2, 2))
# Convolution cv6 of Cho & Brand 2017, Table 2: 256 channels of 12x12, 512 kernels of 3x3, stride 1, no padding.
CV6 = window_shape("conv", 256, 12, 12, m=512, kernel=(3, 3))


@pytest.mark.parametrize(
    ("name", "shape", "elems"),
    [
        # Nine taps of 256 channels for each of 3136 pixels: the 28 MB of a full im2col on this layer.
        ("conv_im2col_chw_chw_f32", VGG, 7_225_344),
        ("conv_im2row_hwc_hwc_f32", VGG, 7_225_344),
        # 2304 floats per pixel, 56 pixels per row.
        ("conv_im2col_strip1_chw_chw_f32", VGG, 129_024),
        ("conv_im2row_strip4_chw_hwc_f32", VGG, 516_096),
        # 58 padded rows of 56 x 3 x 256: the third of im2col that MEC promises, plus its border.
        ("conv_mec_hwc_hwc_f32", VGG, 2_494_464),
        # Nine planes of 256 x 3136, one plane, none.
        ("conv_kn2row_chw_chw_f32", VGG, 7_225_344),
        ("conv_kn2row_shift_chw_chw_f32", VGG, 802_816),
        ("conv_kn2row_accumulate_chw_chw_f32", VGG, 0),
        ("conv_kn2col_hwc_hwc_f32", VGG, 7_225_344),
        ("conv_kn2col_shift_hwc_hwc_f32", VGG, 802_816),
        ("conv_kn2col_accumulate_hwc_hwc_f32", VGG, 0),
        # 28 + 4 inputs: 32 x 17 points, twice, for 33 spectra, and a tile of 32 x 32 complex numbers.
        ("conv_fft_chw_chw_f32", INCEPTION, 37_952),
        # 16 x 9 points; four tiles at a time.
        ("conv_fft_tile16_chw_chw_f32", VGG, 288 * 257 + 512),
        ("conv_fft_tile16x4_chw_chw_f32", VGG, 4 * 288 * 257 + 512),
        # One group of 48 channels at a time: 48 * 25 * 729; 31 * 27 * 5 * 48.
        ("conv_im2col_chw_chw_f32", ALEXNET, 874_800),
        ("conv_mec_hwc_hwc_f32", ALEXNET, 200_880),
        ("conv_kn2row_chw_chw_f32", ALEXNET, 25 * 128 * 729),
        # o_w x i_h x k_w x i_c of Cho & Brand, equation 3.
        ("conv_mec_hwc_hwc_f32", CV6, 10 * 12 * 3 * 256),
    ],
)
def test_workspace_is_the_figure_worked_out_by_hand(name: str, shape: Shape, elems: int) -> None:
    primitive = registry.get(name)
    assert primitive.refuses(shape) is None
    assert primitive.workspace_elems(shape) == elems


@given(m=st.integers(1, 40), k=st.integers(1, 9))
def test_planar_panels_hold_every_weight_once_in_rows_of_8_4_2_1(m: int, k: int) -> None:
    matrix = np.arange(m * k, dtype=np.float32).reshape(m, k)
    packed = pack_planar(matrix)
    assert len(packed) == m * k
    row = 0
    for rows in [PANEL] * (m // PANEL) + [size for size in (4, 2, 1) if m % PANEL & size]:
        panel = packed[row * k : (row + rows) * k].reshape(k, rows)
        assert np.array_equal(panel.T, matrix[row : row + rows])
        row += rows
    assert row == m


@given(m=st.integers(1, 70), k=st.integers(1, 9))
def test_pixel_blocks_hold_every_weight_once_in_columns_of_16(m: int, k: int) -> None:
    matrix = np.arange(m * k, dtype=np.float32).reshape(k, m)
    packed = pack_pixels(matrix)
    assert len(packed) == m * k
    for column in range(0, m, BLOCK):
        columns = min(BLOCK, m - column)
        block = packed[column * k : (column + columns) * k].reshape(k, columns)
        assert np.array_equal(block, matrix[:, column : column + columns])


@given(st.integers(1, 2000))
def test_transform_lengths_have_no_prime_factor_above_five_and_none_is_skipped(n: int) -> None:
    lengths = {2**a * 3**b * 5**c for a in range(12) for b in range(8) for c in range(6)}
    assert smooth_length(n) == min(length for length in lengths if length >= n)


@given(st.integers(1, 300).map(smooth_length))
def test_frequency_order_is_a_permutation(n: int) -> None:
    assert sorted(frequency_order(n)) == list(range(n))


@pytest.mark.parametrize("family", ["im2col", "im2row", "kn2row", "kn2col", "mec"])
def test_gemm_families_ship_no_more_weights_than_the_operator_has(family: str) -> None:
    for primitive in registry.all_primitives().values():
        if primitive.family != family:
            continue
        for shape in edge_shapes("conv"):
            assert primitive.packing.elems(shape) == shape.m * (shape.c // shape.group) * shape.kh * shape.kw


def test_strided_kn2row_is_refused_where_it_would_compute_outputs_to_throw_away() -> None:
    strided = window_shape("conv", 8, 9, 9, m=8, kernel=(3, 3), stride=(2, 2))
    for name in ("conv_kn2row_chw_chw_f32", "conv_kn2col_shift_hwc_hwc_f32"):
        assert "stride 2x2" in (registry.get(name).refuses(strided) or "")
    assert registry.get("conv_kn2col_accumulate_hwc_hwc_f32").refuses(strided) is None


def test_fft_refuses_weights_that_outgrow_memory() -> None:
    huge = window_shape("conv", 512, 112, 112, m=512, kernel=(3, 3), pads=(1, 1, 1, 1))
    assert "MiB" in (registry.get("conv_fft_chw_chw_f32").refuses(huge) or "")
