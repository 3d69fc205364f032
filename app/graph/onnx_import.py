"""From the bytes of an ONNX file to a Graph: every node through the one table of importers, then the passes."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from app.errors import Item, UserError
from app.graph.builder import Builder, NonFinite, Unsupported
from app.graph.check import check
from app.graph.folding import FOLDERS, fold
from app.graph.importers import IMPORTERS, Call, Value
from app.graph.ir import Graph, Tensor
from app.graph.onnx_model import ImportLimits, OnnxModel, OnnxNode, has_schema, invalid, read_model, too_large
from app.graph.passes import optimise
from app.graph.passes_views import compose_views

for _module in ("import_linear", "import_windows", "import_elementwise", "import_movement"):
    importlib.import_module(f"app.graph.{_module}")


def import_onnx(
    data: bytes, *, name: str, dims: Mapping[str, int] | None = None, limits: ImportLimits | None = None
) -> Graph:
    """The optimised graph of the ONNX file `data`.

    `dims` gives symbolic dimensions a value, by their name in the file ("N"), or "input:axis" where they have none.
    Raises UserError with codes model-invalid, model-too-large, external-data, unsupported-opset, unsupported-type,
    dynamic-shape, unsupported-operator (every node at once in `items`), non-finite-weights.
    """
    return optimise(translate(data, name=name, dims=dims, limits=limits))


def translate(
    data: bytes, *, name: str, dims: Mapping[str, int] | None = None, limits: ImportLimits | None = None
) -> Graph:
    """`import_onnx` before the passes: one or more nodes per ONNX node, nothing fused, only views composed."""
    limits = limits or ImportLimits()
    model = read_model(data, dims or {}, limits)
    graph = compose_views(_Translation(model, limits).run(name))
    check(graph)
    return graph


class _Translation:
    """One walk over the nodes, collecting every refusal before giving up."""

    def __init__(self, model: OnnxModel, limits: ImportLimits):
        self._model = model
        self._limits = limits
        names = {name for node in model.nodes for name in (*node.inputs, *node.outputs)}
        self._builder = Builder(limits, names | {name for name, _ in model.inputs})
        self._values: dict[str, Value] = dict(model.initializers)
        self._used = frozenset(name for node in model.nodes for name in node.inputs) | frozenset(model.outputs)
        self._refused: list[tuple[OnnxNode, str]] = []
        self._nonfinite: list[tuple[OnnxNode, str]] = []
        self._constant_elems = 0
        self._inferred: dict[str, tuple[int, ...]] | None = None

    def run(self, name: str) -> Graph:
        for input_name, dims in self._model.inputs:
            self._values[input_name] = self._builder.add_input(input_name, dims)
        for node in self._model.nodes:
            self._run_node(node)
        self._refuse()
        outputs = [self._output(output) for output in self._model.outputs]
        return _without_unread(self._builder.graph(name, outputs))

    def _run_node(self, node: OnnxNode) -> None:
        self._builder.begin(node.label)
        reason = self._cannot(node)
        if reason is None:
            try:
                for output, value in zip(node.outputs, self._translate(node), strict=False):
                    if output:
                        self._define(output, value)
                return
            except Unsupported as why:
                reason = str(why)
            except NonFinite as what:
                self._nonfinite.append((node, str(what)))
        if reason:
            self._refused.append((node, reason))
        self._stand_in(node)

    def _cannot(self, node: OnnxNode) -> str | None:
        """Why no importer can take the node; "" if an input is missing because of an earlier refusal."""
        if not has_schema(node, self._model.opset):
            where = f"domain {node.domain}" if node.domain else f"opset {self._model.opset}"
            return f"{node.op_type} is not an ONNX operator of {where}"
        if node.op_type not in IMPORTERS and node.op_type not in FOLDERS:
            return f"{node.op_type} is not supported"
        unknown = [name for name in node.inputs if name and name not in self._values]
        if unknown and not self._refused and not self._nonfinite:
            raise invalid(f"node {node.label!r} reads {unknown[0]!r}, which nothing writes before it")
        return "" if unknown else None

    def _translate(self, node: OnnxNode) -> Sequence[Value]:
        inputs = tuple(self._values[name] if name else None for name in node.inputs)
        call = Call(node, self._model.opset, inputs, self._used)
        folded = fold(call, self._limits)
        if folded is not None:
            self._constant_elems += sum(value.size for value in folded)
            if self._constant_elems > self._limits.max_constant_elems:
                limit = self._limits.max_constant_elems
                raise too_large("the constants computed by the graph", "elements", self._constant_elems, limit)
            return folded
        if node.op_type not in IMPORTERS:
            raise Unsupported(f"{node.op_type} of an activation is not supported")
        if not any(isinstance(value, Tensor) for value in inputs):
            raise Unsupported(f"{node.op_type} of constants alone is not supported")
        with np.errstate(all="ignore"):  # what is not finite is refused when it becomes a constant
            found = IMPORTERS[node.op_type](call, self._builder)
        return [found] if isinstance(found, Tensor | np.ndarray) else list(found)

    def _define(self, output: str, value: Value) -> None:
        if isinstance(value, Tensor) and not self._builder.is_named(value):
            value = self._builder.rename(value, output)
        self._values[output] = value

    def _output(self, name: str) -> str:
        value = self._values.get(name)
        if value is None:
            raise invalid(f"graph output {name!r} is written by no node")
        if not isinstance(value, Tensor):
            detail = "is a constant: it does not depend on the network's input"
            raise UserError(
                "unsupported-operator",
                f"graph output {name!r} is a constant",
                hint="remove the output and export again",
                items=[Item(name, detail)],
            )
        if value.name != name:
            # An output that is an input, or one tensor under two names: a view carries the second name.
            self._builder.begin(name)
            value = self._builder.rename(self._builder.view(value, value.dims), name)
        return value.name

    def _stand_in(self, node: OnnxNode) -> None:
        """Let the walk go on behind a refused node, so that one answer lists every refusal."""
        if self._inferred is None:
            self._inferred = _inferred_dims(self._model)
        for output in node.outputs:
            dims = self._inferred.get(output)
            if output and dims is not None and math.prod(dims) <= self._limits.max_tensor_elems:
                self._values[output] = Tensor.of(output, dims)

    def _refuse(self) -> None:
        if self._refused:
            raise UserError(
                "unsupported-operator",
                f"{len(self._refused)} of {len(self._model.nodes)} nodes cannot be imported",
                hint="replace these operators in the network, or export it for inference with constants folded",
                items=[Item(node.label, f"{node.op_type}: {reason}") for node, reason in self._refused],
                facts={"operators": sorted({node.op_type for node, _ in self._refused})},
            )
        if self._nonfinite:
            raise UserError(
                "non-finite-weights",
                f"{len(self._nonfinite)} weights hold NaN or infinite values",
                hint="the file is damaged or training diverged; export a sound checkpoint",
                items=[
                    Item(what, f"holds NaN or infinite values; read by {node.label} ({node.op_type})")
                    for node, what in self._nonfinite
                ],
                facts={"tensors": [what for _, what in self._nonfinite]},
            )


def _inferred_dims(model: OnnxModel) -> dict[str, tuple[int, ...]]:
    """ONNX's own opinion of the dims of float tensors, where it is complete; used for refusals only."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    fixed = dict(model.inputs)
    for value in proto.graph.input:
        for dim, extent in zip(value.type.tensor_type.shape.dim, fixed.get(value.name, ()), strict=False):
            dim.dim_value = extent
    try:
        proto = onnx.shape_inference.infer_shapes(proto)
    except onnx.shape_inference.InferenceError:
        return {}
    found = {}
    for value in [*proto.graph.value_info, *proto.graph.output]:
        tensor = value.type.tensor_type
        extents = tuple(dim.dim_value for dim in tensor.shape.dim)
        if tensor.elem_type == onnx.TensorProto.FLOAT and tensor.HasField("shape") and all(n > 0 for n in extents):
            found[value.name] = extents
    return found


def _without_unread(graph: Graph) -> Graph:
    """Constants no node refers to are left out: importers may register one and then refuse."""
    used = {name for node in graph.nodes for name in (node.weights, node.bias)}
    return dataclasses.replace(graph, constants={k: v for k, v in graph.constants.items() if k in used})
