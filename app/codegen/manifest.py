"""manifest.json: what a bundle is made of and what was proven about it. The format is described in docs/bundle.md."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from app.codegen.plan import MAX_REL_ERR, Plan

FORMAT = 1


def render(plan: Plan, hashes: Mapping[str, str]) -> bytes:
    """The manifest of an unverified bundle; `hashes` are the SHA-256 of every other file."""
    origin, schedule = plan.provenance, plan.schedule
    document = {
        "format": FORMAT,
        "generator": {"name": "tradespace", "version": origin.generator_version},
        "prefix": plan.prefix,
        "threads": plan.threads,
        "model": {
            "name": origin.model_name,
            "graph": plan.graph_name,
            "sha256": origin.model_sha256,
            "opset": origin.opset,
        },
        "device": {"name": origin.device, "compiler": origin.compiler, "flags": list(origin.flags)},
        "point": {
            "id": origin.point_id,
            "memory": origin.memory_axis,
            "budget_bytes": origin.budget_bytes,
            "proven": origin.proven,
            "bound_ns": origin.bound_ns,
            "gap": origin.gap,
            "families": dict(sorted(origin.families.items())),
            "costs_digest": origin.costs_digest,
        },
        "predicted": {
            "latency_ns": plan.predicted_ns,
            "operators_ns": plan.predicted_ns - plan.conversions_ns,
            "conversions_ns": plan.conversions_ns,
        },
        "memory": {
            "arena_bytes": schedule.arena_bytes,
            "arena_align_bytes": schedule.align_bytes,
            "resident_bytes": schedule.resident_bytes,
            "workspace_bytes": plan.workspace_bytes,
            "weights_bytes": plan.weights.data.nbytes,
            "io_bytes": plan.io_bytes,
        },
        "inputs": [
            _port(name, port.name, port.dims) for name, port in zip(plan.input_names, schedule.inputs, strict=True)
        ],
        "outputs": [
            _port(name, port.name, port.dims) for name, port in zip(plan.output_names, schedule.outputs, strict=True)
        ],
        "calls": [
            {
                "label": call.label,
                "shape": call.shape.key(),
                "primitive": primitive.name,
                "family": primitive.family,
                "source_hash": plan.source_hashes[primitive.name],
                "parts": [part.title for part in parts] if len(parts) > 1 else [],
                "predicted_ns": call.predicted_ns,
                "workspace_bytes": call.workspace.size_bytes if call.workspace else 0,
                "weights_bytes": primitive.weights_bytes(call.shape, resident=call.resident is not None),
                "resident_bytes": primitive.resident_bytes(call.shape) if call.resident is not None else 0,
            }
            for call, primitive, parts in zip(schedule.calls, plan.primitives, plan.parts, strict=True)
        ],
        "kernels": [{"file": s.path, "origin": s.origin, "sha256": s.sha256} for s in plan.sources],
        "needs_libm": plan.needs_libm,
        "vectors": {
            "file": "test/vectors.bin",
            "count": len(plan.vectors),
            "order": "little-endian float32; per vector the inputs, then the expected outputs",
            "max_rel_err": MAX_REL_ERR,
        },
        "files": dict(hashes),
        "verified": None,
    }
    return _json(document)


def stamp(manifest: bytes, verified: Mapping[str, Any]) -> bytes:
    """The manifest with its `verified` block filled; everything else unchanged."""
    document = json.loads(manifest)
    document["verified"] = dict(verified)
    return _json(document)


def _port(parameter: str, name: str, dims: tuple[int, ...]) -> dict[str, Any]:
    return {"parameter": parameter, "name": name, "dims": list(dims), "elems": math.prod(dims)}


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()
