"""`tradespace frontier`, `query`, `export`, `verify` and `run`: from costs to a verified bundle."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.costs import measure_model
from app.cli.models import Dims, InputFile, VectorFolder, test_inputs
from app.cli.options import (
    HERE,
    Budget,
    DeviceName,
    Json,
    MaxLatency,
    ModelName,
    Place,
    Prefix,
    duration,
    named_dims,
    of_a_front,
    opened,
    size,
)
from app.cli.terminal import Shown, print_json, print_table
from app.db.records import BundleRecord, FrontierRecord
from app.errors import UserError
from app.points import Point
from app.quantities import format_bytes, format_ns, format_ns_alike
from app.selection.limits import NO_LIMITS, Limits
from app.services import bundles, frontiers, jobs, models
from app.services.context import Context

Output = Annotated[Path, typer.Option("--output", "-o", help="The zip to write.")]


def register(program: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (frontier, query, export, verify, run):
        program.command()(command)


def trace(site: Context, model: str, place: Place, shown: Shown, limits: Limits = NO_LIMITS) -> FrontierRecord:
    """The newest front within these limits if it is up to date, else a fresh one."""
    record, reference, memory = models.find(site, model), site.device(place.device), place.memory
    frontiers.check_limits(site, record, frontiers.check_axis(memory), limits)
    known = frontiers.newest(site, record, reference, memory, limits)
    if known is not None and not frontiers.is_stale(site, known):
        return known
    params = {"model": record.id, "device": place.device, "memory": memory, "limits": limits.to_json()}
    with jobs.foreground(site, "frontier", params, shown) as progress:
        return frontiers.trace(site, record, reference, memory, progress, limits=limits)


@of_a_front
def frontier(
    context: typer.Context,
    model: ModelName,
    place: Place = HERE,
    limits: Limits = NO_LIMITS,
    as_json: Json = False,
) -> None:
    """The exact front of a model from its measured costs; a stored one that is up to date is shown as it is."""
    site = opened(context)
    with Shown() as shown:
        record = trace(site, model, place, shown, limits)
    front = frontiers.load(site, record)
    found = models.find(site, model)
    if as_json:
        print_json(
            {
                "id": record.id,
                "model": found.id,
                "device": place.device,
                "memory": place.memory,
                "limits": limits.to_json(),
                "solve_s": front.solve_s,
                "certified_by": front.certified_by,
                "uncertified_because": front.uncertified_because,
                "complete": front.complete,
                "incomplete_because": front.incomplete_because,
                "order": front.order,
                "order_because": front.order_because,
                "smallest_bytes": front.smallest_bytes,
                "smallest_step": front.smallest_step,
                "points": [point.summary() for point in front.points],
                "baselines": [
                    {"name": one.name, "explanation": one.explanation, "point": one.point.summary()}
                    for one in front.baselines
                ],
            }
        )
        return
    print(
        f"{found.name} on {place.device}: {len(front.points)} points on the {place.memory} axis, {front.certified_by}, "
        f"solved in {front.solve_s:.2f} s"
    )
    if limits != NO_LIMITS:
        print(f"within {limits.arguments()}")
    if front.uncertified_because:
        print(f"not confirmed by a second method: {front.uncertified_because}")
    if not front.complete:
        print(f"incomplete: {front.incomplete_because}")
    if front.order_because:
        print(f"not every order was looked at: {front.order_because}")
    latencies = format_ns_alike([p.latency_ns for p in (*front.points, *(one.point for one in front.baselines))])
    print_table(
        ("point", "latency", "arena bytes", "workspace bytes", "weights bytes", "certainty", "families"),
        [
            (
                point.id[:12],
                latency,
                f"{point.arena_bytes:,}",
                f"{point.workspace_bytes:,}",
                f"{point.weights_bytes:,}",
                "proven" if point.proven else f"gap {point.gap:.2%}",
                " ".join(f"{family}:{count}" for family, count in sorted(point.families.items())),
            )
            for point, latency in zip(front.points, latencies, strict=False)
        ],
        right=("latency", "arena bytes", "workspace bytes", "weights bytes"),
    )
    print("\nWhat simpler methods pick:")
    print_table(
        ("baseline", "latency", "arena bytes", "workspace bytes", "weights bytes"),
        [
            (
                one.name,
                latency,
                f"{one.point.arena_bytes:,}",
                f"{one.point.workspace_bytes:,}",
                f"{one.point.weights_bytes:,}",
            )
            for one, latency in zip(front.baselines, latencies[len(front.points) :], strict=True)
        ],
        right=("latency", "arena bytes", "workspace bytes", "weights bytes"),
    )


@of_a_front
def query(
    context: typer.Context,
    model: ModelName,
    budget: Budget = None,
    max_latency: MaxLatency = None,
    place: Place = HERE,
    limits: Limits = NO_LIMITS,
    as_json: Json = False,
) -> None:
    """The fastest configuration that fits, from the stored front; exit code 1 when nothing does."""
    site = opened(context)
    record, point = frontiers.query(
        site,
        models.find(site, model),
        site.device(place.device),
        place.memory,
        limits=limits,
        budget_bytes=size(budget),
        max_latency_ns=duration(max_latency),
    )
    because = frontiers.stale_because(site, record)
    if as_json:
        summary = frontiers.point_summary(site, record, point)
        print_json({"frontier_id": record.id, "stale": bool(because), "stale_because": because, "point": summary})
        return
    print(_described(point, place.memory))
    warn_if_stale(because)


def warn_if_stale(because: str) -> None:
    """Say on the error stream that a front no longer stands on the newest costs."""
    if because:
        print(f"this front is stale: {because}; trace it again", file=sys.stderr)


def _described(point: Point, memory: str) -> str:
    certainty = "proven optimal" if point.proven else f"within {point.gap:.2%} of the optimum"
    resident = f" and resident weights {format_bytes(point.resident_bytes)}" if point.resident_bytes else ""
    return (
        f"point {point.id[:12]}: {format_ns(point.latency_ns)}, {certainty} for its {memory}\n"
        f"arena {format_bytes(point.arena_bytes)}, of it workspace {format_bytes(point.workspace_bytes)}{resident}; "
        f"weights {format_bytes(point.weights_bytes)}; total {format_bytes(point.total_bytes)}"
    )


def export_point(
    site: Context, record: FrontierRecord, point: Point, prefix: str, shown: Shown, budget_bytes: int | None = None
) -> BundleRecord:
    """Export and verify in this process, while no other job disturbs the timing."""
    params = {"frontier": record.id, "point": point.id, "prefix": prefix}
    with jobs.foreground(site, "bundle", params, shown, device=record.device, quiet=True) as progress:
        return bundles.export(site, record.id, point.id, prefix, progress, budget_bytes=budget_bytes)


def _exported(site: Context, bundle: BundleRecord, point: Point, output: Path) -> dict[str, Any]:
    try:
        shutil.copyfile(bundles.path(site, bundle), output)
    except OSError as error:
        raise UserError("file-unreadable", f"{output} cannot be written: {error.strerror}") from None
    return {
        "bundle": str(output),
        "bundle_id": bundle.id,
        "sha256": bundle.sha256,
        "point": point.summary(),
        "verify": bundle.verified,
    }


def _verified(verified: dict[str, Any], point: Point | None = None) -> str:
    predicted = f" (predicted {format_ns(point.latency_ns)})" if point is not None else ""
    return (
        f"verified with {verified['compiler']}: largest relative error {verified['max_rel_err']:.2e}, "
        f"arg-max {verified['argmax']}, arena {format_bytes(verified['arena_used_bytes'])} used of "
        f"{format_bytes(verified['arena_bytes'])}, median {format_ns(verified['median_ns'])}{predicted}"
    )


@of_a_front
def export(
    context: typer.Context,
    model: ModelName,
    output: Output,
    budget: Budget = None,
    max_latency: MaxLatency = None,
    point: Annotated[str | None, typer.Option(help="Id or unique beginning of a point.")] = None,
    fastest: Annotated[bool, typer.Option("--fastest", help="The fastest point.")] = False,
    smallest: Annotated[bool, typer.Option("--smallest", help="The point of least memory.")] = False,
    place: Place = HERE,
    limits: Limits = NO_LIMITS,
    prefix: Prefix = "net",
    as_json: Json = False,
) -> None:
    """Export a point as a zip of C, after it was compiled, run and compared with the original model."""
    if sum([budget is not None or max_latency is not None, point is not None, fastest, smallest]) != 1:
        raise UserError(
            "query-invalid",
            "which point is not clear",
            hint="give one of --budget (with or without --max-latency), --point, --fastest, --smallest",
        )
    site = opened(context)
    budget_bytes = size(budget)
    record, chosen = frontiers.query(
        site,
        models.find(site, model),
        site.device(place.device),
        place.memory,
        limits=limits,
        budget_bytes=budget_bytes,
        max_latency_ns=duration(max_latency),
    )
    front = frontiers.load(site, record)
    if point is not None:
        chosen = frontiers.point_of(front, point)
    elif smallest:
        chosen = front.points[0]
    warn_if_stale(frontiers.stale_because(site, record))
    with Shown() as shown:
        bundle = export_point(site, record, chosen, prefix, shown, budget_bytes)
    result = _exported(site, bundle, chosen, output)
    if as_json:
        print_json(result)
        return
    print(f"{_described(chosen, place.memory)}\n{_verified(bundle.verified, chosen)}\n{output}")


def verify(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's zip or its unpacked folder.")],
    device: DeviceName = "host",
    sanitize: Annotated[bool, typer.Option("--sanitize", help="With address and undefined-behaviour checks.")] = False,
    as_json: Json = False,
) -> None:
    """Unpack, compile, run and compare a bundle; exit code 1 when it does not do what it says."""
    site = opened(context)
    with Shown() as shown:
        shown.stage("compiling and running")
        proof = bundles.verify(site, bundle, device, sanitize=sanitize)
    print_json(proof) if as_json else print(_verified(proof))


@of_a_front
def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="An ONNX file.")],
    output: Output,
    budget: Budget = None,
    max_latency: MaxLatency = None,
    place: Place = HERE,
    limits: Limits = NO_LIMITS,
    prefix: Prefix = "net",
    dim: Dims = None,
    vectors: VectorFolder = None,
    inputs: InputFile = None,
    as_json: Json = False,
) -> None:
    """Everything in one go: import, measure what is missing, trace, choose, export, verify."""
    site = opened(context)
    budget_bytes, max_latency_ns = size(budget), duration(max_latency)
    with Shown() as shown:
        shown.stage(f"importing {file.name}")
        model, _ = models.add_file(site, file, dims=named_dims(dim), vectors=test_inputs(file, vectors, inputs))
        measured = measure_model(site, model.id, place.device, shown)
        record = trace(site, model.id, place, shown, limits)
        front = frontiers.load(site, record)
        chosen = frontiers.best(front, budget_bytes=budget_bytes, max_latency_ns=max_latency_ns)
        bundle = export_point(site, record, chosen, prefix, shown, budget_bytes)
    result = _exported(site, bundle, chosen, output)
    if as_json:
        print_json({"model": model.id, "frontier": record.id, **measured.to_json(), **result})
        return
    print(
        f"{model.name}: {measured.measured} costs measured, {measured.reused} known; {len(front.points)} points, "
        f"{front.certified_by}\n{_described(chosen, place.memory)}\n{_verified(bundle.verified, chosen)}\n{output}"
    )
