"""The vector exponentials are accurate element by element over all of float32, at every vector width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from kernels import reference, registry
from kernels.build import build_harness
from kernels.harness import Harness
from kernels.spec import Attrs, Shape
from tests.kernels.variants import toolchain_of

ULP = 2.0**-23
X = np.concatenate(
    [
        np.linspace(-104, 89, 4001),
        np.linspace(-1, 1, 2001),
        10.0 ** np.linspace(-30, 0, 301),
        -(10.0 ** np.linspace(-30, 0, 301)),
        np.array([0.0, -0.0, 0.625, -0.625, 88.72283, -87.33655]),
    ]
).astype(np.float32)
# Units in the last place, against float64. exp: Cephes' 1.7 plus the rounding of the scaling.
LIMITS_ULP = {"exp": 3, "sigmoid": 4, "tanh": 4, "elu": 6}


@pytest.fixture(scope="module")
def exponentials_of(harness_dir: Path) -> Iterator[Callable[[str], Harness]]:
    """A harness of nothing but these operators, for a way of compiling."""
    running: dict[str, Harness] = {}

    def start(variant: str) -> Harness:
        if variant not in running:
            toolchain, sanitize = toolchain_of(variant)
            primitives = [registry.get(f"{op}_elementwise_chw_chw_f32") for op in LIMITS_ULP]
            running[variant] = Harness(build_harness(toolchain, harness_dir, sanitize=sanitize, primitives=primitives))
        return running[variant]

    yield start
    for harness in running.values():
        harness.close()


def _run(harness: Harness, op: str, x: np.ndarray) -> np.ndarray:
    primitive = registry.get(f"{op}_elementwise_chw_chw_f32")
    result = harness.check(primitive, Shape(op, 1, 1, x.size, 1, 1, x.size), Attrs(alpha=1.0), [x.reshape(1, 1, -1)])
    return result.y.reshape(-1)


@pytest.mark.parametrize("variant", ["native", "avx2", "sse", "scalar", "clang"])
@pytest.mark.parametrize("op", LIMITS_ULP)
def test_error_is_a_few_units_in_the_last_place(
    op: str, variant: str, exponentials_of: Callable[[str], Harness]
) -> None:
    got = _run(exponentials_of(variant), op, X).astype(np.float64)
    shape = Shape(op, 1, 1, X.size, 1, 1, X.size)
    expected = reference.compute(shape, Attrs(alpha=1.0), [X.reshape(1, 1, -1)]).reshape(-1)
    normal = np.abs(expected) >= np.finfo(np.float32).tiny
    finite = np.abs(expected) <= np.finfo(np.float32).max
    with np.errstate(invalid="ignore", divide="ignore"):
        error_ulp = np.abs(got - expected) / np.abs(expected) / ULP
    assert error_ulp[normal & finite].max() <= LIMITS_ULP[op], X[np.argmax(np.where(normal & finite, error_ulp, 0))]
    # Denormal results are right to the smallest float.
    assert np.abs(got - expected)[~normal].max() <= 2 * float(np.finfo(np.float32).smallest_subnormal)
    assert np.all(np.isinf(got[~finite]))


@pytest.mark.parametrize("variant", ["native", "scalar"])
def test_extremes_saturate_and_nan_stays(variant: str, exponentials_of: Callable[[str], Harness]) -> None:
    extremes = np.array([np.inf, -np.inf, 1e30, -1e30, 200.0, -200.0, np.nan], np.float32)
    harness = exponentials_of(variant)
    np.testing.assert_array_equal(_run(harness, "exp", extremes), [np.inf, 0, np.inf, 0, np.inf, 0, np.nan])
    np.testing.assert_array_equal(_run(harness, "sigmoid", extremes), [1, 0, 1, 0, 1, 0, np.nan])
    np.testing.assert_array_equal(_run(harness, "tanh", extremes), [1, -1, 1, -1, 1, -1, np.nan])
    np.testing.assert_array_equal(
        _run(harness, "elu", extremes), np.array([np.inf, -1, 1e30, -1, 200, -1, np.nan], np.float32)
    )
