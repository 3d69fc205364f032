"""Robust figures and the cut rule: pure functions, no clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.profiling.statistics import Contender, hopeless, median_ns, quantile_ns

samples = st.lists(st.integers(1, 10**9), min_size=1, max_size=30)


@given(samples)
def test_quantiles_are_samples_in_order(values):
    p10, p90 = quantile_ns(values, 0.1), quantile_ns(values, 0.9)
    assert p10 in values
    assert p90 in values
    assert min(values) <= p10 <= p90 <= max(values)


@given(samples, st.integers(10**10, 10**12))
def test_one_interrupted_sample_moves_the_median_no_further_than_its_neighbour(values, outlier):
    ordered = sorted(values)
    assert median_ns([*values, outlier]) <= ordered[min(len(ordered) // 2 + 1, len(ordered) - 1)]


def test_no_samples_is_an_error_not_a_zero():
    with pytest.raises(ValueError, match="no samples"):
        quantile_ns([], 0.5)


contenders = st.lists(
    st.builds(
        Contender,
        name=st.uuids().map(str),
        layouts=st.sampled_from([("chw", "chw"), ("hwc", "hwc"), ("chw", "hwc")]),
        workspace_bytes=st.integers(0, 4),
        weights_bytes=st.integers(0, 4),
        time_ns=st.integers(1, 100),
    ),
    max_size=12,
)


@given(contenders)
def test_every_cut_contender_is_beaten_by_a_survivor_of_its_layouts(group):
    cut = hopeless(group)
    kept = [c for c in group if c.name not in cut]
    for loser in group:
        if loser.name in cut:
            assert any(
                winner.layouts == loser.layouts
                and winner.workspace_bytes <= loser.workspace_bytes
                and winner.weights_bytes <= loser.weights_bytes
                and winner.time_ns < loser.time_ns
                for winner in kept
            )


@given(contenders)
def test_the_fastest_of_each_layout_pair_is_never_cut(group):
    cut = hopeless(group)
    for layouts in {c.layouts for c in group}:
        best = min(c.time_ns for c in group if c.layouts == layouts)
        assert any(c.name not in cut and c.time_ns == best for c in group if c.layouts == layouts)
