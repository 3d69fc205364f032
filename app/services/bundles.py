"""Bundles: a point becomes C, is compiled and run against the original model, and only then stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.codegen import bundle as archive
from app.codegen.emit import emit
from app.codegen.literals import check_prefix
from app.codegen.plan import Provenance, make_plan
from app.db.records import BundleRecord, FrontierRecord
from app.errors import UserError
from app.jobs.progress import Progress, check
from app.points import Point
from app.profiling.device import HOST, Device
from app.selection.schedule import make_schedule
from app.services import frontiers, models, vectors
from app.services.context import Context
from app.verify import Verification, verify_bundle
from app.verify.build import OPTIMISED_FLAGS
from app.version import VERSION

STAGES = ("reading the model", "running the original", "writing C", "compiling and running", "storing")


def export(
    context: Context,
    frontier_id: str,
    point_id: str,
    prefix: str,
    progress: Progress,
    *,
    budget_bytes: int | None = None,
) -> BundleRecord:
    """Make, prove and store the bundle of a point. Raises UserError `bundle-rejected` when the proof fails."""
    check_prefix(prefix)
    record = frontiers.get(context, frontier_id)
    front = frontiers.load(context, record)
    point = frontiers.point_of(front, point_id)
    model = context.models.get(record.model)
    if model is None:
        raise UserError("not-found", f"the model of front {record.id} is gone", status=404)
    _stage(progress, 0)
    graph, data = models.load_graph(context, model)
    _stage(progress, 1)
    pairs = vectors.expected(context, model, data, graph.outputs)
    _stage(progress, 2)
    plan = make_plan(
        graph.name,
        graph.constants,
        make_schedule(graph, point, threads=context.device(record.device_name).threads),
        prefix=prefix,
        vectors=pairs,
        provenance=_provenance(context, record, point, model.name, model.sha256, front.costs_digest, budget_bytes),
    )
    files = emit(plan)
    _stage(progress, 3)
    # A device whose compiler is not here cannot run the bundle; then the proof is this machine's, and says so.
    device = context.device(record.device_name).device or context.devices[HOST]
    proof = verify_bundle(
        archive.pack(files, prefix),
        compiler=device.toolchain.cc,
        extra_flags=_extra_flags(device),
        expected=pairs,
        runner=device.toolchain.runner,
    )
    _refuse_unless_exact(proof, point)
    _stage(progress, 4)
    stamped = archive.pack(archive.stamp(files, proof.to_json()), prefix)
    return context.bundles.add(
        frontier=record.id,
        point=point.id,
        prefix=prefix,
        sha256=context.blobs.put("bundles", stamped),
        size_bytes=len(stamped),
        verified=proof.to_json(),
    )


def _stage(progress: Progress, number: int) -> None:
    check(progress)
    progress.stage(STAGES[number], unit="steps", total=len(STAGES))
    progress.advance(number, len(STAGES))


def _refuse_unless_exact(proof: Verification, point: Point) -> None:
    """Raise UserError `bundle-rejected` unless the arena that was used is the one the point promises."""
    if proof.arena_bytes != point.arena_bytes:
        raise UserError(
            "bundle-rejected",
            f"the bundle uses an arena of {proof.arena_bytes} bytes, the point promises {point.arena_bytes}",
            facts={"used_bytes": proof.arena_bytes, "promised_bytes": point.arena_bytes},
            status=500,
        )


def _provenance(
    context: Context,
    record: FrontierRecord,
    point: Point,
    model_name: str,
    model_sha256: str,
    costs_digest: str,
    budget_bytes: int | None,
) -> Provenance:
    device = context.device_json(record.device_name)
    return Provenance.of_point(
        point,
        generator_version=VERSION,
        model_name=model_name,
        model_sha256=model_sha256,
        opset=None,
        device=record.device_name,
        compiler=device["compiler"],
        flags=device["flags"].split(),
        memory_axis=record.memory,
        budget_bytes=budget_bytes,
        costs_digest=costs_digest,
    )


def get(context: Context, bundle_id: str) -> BundleRecord:
    """The bundle of that id; raises UserError `not-found`."""
    record = context.bundles.get(bundle_id)
    if record is None:
        raise UserError("not-found", f"there is no bundle {bundle_id}", status=404)
    return record


def path(context: Context, record: BundleRecord) -> Path:
    """Where the zip lies."""
    return context.blobs.path("bundles", record.sha256)


def verify(context: Context, bundle: Path, device_name: str, *, sanitize: bool = False) -> dict[str, Any]:
    """Compile, run and compare a bundle from a file with the device's compiler; raises UserError when it fails."""
    if not bundle.exists():
        raise UserError("file-unreadable", f"{bundle} is not there", hint="check the path")
    device = context.device(device_name).device
    if device is None:
        raise UserError("device-unknown", f"device {device_name} cannot run anything here", hint="leave --device out")
    return verify_bundle(
        bundle,
        compiler=device.toolchain.cc,
        extra_flags=_extra_flags(device),
        sanitize=sanitize,
        runner=device.toolchain.runner,
    ).to_json()


def _extra_flags(device: Device) -> list[str]:
    return [flag for flag in device.toolchain.flags if flag not in OPTIMISED_FLAGS]
