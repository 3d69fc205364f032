"""Robust figures and the cut rule: pure functions, no clock."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.profiling.statistics import CLEARLY_SLOWER_RATIOS, Contender, hopeless, median_ns, quantile_ns

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
        fastest_ns=st.integers(1, 100),
        median_ns=st.integers(1, 100),
    ).map(lambda c: dataclasses.replace(c, median_ns=max(c.fastest_ns, c.median_ns))),
    max_size=12,
)


ratios = st.sampled_from(CLEARLY_SLOWER_RATIOS)


@given(contenders, ratios)
def test_every_cut_contender_is_beaten_by_a_survivor_of_its_layouts(group, ratio):
    cut = hopeless(group, ratio)
    kept = [c for c in group if c.name not in cut]
    for loser in group:
        if loser.name in cut:
            assert any(
                winner.layouts == loser.layouts
                and winner.workspace_bytes <= loser.workspace_bytes
                and winner.weights_bytes <= loser.weights_bytes
                and winner.median_ns * ratio < loser.fastest_ns
                for winner in kept
            )


@given(contenders, ratios)
def test_the_fastest_of_each_layout_pair_is_never_cut(group, ratio):
    cut = hopeless(group, ratio)
    for layouts in {c.layouts for c in group}:
        best = min(c.fastest_ns for c in group if c.layouts == layouts)
        assert all(c.name not in cut for c in group if c.layouts == layouts and c.fastest_ns == best)


def test_noise_within_the_ratio_keeps_a_contender():
    quiet = Contender("quiet", ("hwc", "hwc"), 0, 0, 100, 104)
    noisy = Contender("noisy", ("hwc", "hwc"), 0, 0, 110, 200)
    assert hopeless([quiet, noisy], 1.06) == set()
    assert hopeless([quiet, dataclasses.replace(noisy, fastest_ns=111)], 1.06) == {"noisy"}
