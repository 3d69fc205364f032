"""Test inputs of a model: real ones found beside its file, or seeded random ones; and what the model answers."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.db.records import ModelRecord
from app.errors import UserError
from app.graph.ir import Graph
from app.graph.oracle import run_onnx
from app.services.context import Context

FloatArray = npt.NDArray[np.float32]
Vectors = Mapping[str, Mapping[int, FloatArray]]
"""Case name -> input number -> array with the input's dims."""

CASES_KEPT = 4
_REFERENCE = re.compile(r"(?P<case>[A-Za-z0-9_-]+)\.in(?P<port>[0-9]*)\.npy")


def find_vectors(model_file: Path, folder: Path | None = None) -> Vectors:
    """Inputs `<stem>.<case>.in[<k>].npy` in `folder`, or in `ref/` beside the model file; empty when there are none."""
    where = folder or model_file.parent / "ref"
    found: dict[str, dict[int, FloatArray]] = {}
    if not where.is_dir():
        if folder is not None:
            raise UserError("file-unreadable", f"{folder} is not a folder", hint="check --vectors")
        return found
    for file in sorted(where.glob("*.npy")):
        if not file.name.startswith(f"{model_file.stem}."):
            continue
        match = _REFERENCE.fullmatch(file.name.removeprefix(f"{model_file.stem}."))
        if match:
            found.setdefault(match["case"], {})[int(match["port"] or 0)] = load_array(file)
    if folder is not None and not found:
        raise UserError(
            "vectors-invalid",
            f"{folder} has no file {model_file.stem}.<case>.in.npy",
            hint="name the inputs after the model, see docs/bundle.md",
        )
    return found


def load_array(file: Path) -> FloatArray:
    """A .npy file as float32; raises UserError naming it."""
    try:
        return np.asarray(np.load(file, allow_pickle=False), np.float32)
    except (OSError, ValueError) as error:
        raise UserError("vectors-invalid", f"{file}: {error}", hint="write it with numpy.save") from None


def choose_vectors(graph: Graph, vectors: Vectors, sha256: str) -> dict[str, dict[str, FloatArray]]:
    """Case -> input name -> array. Real cases come before one called `random`; without any, random inputs are made.

    Random inputs are standard normal, seeded by the file's hash. Raises UserError `vectors-invalid`.
    """
    chosen: dict[str, dict[str, FloatArray]] = {}
    for case in sorted(vectors, key=lambda name: (name == "random", name))[:CASES_KEPT]:
        chosen[case] = {}
        for port, name in enumerate(graph.inputs):
            dims = graph.tensors[name].dims
            array = vectors[case].get(port)
            if array is None or array.shape != dims:
                has = "none" if array is None else f"dims {list(array.shape)}"
                raise UserError(
                    "vectors-invalid", f"test input {case!r}: {name} needs dims {list(dims)}, there is {has}"
                )
            if not np.isfinite(array).all():
                raise UserError("vectors-invalid", f"test input {case!r}: {name} has NaN or infinite values")
            chosen[case][name] = array
    if not chosen:
        random = np.random.default_rng(int(sha256[:16], 16))
        chosen["random"] = {
            name: random.standard_normal(graph.tensors[name].dims, dtype=np.float32) for name in graph.inputs
        }
    return chosen


def store_vectors(context: Context, chosen: Mapping[str, Mapping[str, FloatArray]]) -> list[dict[str, Any]]:
    """Put the arrays away; returns what the model's row keeps."""
    stored = []
    for case, arrays in chosen.items():
        hashes = {}
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            hashes[name] = context.blobs.put("vectors", buffer.getvalue())
        stored.append({"case": case, "inputs": hashes})
    return stored


def expected(
    context: Context, record: ModelRecord, data: bytes, outputs: Sequence[str]
) -> list[tuple[list[FloatArray], list[FloatArray]]]:
    """(inputs, outputs of the original file by onnxruntime) of every stored case, in port order."""
    pairs = []
    for vector in record.vectors:
        arrays = {
            name: np.load(io.BytesIO(context.blobs.get("vectors", sha256)), allow_pickle=False)
            for name, sha256 in vector["inputs"].items()
        }
        answers = run_onnx(data, arrays)
        pairs.append((list(arrays.values()), [np.asarray(answers[name], np.float32) for name in outputs]))
    return pairs
