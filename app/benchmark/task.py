"""What a peer's process is told: which model, which inputs, where its outputs go. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tensor:
    """An input or output of the network as the ONNX file states it, batch dimension included."""

    name: str
    dims: tuple[int, ...]

    @property
    def elems(self) -> int:
        """Numbers in it."""
        return math.prod(self.dims)


@dataclass(frozen=True)
class Task:
    """One runtime on one network. `model` is the ONNX file, or the folder of what a converter made of it.

    `inputs_file` holds the inputs as raw little-endian float32, one tensor after the other; `outputs_file` is written
    in the same form.
    """

    runtime: str
    model: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    inputs_file: Path
    outputs_file: Path
    threads: int

    def write(self, file: Path) -> None:
        """Store it as JSON."""
        file.write_text(json.dumps(dataclasses.asdict(self), default=str))

    @classmethod
    def read(cls, file: Path) -> Task:
        """Inverse of `write`."""
        fields: dict[str, Any] = json.loads(file.read_text())
        for name in ("model", "inputs_file", "outputs_file"):
            fields[name] = Path(fields[name])
        for name in ("inputs", "outputs"):
            fields[name] = tuple(Tensor(t["name"], tuple(t["dims"])) for t in fields[name])
        return cls(**fields)
