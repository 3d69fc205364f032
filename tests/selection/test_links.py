"""Conversions on edges, with and without views: what is free and what is paid."""

from hypothesis import given
from hypothesis import strategies as st

from app.links import Link
from kernels.spec import Layout, canonical

layouts = st.sampled_from(list(Layout))


def link(dims, consumer_dims=None, via=None):
    return Link("t", dims, "producer", "consumer", 0, consumer_dims or dims, via)


@given(layouts, layouts, st.tuples(*[st.integers(1, 40)] * 3))
def test_without_a_view_a_conversion_is_paid_exactly_when_the_memory_orders_differ(have, want, dims):
    steps = link(dims).steps(have, want)
    same = canonical(have, *dims) == canonical(want, *dims)
    assert len(steps) == (0 if same else 1)
    if steps:
        assert (steps[0].source, steps[0].target) == (have, want)


def test_a_channels_last_input_reaches_an_hwc_consumer_for_free():
    nhwc_input = link((96, 96, 3), (3, 96, 96), via=(Layout.CHW, Layout.HWC))
    assert nhwc_input.steps(Layout.CHW, Layout.HWC) == ()
    (step,) = nhwc_input.steps(Layout.CHW, Layout.CHW)
    assert step.dims == (3, 96, 96)
    assert (step.source, step.target) == (Layout.HWC, Layout.CHW)


def test_a_flatten_after_hwc_needs_one_conversion_before_the_view():
    flatten = link((8, 4, 4), (128, 1, 1), via=(Layout.CHW, Layout.CHW))
    assert flatten.steps(Layout.CHW, Layout.HWC) == ()
    (step,) = flatten.steps(Layout.HWC, Layout.CHW)
    assert step.dims == (8, 4, 4)


def test_a_view_that_fits_neither_side_costs_two_conversions():
    both = link((6, 4, 5), (4, 5, 6), via=(Layout.HWC, Layout.CHW))
    assert [s.dims for s in both.steps(Layout.CHW, Layout.HWC)] == [(6, 4, 5), (4, 5, 6)]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), layouts, layouts)
def test_layouts_with_one_canonical_name_store_the_same_bytes(c, h, w, a, b):
    import numpy as np

    tensor = np.arange(1, c * h * w + 1, dtype=np.float32).reshape(c, h, w)
    same_bytes = np.array_equal(a.store(tensor), b.store(tensor))
    if canonical(a, c, h, w) == canonical(b, c, h, w):
        assert same_bytes
