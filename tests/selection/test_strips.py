"""Chains run strip by strip give what the whole layers give, with exactly the rows their plan says."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.strips import INPUT, StripMove, in_line, plan_strips
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


@st.composite
def blocks(draw):
    """(shapes, sources) of a chain with blocks in it: branches that are added up or laid side by side."""
    h, w, c = draw(st.integers(4, 16)), draw(st.integers(3, 5)), 2
    shapes, sources = [], []

    def conv(source, c, h, w, m, k, s):
        pad = (k - 1) // 2
        shapes.append(window_shape("conv", c, h, w, m=m, kernel=(k, k), stride=(s, s), pads=(pad,) * 4))
        sources.append((source,))
        return len(shapes) - 1

    at = INPUT
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("path", "residual", "projection", "add", "concat", "nested")))
        k = st.sampled_from((1, 3, 5))
        s = draw(st.integers(1, 2)) if min(h, w) > 4 else 1
        if kind == "path":
            at = conv(at, c, h, w, 3, draw(k), s)
        elif kind == "residual":
            inner = conv(at, c, h, w, 2, draw(k), 1)
            last = conv(inner, 2, h, w, c, draw(k), 1)
            shapes[last] = dataclasses.replace(shapes[last], residual=1)
            sources[last] = (inner, at)
            at = last
        elif kind == "projection":
            skip = conv(at, c, h, w, 3, 1, s)
            inner = conv(at, c, h, w, 2, draw(k), s)
            last = conv(inner, *shapes[inner].output_dims, 3, draw(k), 1)
            shapes[last] = dataclasses.replace(shapes[last], residual=1)
            sources[last] = (inner, skip)
            at = last
        elif kind == "add":
            one, two = conv(at, c, h, w, 2, draw(k), s), conv(at, c, h, w, 2, draw(k), s)
            dims = shapes[one].output_dims
            shapes.append(Shape("add", *dims, *dims))
            sources.append((one, two))
            at = len(shapes) - 1
        else:
            parts = [conv(at, c, h, w, m, draw(k), s) for m in (1, 2)]
            if kind == "nested":
                parts = [join(shapes, sources, parts), conv(at, c, h, w, 2, draw(k), s)]
            parts.append(conv(conv(at, c, h, w, 2, 1, 1), 2, h, w, 3, draw(k), s))
            at = join(shapes, sources, parts)
        c, h, w = shapes[at].output_dims
    return shapes, tuple(sources)


def join(shapes, sources, parts):
    """A concat of layers behind them; its number."""
    extents = tuple(shapes[i].m for i in parts)
    _, oh, ow = shapes[parts[0]].output_dims
    shapes.append(Shape("concat", 0, oh, ow, sum(extents), oh, ow, parts=extents))
    sources.append(tuple(parts))
    return len(shapes) - 1


def compute(shape, given, inputs):
    """One layer; LRN spans channels, so rows are independent there too."""
    return reference.compute(shape, given.attrs, inputs, given.weights, given.bias)


def run_whole(shapes, sources, layers, x):
    """The output of a chain, layer by layer."""
    made = []
    for shape, found, layer in zip(shapes, sources, layers, strict=True):
        inputs = [x if source == INPUT else made[source] for source in found]
        made.append(np.concatenate(inputs) if shape.op == "concat" else compute(shape, layer, inputs))
    return made[-1]


def check_strips(shapes, sources, height):
    """Run the plan of a chain with buffers of NaN, of exactly the planned size, and compare with the whole layers."""
    plan = plan_strips(shapes, height, sources)
    layers = [None if shape.op == "concat" else operands(shape, seed) for seed, shape in enumerate(shapes)]
    x = np.random.default_rng(1).standard_normal(plan.input_dims)
    last = len(shapes) - 1
    held = [np.full((s.m, rows, s.ow), np.nan) for s, rows in zip(shapes, plan.buffer_rows, strict=True)]
    held[last] = np.full(shapes[last].output_dims, np.nan)
    used = [0] * len(shapes)

    def rows(layer, first, count):
        whole, channel = plan.places[layer]
        assert first >= 0
        assert first + count <= held[whole].shape[1]
        return held[whole][channel : channel + shapes[layer].m, first : first + count]

    for step in plan.steps:
        if isinstance(step, StripMove):
            assert step.to + step.rows <= step.row, "a copy onto itself"
            rows(step.layer, step.to, step.rows)[:] = rows(step.layer, step.row, step.rows)
            rows(step.layer, step.row, step.rows)[:] = np.nan  # the rows between must not be read again
            continue
        inputs = []
        for port, (source, row) in enumerate(zip(plan.sources[step.layer], step.input_rows, strict=True)):
            count = step.shape.input_dims(port)[1]
            inputs.append(x[:, row : row + count] if source == INPUT else rows(source, row, count))
            assert inputs[-1].shape == step.shape.input_dims(port)
        y = compute(step.shape, layers[step.layer], inputs)
        rows(step.layer, step.output_row, y.shape[1])[:] = y
        whole, _ = plan.places[step.layer]
        used[whole] = max(used[whole], step.output_row + y.shape[1])
    np.testing.assert_allclose(held[last], run_whole(shapes, sources, layers, x), rtol=1e-12, atol=1e-12)
    assert tuple(used[:last]) == plan.buffer_rows[:last]
    for layer, shape in enumerate(shapes):  # every row once
        if shape.op != "concat":
            found = [row for call in plan.calls if call.layer == layer for row in range(call.first, call.end)]
            assert found == list(range(len(found)))


@settings(max_examples=150, deadline=None)
@given(chains(), st.integers(1, 7))
def test_strips_give_the_whole_result_from_rolling_buffers_of_the_planned_size(shapes, height):
    check_strips(shapes, in_line(shapes), height)


@settings(max_examples=150, deadline=None)
@given(blocks(), st.integers(1, 7))
def test_branches_give_the_whole_result_from_rolling_buffers_of_the_planned_size(block, height):
    check_strips(*block, height)


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


def test_a_concat_reads_its_own_parts_alone():
    dims = (2, 4, 4)
    one = Shape("clamp", *dims, *dims)
    both = Shape("concat", 0, 4, 4, 4, 4, 4, parts=(2, 2))
    with pytest.raises(ValueError, match="only reader"):
        plan_strips([one, both], 1, ((INPUT,), (0, INPUT)))
    with pytest.raises(ValueError, match="only reader"):
        plan_strips([one, one, both], 1, ((INPUT,), (0,), (0, 1)))


def test_vgg_first_stage_keeps_a_few_rows():
    conv1 = window_shape("conv", 3, 224, 224, m=64, kernel=(3, 3), pads=(1, 1, 1, 1))
    conv2 = window_shape("conv", 64, 224, 224, m=64, kernel=(3, 3), pads=(1, 1, 1, 1))
    pool = window_shape("max_pool", 64, 224, 224, kernel=(2, 2), stride=(2, 2))
    assert plan_strips([conv1, conv2, pool], 1).buffer_rows == (3, 2, 0)
    assert plan_strips([conv1, conv2, pool], 4).buffer_rows == (6, 8, 0)


def test_a_longer_chain_keeps_no_more_rows_of_its_first_layers():
    shapes = [window_shape("conv", 4, 64, 64, m=4, kernel=(3, 3), pads=(1, 1, 1, 1))]
    for _ in range(3):
        size = shapes[-1].oh
        shapes.append(window_shape("max_pool", 4, size, size, kernel=(2, 2), stride=(2, 2)))
        shapes.append(window_shape("conv", 4, size // 2, size // 2, m=4, kernel=(3, 3), pads=(1, 1, 1, 1)))
    assert plan_strips(shapes, 1).buffer_rows == (2, 3, 2, 3, 2, 3, 0)
