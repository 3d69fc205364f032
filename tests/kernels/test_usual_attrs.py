"""Attributes calls are timed with: those that a shape promises."""

import re

import pytest

from kernels import registry
from kernels.harness import time_request
from kernels.spec import Shape


@pytest.mark.parametrize(("quarters", "is_published"), [(3, True), (0, False)])
def test_lrn_is_timed_with_the_exponent_its_shape_promises(quarters: int, is_published: bool) -> None:
    """beta = 3/4 needs no power function: five times quicker, so a cost of another beta would be another network's."""
    shape = Shape("lrn", 64, 56, 56, 64, 56, 56, kh=5, quarters=quarters)
    request = time_request(registry.get("lrn_across_hwc_hwc_f32"), shape, samples=1, evict_bytes=0, max_ns=1)
    numbers = dict(re.findall(r"(alpha|beta|gamma)=(\S+)", request))
    assert (float.fromhex(numbers["beta"]) == 0.75) is is_published
    assert float.fromhex(numbers["beta"]) > 0
    assert float.fromhex(numbers["gamma"]) == 1.0  # a base of zero would be no number any network computes with
    assert "quarters" not in request  # no field of the C struct


def test_the_shape_keeps_its_promise_in_text() -> None:
    shape = Shape("lrn", 64, 56, 56, 64, 56, 56, kh=5, quarters=3)
    assert Shape.parse(shape.key()) == shape
