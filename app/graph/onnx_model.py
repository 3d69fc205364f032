"""An ONNX file as plain Python data, or the reason it cannot be read. Knows the format, not the operators."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, numpy_helper

from app.errors import Item, UserError

AnyArray = npt.NDArray[Any]

OLDEST_OPSET = 7
_TYPE_NAMES = {number: name for name, number in TensorProto.DataType.items()}
ONNX_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class ImportLimits:
    """What an uploaded file may ask for; beyond it the import ends with `model-too-large`."""

    max_file_bytes: int = 1 << 30
    max_nodes: int = 20_000
    max_rank: int = 8
    max_tensor_elems: int = 1 << 28  # of one weight or activation: 1 GiB
    max_constant_elems: int = 1 << 28  # of all initialisers and folded constants together

    def tensor(self, name: str, dims: tuple[int, ...]) -> None:
        """Refuse a tensor of too many axes or elements."""
        if len(dims) > self.max_rank:
            raise too_large(f"tensor {name!r} has {len(dims)} axes", "axes", len(dims), self.max_rank)
        elems = math.prod(dims)
        if elems > self.max_tensor_elems:
            raise too_large(f"tensor {name!r} has {elems} elements", "elements", elems, self.max_tensor_elems)


def too_large(what: str, unit: str, found: int, limit: int) -> UserError:
    """The refusal of something beyond a limit."""
    return UserError(
        "model-too-large",
        f"{what}; the limit is {limit} {unit}",
        hint="import a smaller network, or raise the limit in the server's settings",
        facts={"found": found, "limit": limit, "unit": unit},
        status=413,
    )


def invalid(detail: str, hint: str = "") -> UserError:
    """The refusal of a file that is not a well-formed ONNX model."""
    return UserError(
        "model-invalid", f"not a valid ONNX model: {detail}", hint=hint or "export the model again, then retry"
    )


@dataclass(frozen=True)
class OnnxNode:
    """A node of the file with its attributes decoded; `inputs` has "" where an optional input is absent."""

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def label(self) -> str:
        """How messages call it: its name, or the name of its first output."""
        return self.name or next((name for name in self.outputs if name), self.op_type)


@dataclass(frozen=True)
class OnnxModel:
    """A checked file: batch dims filled in, initialisers decoded, nodes in the file's (topological) order."""

    proto: Any
    opset: int
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[str, ...]
    initializers: Mapping[str, AnyArray]
    nodes: tuple[OnnxNode, ...]


def read_model(data: bytes, dims: Mapping[str, int], limits: ImportLimits) -> OnnxModel:
    """Decode and check `data`. Raises UserError: model-invalid, model-too-large, external-data, unsupported-opset,
    unsupported-type, dynamic-shape.
    """
    if not data:
        raise invalid("the file is empty")
    if len(data) > limits.max_file_bytes:
        raise too_large(f"the file has {len(data)} bytes", "bytes", len(data), limits.max_file_bytes)
    try:
        proto = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise invalid(f"the file is damaged or is not ONNX ({error})") from None
    if not proto.HasField("graph") or not proto.graph.output:
        raise invalid("the file holds no graph with outputs; it is damaged or is not ONNX")
    if len(proto.graph.node) > limits.max_nodes:
        raise too_large(
            f"the graph has {len(proto.graph.node)} nodes", "nodes", len(proto.graph.node), limits.max_nodes
        )
    _refuse_garbled_names(proto)
    _refuse_external_data(proto)
    _refuse_large_tensors(proto, limits)
    opset = _opset(proto)
    nodes = tuple(_node(node) for node in proto.graph.node)
    known = [has_schema(node, opset) for node in nodes]
    if all(known):
        _run_checker(proto)
    else:  # the caller lists every unsupported node; the others must be sound for that
        _check_nodes(proto, [node for node, is_known in zip(proto.graph.node, known, strict=True) if is_known])
    initializers = {tensor.name: decode(tensor) for tensor in proto.graph.initializer}
    inputs = _inputs(proto, initializers, dims, limits)
    outputs = tuple(output.name for output in proto.graph.output)
    if len(set(outputs)) < len(outputs):
        raise invalid("two graph outputs have the same name")
    return OnnxModel(proto, opset, inputs, outputs, initializers, nodes)


def has_schema(node: OnnxNode, opset: int) -> bool:
    """Whether ONNX at `opset` defines the node's operator."""
    if node.domain not in ONNX_DOMAINS:
        return False
    try:
        return not onnx.defs.get_schema(node.op_type, opset, "").deprecated
    except onnx.defs.SchemaError:
        return False


def decode(tensor: Any) -> AnyArray:
    """The array a TensorProto holds."""
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise invalid(f"tensor {tensor.name!r} cannot be read ({error})") from None


def _all_tensors(graph: Any) -> Iterator[Any]:
    """Every TensorProto of a graph, those in attributes and subgraphs included."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in [*attribute.sparse_tensors, attribute.sparse_tensor]:
                yield from (sparse.values, sparse.indices)
            for subgraph in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                yield from _all_tensors(subgraph)


def _refuse_garbled_names(proto: Any) -> None:
    """Protobuf hands a damaged string over as bytes; no name may be one."""
    names: list[Any] = [entry.domain for entry in proto.opset_import]
    names += [tensor.name for tensor in _all_tensors(proto.graph)]
    for value in [*proto.graph.input, *proto.graph.output]:
        names += [value.name, *(dim.dim_param for dim in value.type.tensor_type.shape.dim)]
    for node in proto.graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    garbled = [name for name in names if not isinstance(name, str)]
    if garbled:
        raise invalid(f"{len(garbled)} names are not text, the first is {garbled[0]!r}")


def _refuse_external_data(proto: Any) -> None:
    outside = [t for t in _all_tensors(proto.graph) if t.data_location == TensorProto.EXTERNAL or t.external_data]
    if outside:
        raise UserError(
            "external-data",
            f"{len(outside)} tensors are stored outside the file",
            hint="save the model as one file: onnx.save(model, path, save_as_external_data=False)",
            items=[Item(tensor.name, "external data is not read") for tensor in outside],
        )


def _refuse_large_tensors(proto: Any, limits: ImportLimits) -> None:
    total = 0
    for tensor in _all_tensors(proto.graph):
        if min(tensor.dims, default=0) < 0:
            raise invalid(f"tensor {tensor.name!r} has dimensions {tuple(tensor.dims)}")
        limits.tensor(tensor.name, tuple(tensor.dims))
        total += math.prod(tensor.dims)
    if total > limits.max_constant_elems:
        raise too_large(f"the weights have {total} elements", "elements", total, limits.max_constant_elems)


def _opset(proto: Any) -> int:
    versions = [entry.version for entry in proto.opset_import if entry.domain in ONNX_DOMAINS]
    newest = onnx.defs.onnx_opset_version()
    if len(versions) != 1:
        raise invalid(f"the file names {len(versions)} versions of the ONNX operators")
    if not OLDEST_OPSET <= versions[0] <= newest:
        raise UserError(
            "unsupported-opset",
            f"the model uses opset {versions[0]}; opsets {OLDEST_OPSET} to {newest} are supported",
            hint="convert it with onnx.version_converter.convert_version, or export it for another opset",
            facts={"found": versions[0], "oldest": OLDEST_OPSET, "newest": newest},
        )
    return int(versions[0])


def _run_checker(proto: Any) -> None:
    for output in proto.graph.output:
        if output.type.WhichOneof("value") == "tensor_type" and not output.type.tensor_type.HasField("shape"):
            # Exporters leave it out and onnxruntime does not mind; the importer finds the shapes itself.
            output.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise invalid(" ".join(str(error).split())) from None
    except ValueError as error:  # beyond what the checker can serialise
        raise invalid(str(error)) from None


def _check_nodes(proto: Any, nodes: Sequence[Any]) -> None:
    context = onnx.checker.C.CheckerContext()
    context.ir_version = proto.ir_version
    context.opset_imports = {entry.domain: entry.version for entry in proto.opset_import}
    for node in nodes:
        try:
            onnx.checker.check_node(node, context)
        except onnx.checker.ValidationError as error:
            raise invalid(" ".join(str(error).split())) from None


def _node(node: Any) -> OnnxNode:
    attributes = {}
    for attribute in node.attribute:
        try:
            value = onnx.helper.get_attribute_value(attribute)
        except ValueError as error:
            raise invalid(f"node {node.name!r}: {error}") from None
        attributes[attribute.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    domain = "" if node.domain == "ai.onnx" else node.domain
    return OnnxNode(node.name, node.op_type, domain, tuple(node.input), tuple(node.output), attributes)


def _inputs(
    proto: Any, initializers: Mapping[str, AnyArray], dims: Mapping[str, int], limits: ImportLimits
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The graph inputs that are not initialisers, with the symbolic dimensions of `dims` filled in."""
    found: list[tuple[str, tuple[int, ...]]] = []
    wrong_type: list[Item] = []
    symbols: dict[str, list[str]] = {}
    known_symbols: set[str] = set()
    for value in proto.graph.input:
        if value.name in initializers:
            continue
        kind = value.type.WhichOneof("value")
        elem_type = value.type.tensor_type.elem_type
        if kind != "tensor_type" or elem_type != TensorProto.FLOAT:
            what = _TYPE_NAMES.get(elem_type, f"of unknown type {elem_type}") if kind == "tensor_type" else str(kind)
            wrong_type.append(Item(value.name, f"is {what}; only FLOAT (float32) is supported"))
            continue
        if not value.type.tensor_type.HasField("shape"):
            raise UserError(
                "dynamic-shape",
                f"input {value.name!r} has no shape at all",
                hint="export the model with fixed input shapes",
                items=[Item(value.name, "has no shape")],
            )
        extents: list[int] = []
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value"):
                extents.append(dim.dim_value)
                continue
            symbol = dim.dim_param or f"{value.name}:{axis}"
            known_symbols.add(symbol)
            if symbol in dims:
                extents.append(dims[symbol])
            else:
                symbols.setdefault(symbol, []).append(f"{value.name} axis {axis}")
                extents.append(1)
        if min(extents, default=1) < 1:
            raise invalid(f"input {value.name!r} has dimensions {extents}; all must be at least 1")
        limits.tensor(value.name, tuple(extents))
        found.append((value.name, tuple(extents)))
    if wrong_type:
        raise UserError(
            "unsupported-type",
            "the model takes inputs that are not float32",
            hint="export the float32 model, without quantisation or half precision",
            items=wrong_type,
        )
    unknown = sorted(set(dims) - known_symbols)
    if symbols or unknown:
        words = " ".join(f"--dim {symbol}=1" for symbol in symbols)
        about = f"dimensions {', '.join(symbols)} have no value" if symbols else f"no dimension is called {unknown[0]}"
        raise UserError(
            "dynamic-shape",
            about,
            hint=f"give them: {words}"
            if symbols
            else f"symbolic dimensions: {', '.join(sorted(known_symbols)) or 'none'}",
            items=[
                *(Item(symbol, f"is {' and '.join(places)}") for symbol, places in symbols.items()),
                *(Item(symbol, "is no dimension of the model's inputs") for symbol in unknown),
            ],
            facts={"symbols": list(symbols), "unknown": unknown},
        )
    if not found:
        raise invalid("the graph takes no input")
    return tuple(found)
