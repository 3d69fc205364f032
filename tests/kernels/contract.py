"""The contract every primitive keeps, as one function that names each breach."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from kernels import reference
from kernels.harness import Harness, HarnessError
from kernels.spec import Array, Attrs, Packing, Primitive, Shape
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


@functools.lru_cache(maxsize=192)
def _packed(packing: Packing, shape: Shape, weights: bytes) -> Array:
    packed = packing.pack(shape, np.frombuffer(weights, np.float32))
    packed.setflags(write=False)
    return packed


def remembering(primitive: Primitive) -> Primitive:
    """`primitive`, which packs the same weights of the same shape once for all ways of compiling and sharing it.

    Enough is kept for the shapes of one primitive, so tests of the same one should follow each other.
    """
    packing = primitive.packing

    def pack(shape: Shape, weights: Array) -> Array:
        return _packed(packing, shape, np.asarray(weights, np.float32).tobytes())

    return dataclasses.replace(primitive, packing=dataclasses.replace(packing, pack=pack))


def relative_error(got: np.ndarray, expected: np.ndarray, scale: float) -> float:
    """max|got - expected| / scale; infinite where one is finite or NaN and the other is not."""
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        error = float(np.max(np.abs(got - expected)[~same]) / scale)
    return error if np.isfinite(error) else np.inf


def variants(primitive: Primitive, shape: Shape, seed: int) -> list[Shape]:
    """`shape`, and it with a residual or as part of a larger tensor as far as `primitive` can: by turns, and both."""
    residual = int(primitive.residual and seed % 3 != 0)
    x_pitch = y_pitch = 0
    if primitive.pitched and seed % 3 != 1:
        x_pitch, y_pitch = primitive.pitches(shape)
        # Only in the very same place can an operator work in place.
        x_pitch, y_pitch = x_pitch + 5, y_pitch + (5 if primitive.in_place and seed % 2 else 3)
    other = dataclasses.replace(shape, residual=residual, x_pitch=x_pitch, y_pitch=y_pitch)
    return [shape] if other == shape else [shape, other]


def breaches(harness: Harness, primitive: Primitive, shape: Shape, seed: int) -> list[str]:
    """What `primitive` does wrong on an accepted `shape`; empty when it keeps the contract."""
    return [b for variant in variants(primitive, shape, seed) for b in _breaches(harness, primitive, variant, seed)]


def _breaches(harness: Harness, primitive: Primitive, shape: Shape, seed: int) -> list[str]:
    given, expected, scale = _case(shape, seed)
    primitive = remembering(primitive)
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
    if not result.gaps_ok:
        found.append("wrote between the parts of a pitched output")
    overwritable = [0] if primitive.in_place and shape.x_pitch == shape.y_pitch else [1] if shape.residual else []
    for port in overwritable:
        again = harness.check(primitive, shape, given.attrs, given.inputs, given.weights, given.bias, in_place=port)
        if not np.array_equal(again.y, result.y, equal_nan=True):
            found.append(f"another result in place of input {port}")
        if not again.gaps_ok:
            found.append("wrote between the parts of a pitched output in place")
    return [f"{primitive.name} on {shape.key()}: {breach}" for breach in found]
