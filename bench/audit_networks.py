"""The networks of an audit: ONNX files, and the inputs each is judged on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import networks as made
import numpy as np

from app.errors import UserError
from app.graph import oracle, zoo
from app.graph.ir import Graph
from app.graph.onnx_import import import_onnx

HUGE = {"vgg16", "vgg19"}

Case = tuple[list[np.ndarray], list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Network:
    """One ONNX file and the inputs it is judged on."""

    name: str
    data: bytes
    inputs: list[dict[str, np.ndarray]]

    def cases(self, graph: Graph) -> list[Case]:
        """Inputs and what onnxruntime answers on the original file, in port order."""
        answers = [oracle.run_onnx(self.data, values) for values in self.inputs]
        return [
            ([values[name] for name in graph.inputs], [outputs[name] for name in graph.outputs])
            for values, outputs in zip(self.inputs, answers, strict=True)
        ]


def all_networks(models: Path, only: list[str], huge: bool) -> Iterator[Network]:
    """The trained networks of `models` (when present), the example library, those of bench/networks.py."""
    drawn: dict[str, Callable[[], bytes]] = {name: functools.partial(zoo.materialise, name) for name in zoo.EXAMPLES}
    drawn |= made.NETWORKS
    trained = {path.stem: path for path in sorted(models.glob("*.onnx"))}
    unknown = sorted(set(only) - drawn.keys() - trained.keys())
    if unknown:
        raise UserError(
            "query-invalid", f"no such network: {', '.join(unknown)}", hint="see --models and bench/networks.py"
        )
    for name in only or [*trained, *(name for name in drawn if huge or name not in HUGE)]:
        data = trained[name].read_bytes() if name in trained else drawn[name]()
        cases = sorted((models / "ref").glob(f"{name}.*.in.npy")) if name in trained else []
        graph = import_onnx(data, name=name)
        random = np.random.default_rng(7)
        inputs = [{graph.inputs[0]: np.load(case)} for case in cases] or [
            {port: random.standard_normal(graph.tensors[port].dims, np.float32) for port in graph.inputs}
        ]
        yield Network(name, data, inputs)
