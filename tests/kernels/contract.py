"""The contract every primitive keeps, as one function that names each breach."""

from __future__ import annotations

import functools

import numpy as np

from kernels import reference
from kernels.harness import Harness, HarnessError
from kernels.spec import Attrs, Primitive, Shape
from tests.strategies import Operands, operands


@functools.cache
def _case(shape: Shape, seed: int) -> tuple[Operands, reference.Float64Array, float]:
    """Operands, the expected output, and the max|y| that errors are relative to.

    Of a sum of products it is taken before the clamp: rounding grows with the sums, and a clamp to 1 of sums near 100
    shrinks the output but not the rounding.
    """
    given = operands(shape, seed)
    expected = reference.compute(shape, given.attrs, given.inputs, given.weights, given.bias)
    unclamped = expected
    if shape.op in ("conv", "dense"):
        unclamped = reference.compute(shape, Attrs(), given.inputs, given.weights, given.bias)
    return given, expected, float(np.max(np.abs(unclamped)))


def relative_error(got: np.ndarray, expected: np.ndarray, scale: float) -> float:
    """max|got - expected| / scale; infinite where one is finite or NaN and the other is not."""
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        error = float(np.max(np.abs(got - expected)[~same]) / scale)
    return error if np.isfinite(error) else np.inf


def breaches(harness: Harness, primitive: Primitive, shape: Shape, seed: int) -> list[str]:
    """What `primitive` does wrong on an accepted `shape`; empty when it keeps the contract."""
    given, expected, scale = _case(shape, seed)
    try:
        result = harness.check(primitive, shape, given.attrs, given.inputs, given.weights, given.bias)
    except HarnessError as error:
        return [str(error)]
    found = []
    error_ratio = relative_error(result.y, expected, scale)
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
