"""The contract every primitive keeps, as one function that names each breach."""

from __future__ import annotations

import functools

import numpy as np

from kernels import reference
from kernels.harness import Harness, HarnessError
from kernels.spec import Primitive, Shape
from tests.strategies import Operands, operands


@functools.cache
def _case(shape: Shape, seed: int) -> tuple[Operands, reference.Float64Array]:
    given = operands(shape, seed)
    return given, reference.compute(shape, given.attrs, given.inputs, given.weights, given.bias)


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """max|got - expected| / max|expected|; infinite where one is finite or NaN and the other is not."""
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        error = float(np.max(np.abs(got - expected)[~same]) / np.max(np.abs(expected)))
    return error if np.isfinite(error) else np.inf


def breaches(harness: Harness, primitive: Primitive, shape: Shape, seed: int) -> list[str]:
    """What `primitive` does wrong on an accepted `shape`; empty when it keeps the contract."""
    given, expected = _case(shape, seed)
    try:
        result = harness.check(primitive, shape, given.attrs, given.inputs, given.weights, given.bias)
    except HarnessError as error:
        return [str(error)]
    found = []
    error_ratio = relative_error(result.y, expected)
    if not error_ratio <= primitive.max_rel_err:
        found.append(f"relative error {error_ratio:.1e}, allowed {primitive.max_rel_err:.0e}")
    if not result.guards_ok:
        found.append("wrote outside y or workspace")
    if not result.inputs_unmodified:
        found.append("changed an input")
    if not result.deterministic:
        found.append("result depends on what y or workspace held before")
    if not result.padding_zero:
        found.append("padding channels are not zero")
    if result.high_water_bytes != primitive.workspace_bytes(shape):
        found.append(f"touched {result.high_water_bytes} workspace bytes of {primitive.workspace_bytes(shape)}")
    if primitive.in_place:
        again = harness.check(primitive, shape, given.attrs, given.inputs, given.weights, given.bias, in_place=True)
        if not np.array_equal(again.y, result.y, equal_nan=True):
            found.append("another result in place")
    return [f"{primitive.name} on {shape.key()}: {breach}" for breach in found]
