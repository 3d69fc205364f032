"""Models: adding, finding, removing, their layers and their test inputs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.db.records import ModelRecord
from app.db.stores import canonical_json
from app.errors import Item, UserError
from app.graph import zoo
from app.graph.ir import VIEW, Graph
from app.graph.onnx_import import import_onnx
from app.graph.sandbox import import_onnx_limited
from app.services.context import Context
from app.services.skeletons import skeleton
from app.services.vectors import Vectors, choose_vectors, store_vectors
from kernels import registry
from kernels.spec import Shape, bias_elems, weight_elems

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def model_id(sha256: str, dims: Mapping[str, int]) -> str:
    """`mdl_` and 16 digits of the file's hash; values given to symbolic dimensions make another model of it."""
    if dims:
        sha256 = hashlib.sha256(f"{sha256} {canonical_json(dict(dims))}".encode()).hexdigest()
    return f"mdl_{sha256[:16]}"


def add(
    context: Context,
    data: bytes,
    *,
    name: str | None = None,
    file_name: str = "model.onnx",
    dims: Mapping[str, int] | None = None,
    example: str = "",
    vectors: Vectors | None = None,
) -> tuple[ModelRecord, bool]:
    """Import ONNX bytes; returns the model and whether it is new (the same bytes and dims are the same model).

    `vectors` are test inputs by case; without any, seeded random ones are chosen. Raises UserError, nothing stored.
    """
    dims = dict(sorted((dims or {}).items()))
    sha256 = hashlib.sha256(data).hexdigest()
    identity = model_id(sha256, dims)
    known = context.models.get(identity)
    if known is not None:
        if vectors:
            graph = skeleton(context, known)
            stored = store_vectors(context, choose_vectors(graph, vectors, sha256))
            context.models.set_vectors(known.id, stored)
            known = context.models.get(identity) or known
        return known, False
    if name is not None and not _NAME.fullmatch(name):
        raise UserError(
            "query-invalid",
            f"{name!r} cannot name a model",
            hint="letters, digits, dot, dash and underscore, up to 100, beginning with a letter or digit",
        )
    wanted = name or _name_from(file_name)
    taken = context.models.names()
    if name is not None and name in taken:
        raise UserError(
            "model-name-taken", f"another model is named {name}", hint="choose another name or remove it", status=409
        )
    graph = import_onnx_limited(data, name=wanted, dims=dims)
    chosen = choose_vectors(graph, vectors or {}, sha256)
    context.blobs.put("models", data)
    values = _values(graph, identity, sha256, dims, len(data), example) | {"vectors": store_vectors(context, chosen)}
    number = 1
    while True:
        unique = wanted if number == 1 else f"{wanted}-{number}"
        if unique not in taken:
            record = context.models.add(values | {"name": unique})
            if record is not None:
                return record, True
            known = context.models.get(identity)
            if known is not None:  # somebody added the same file in between
                return known, False
        number += 1


def add_file(
    context: Context,
    path: Path,
    *,
    name: str | None = None,
    dims: Mapping[str, int] | None = None,
    vectors: Vectors | None = None,
) -> tuple[ModelRecord, bool]:
    """`add` for a file; raises UserError `file-unreadable`, and the errors of `add` with the file's name in front."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError("file-unreadable", f"{path}: {error.strerror}", hint="check the path") from None
    try:
        return add(context, data, name=name, file_name=path.name, dims=dims, vectors=vectors)
    except UserError as error:
        error.message = f"{path.name}: {error.message}"
        raise


def add_example(context: Context, example: str) -> tuple[ModelRecord, bool]:
    """Import a network of the example library."""
    if example not in zoo.EXAMPLES:
        raise UserError(
            "example-unknown",
            f"there is no example {example!r}",
            hint=f"examples: {', '.join(zoo.EXAMPLES)}",
            status=404,
        )
    for known in context.models.page():
        if known.example == example:
            return known, False
    return add(context, zoo.materialise(example), file_name=f"{example}.onnx", example=example)


def example_names() -> list[str]:
    """Names of the example library."""
    return list(zoo.EXAMPLES)


def examples(context: Context) -> list[dict[str, Any]]:
    """The example library and which of it is imported."""
    imported = {record.example for record in context.models.page()}
    return [
        {
            "name": name,
            "title": example.title,
            "weights_bytes": zoo.weights_bytes(name),
            "imported": name in imported,
        }
        for name, example in zoo.EXAMPLES.items()
    ]


def find(context: Context, text: str) -> ModelRecord:
    """The model of that name, id or unique beginning of either; raises UserError `not-found` or `ambiguous-model`."""
    found = context.models.find(text)
    if not found:
        names = [record.name for record in context.models.page(limit=10)]
        known = f"models here: {', '.join(names)}" if names else "no model has been added yet"
        raise UserError("not-found", f"there is no model {text!r}", hint=known, status=404)
    if len(found) > 1:
        raise UserError(
            "ambiguous-model",
            f"{text!r} begins {len(found)} models",
            items=[Item(record.id, record.name) for record in found],
            hint="give more letters",
            status=409,
        )
    return found[0]


def remove(context: Context, record: ModelRecord) -> None:
    """Delete a model, its fronts, its bundles and the files nothing else uses; refused while jobs use it."""
    users = [job for job in context.jobs.active() if job.params.get("model") == record.id]
    fronts = {front.id for front in context.frontiers.page(model=record.id)}
    users += [job for job in context.jobs.active() if job.params.get("frontier") in fronts]
    if users:
        raise UserError(
            "model-in-use",
            f"{len(users)} job(s) are using {record.name}",
            items=[Item(job.id, f"{job.kind} is {job.state}") for job in users],
            hint="cancel them first",
            status=409,
        )
    bundles = [bundle.sha256 for front in sorted(fronts) for bundle in context.bundles.page(frontier=front)]
    files = {
        "models": {record.sha256},
        "vectors": {sha256 for vector in record.vectors for sha256 in vector["inputs"].values()},
        "bundles": set(bundles),
    }
    context.models.remove(record.id)
    for kind, hashes in files.items():
        for sha256 in hashes - context.models.blobs_in_use(kind):
            context.blobs.remove(kind, sha256)


def load_graph(context: Context, record: ModelRecord) -> tuple[Graph, bytes]:
    """The graph with its constants and the original file. The file was examined in isolation when it was added."""
    data = context.blobs.get("models", record.sha256)
    return import_onnx(data, name=record.name, dims=dims_of(record)), data


def dims_of(record: ModelRecord) -> dict[str, int]:
    """Values given to the model's symbolic dimensions."""
    found: dict[str, int] = json.loads(record.dims)
    return found


def layers(context: Context, record: ModelRecord) -> list[dict[str, Any]]:
    """Every operator of the network with how many primitives can run it, and why the others cannot."""
    found = []
    for node in skeleton(context, record).nodes:
        if node.op == VIEW:
            continue
        assert node.shape is not None
        accepted, refused = registry.candidates(node.shape)
        found.append(
            {
                "node": node.name,
                "op": node.op,
                "shape": node.shape.key(),
                "macs": node.shape.macs,
                "sources": list(node.sources),
                "candidates": len(accepted),
                "refused": refused,
            }
        )
    return found


def _values(
    graph: Graph, identity: str, sha256: str, dims: Mapping[str, int], size_bytes: int, example: str
) -> dict[str, Any]:
    shapes: list[Shape] = [node.shape for node in graph.nodes if node.shape is not None]

    def ports(names: tuple[str, ...]) -> list[dict[str, Any]]:
        return [{"name": name, "dims": list(graph.tensors[name].dims)} for name in names]

    return {
        "id": identity,
        "sha256": sha256,
        "dims": canonical_json(dict(dims)),
        "size_bytes": size_bytes,
        "example": example,
        "nodes": len(shapes),
        "macs": sum(shape.macs for shape in shapes),
        "weights_bytes": 4 * sum(weight_elems(shape) + bias_elems(shape) for shape in shapes),
        "inputs": ports(graph.inputs),
        "outputs": ports(graph.outputs),
        "graph": graph.to_json(),
    }


def _name_from(file_name: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(file_name.replace("\\", "/")).name)
    stem = re.sub(r"\.onnx$", "", stem, flags=re.IGNORECASE).lstrip("._-")[:90]
    return stem or "model"
