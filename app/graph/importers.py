"""The one table from ONNX operator to importer, and what an importer sees of its node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.graph.builder import Builder, Unsupported
from app.graph.ir import Tensor
from app.graph.onnx_model import AnyArray, OnnxNode

Value = Tensor | AnyArray
"""An activation, or a constant known at import."""

Importer = Callable[["Call", Builder], "Value | Sequence[Value]"]

IMPORTERS: dict[str, Importer] = {}


def importer(*op_types: str) -> Callable[[Importer], Importer]:
    """Register the decorated function for ONNX operators; it returns the node's outputs in order."""

    def register(function: Importer) -> Importer:
        for op_type in op_types:
            if op_type in IMPORTERS:
                raise ValueError(f"{op_type} has two importers")
            IMPORTERS[op_type] = function
        return function

    return register


@dataclass(frozen=True)
class Call:
    """One ONNX node with its inputs resolved. The accessors raise Unsupported with the reason a user needs."""

    node: OnnxNode
    opset: int
    inputs: tuple[Value | None, ...]
    used_outputs: frozenset[str]

    @property
    def label(self) -> str:
        """The node's name for messages and constants."""
        return self.node.label

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        return self.node.attributes.get(name, default)

    def ints(self, name: str, default: Sequence[int], minimum: int = 0) -> list[int]:
        """An attribute of as many integers as `default`, none below `minimum`."""
        values = [int(v) for v in self.attribute(name, default)]
        if len(values) != len(default) or min(values, default=minimum) < minimum:
            raise Unsupported(f"{name} is {values}; {len(default)} values of at least {minimum} are expected")
        return values

    def input(self, i: int) -> Value | None:
        """Input `i`; None if absent."""
        return self.inputs[i] if i < len(self.inputs) else None

    def activation(self, i: int = 0) -> Tensor:
        """Input `i`, which must depend on the network's input."""
        value = self.input(i)
        if not isinstance(value, Tensor):
            raise Unsupported(f"input {i} must be an activation")
        return value

    def constant(self, i: int, what: str) -> AnyArray | None:
        """Input `i`, which must be known at import; None if absent."""
        value = self.input(i)
        if isinstance(value, Tensor):
            raise Unsupported(f"{what} is computed by the network; only constants are supported")
        return value

    def weights(self, i: int, what: str) -> AnyArray:
        """Input `i`, which must be present, constant and float32."""
        value = self.constant(i, what)
        if value is None:
            raise Unsupported(f"{what} is missing")
        if value.dtype != np.float32:
            raise Unsupported(f"{what} is {value.dtype}; only float32 is supported")
        return value

    def integers(self, i: int, attribute: str, what: str) -> list[int] | None:
        """A list of integers that newer opsets take as input `i` and older ones as an attribute; None if absent."""
        value = self.constant(i, what)
        if value is not None:
            if not np.issubdtype(value.dtype, np.integer):
                raise Unsupported(f"{what} is {value.dtype}; integers are expected")
            return [int(v) for v in value.reshape(-1)]
        listed = self.attribute(attribute)
        if listed is None:
            return None
        return [int(v) for v in (listed if isinstance(listed, Sequence) else [listed])]

    def number(self, i: int, what: str, default: float) -> float:
        """Constant scalar input `i`; `default` if absent."""
        value = self.constant(i, what)
        if value is None:
            return default
        if value.size != 1:
            raise Unsupported(f"{what} has {value.size} values; one is expected")
        number = float(value.reshape(-1)[0])
        if np.isnan(number):
            raise Unsupported(f"{what} is NaN")
        return number

    def input_name(self, i: int) -> str:
        """The file's name of input `i`, for the names of constants."""
        names = self.node.inputs
        return names[i] if i < len(names) and names[i] else f"{self.label}:{i}"

    def refuse_output(self, i: int, what: str) -> None:
        """Refuse a node whose optional output `i` is read."""
        if i < len(self.node.outputs) and self.node.outputs[i] in self.used_outputs:
            raise Unsupported(f"{what} is read")


def axis_in(axis: int, rank: int) -> int:
    """`axis` counted from the front."""
    if not -rank <= axis < rank:
        raise Unsupported(f"axis {axis} is outside a tensor of {rank} axes")
    return axis % rank
