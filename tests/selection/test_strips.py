"""Chains run strip by strip give what the whole layers give, with exactly the rows their plan says."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.strips import StripMove, plan_strips
from kernels import reference
from kernels.spec import Shape
from tests.strategies import operands, window_shape


@st.composite
def chains(draw):
    """Two to four windowed layers that feed each other."""
    h, w, c = draw(st.integers(3, 20)), draw(st.integers(3, 6)), 2
    shapes = []
    for _ in range(draw(st.integers(2, 4))):
        op = draw(st.sampled_from(("conv", "conv", "max_pool", "avg_pool", "clamp", "lrn")))
        if op in ("clamp", "lrn"):
            shapes.append(Shape(op, c, h, w, c, h, w, kh=3 if op == "lrn" else 1))
            continue
        k, s = draw(st.sampled_from(((1, 1), (3, 1), (3, 2), (2, 2), (5, 1), (1, 2))))
        d = draw(st.integers(1, 2)) if op == "conv" else 1
        pad = draw(st.integers(0, (k - 1) // 2 * d))
        if (k - 1) * d + 1 > min(h, w) + 2 * pad:
            k, s, d, pad = 1, 1, 1, 0
        shape = window_shape(
            op, c, h, w, m=3 if op == "conv" else None, kernel=(k, k), stride=(s, s), pads=(pad,) * 4, dilation=(d, d)
        )
        shapes.append(shape)
        c, h, w = shape.output_dims
    return shapes


def run(shape, given, x):
    """One layer; LRN spans channels, so rows are independent there too."""
    return reference.compute(shape, given.attrs, [x], given.weights, given.bias)


@settings(max_examples=150, deadline=None)
@given(chains(), st.integers(1, 7))
def test_strips_give_the_whole_result_from_rolling_buffers_of_the_planned_size(shapes, height):
    plan = plan_strips(shapes, height)
    layers = [operands(shape, seed) for seed, shape in enumerate(shapes)]
    x = np.random.default_rng(1).standard_normal(shapes[0].input_dims(0))
    whole = x
    for shape, layer in zip(shapes, layers, strict=True):
        whole = run(shape, layer, whole)
    buffers = [np.full((s.m, rows, s.ow), np.nan) for s, rows in zip(shapes, plan.buffer_rows, strict=False)]
    result = np.full(shapes[-1].output_dims, np.nan)
    used = [0] * len(buffers)
    for step in plan.steps:
        if isinstance(step, StripMove):
            buffer = buffers[step.layer]
            assert step.to + step.rows <= step.row, "a copy onto itself"
            buffer[:, step.to : step.to + step.rows] = buffer[:, step.row : step.row + step.rows]
            buffer[:, step.row : step.row + step.rows] = np.nan  # the rows between must not be read again
            continue
        source = x if step.layer == 0 else buffers[step.layer - 1]
        strip = source[:, step.input_row : step.input_row + step.shape.h]
        assert strip.shape == step.shape.input_dims(0)
        y = run(step.shape, layers[step.layer], strip)
        target = result if step.layer == len(shapes) - 1 else buffers[step.layer]
        target[:, step.output_row : step.output_row + y.shape[1]] = y
        if step.layer < len(buffers):
            used[step.layer] = max(used[step.layer], step.output_row + y.shape[1])
    np.testing.assert_allclose(result, whole, rtol=1e-12, atol=1e-12)
    assert tuple(used) == plan.buffer_rows


@given(chains(), st.integers(1, 7))
def test_every_row_is_computed_once_unless_nobody_reads_it(shapes, height):
    plan = plan_strips(shapes, height)
    for layer in range(len(shapes)):
        rows = [row for call in plan.calls if call.layer == layer for row in range(call.first, call.end)]
        assert rows == list(range(len(rows)))
    assert len(rows) == shapes[-1].oh


def test_layers_that_do_not_fit_are_refused():
    one = Shape("clamp", 2, 4, 4, 2, 4, 4)
    with pytest.raises(ValueError, match="does not feed"):
        plan_strips([one, dataclasses.replace(one, h=5, oh=5)], 1)
    with pytest.raises(ValueError, match="0 rows"):
        plan_strips([one], 0)


def test_vgg_first_stage_keeps_a_few_rows():
    conv1 = window_shape("conv", 3, 224, 224, m=64, kernel=(3, 3), pads=(1, 1, 1, 1))
    conv2 = window_shape("conv", 64, 224, 224, m=64, kernel=(3, 3), pads=(1, 1, 1, 1))
    pool = window_shape("max_pool", 64, 224, 224, kernel=(2, 2), stride=(2, 2))
    plan = plan_strips([conv1, conv2, pool], 4)
    assert plan.buffer_rows == (10, 8)
    assert len({call.shape for call in plan.calls}) == 7
