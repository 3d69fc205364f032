"""`tradespace measure`, `costs` and `kit`: measuring here, and on a board that cannot run Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import DeviceName, Families, Json, ModelName, Threads, listed, on_threads, opened
from app.cli.terminal import Shown, print_json
from app.errors import UserError
from app.quantities import format_bytes
from app.services import jobs, kits, measurements, models
from app.services.context import Context
from app.services.measurements import MeasureSummary

commands = typer.Typer(name="costs", help="Measured costs: take them elsewhere and back.", no_args_is_help=True)


def register(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.command()(measure)
    program.add_typer(commands)
    program.command()(kit)


def measure_model(
    site: Context,
    model: str,
    device: str,
    shown: Shown,
    *,
    families: list[str] | None = None,
    only_missing: bool = True,
) -> MeasureSummary:
    """Measure in this process, while no other job disturbs it."""
    record, reference = models.find(site, model), site.device(device)
    keys = measurements.needed(site, record, families)
    if only_missing and not measurements.missing(site, record, reference, families):
        return MeasureSummary(0, len(keys), 0, 0.0)
    params = {"model": record.id, "device": device, "families": families, "only_missing": only_missing}
    with jobs.foreground(site, "measure", params, shown, device=reference.id, quiet=True) as progress:
        return measurements.measure(site, record, reference, progress, families=families, only_missing=only_missing)


def measure(
    context: typer.Context,
    model: ModelName,
    device: DeviceName = "host",
    threads: Threads = None,
    families: Families = None,
    only_missing: Annotated[
        bool, typer.Option("--only-missing/--all", help="Measure what has no cost yet, or everything again.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Measure what a model needs on a device. Finished costs are kept, whatever happens."""
    device = on_threads(device, threads)
    with Shown() as shown:
        summary = measure_model(
            opened(context), model, device, shown, families=listed(families), only_missing=only_missing
        )
    if as_json:
        print_json(summary.to_json())
        return
    print(
        f"{summary.measured} costs measured in {summary.elapsed_s:.1f} s, {summary.cut} of them cut short as hopeless; "
        f"{summary.reused} known already"
    )


@commands.command("export")
def export_costs(
    context: typer.Context,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (default: standard output).")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only what this model needs.")] = None,
    device: DeviceName = "host",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Write the costs of a device with all samples and its environment, as JSON."""
    site, device = opened(context), on_threads(device, threads)
    found = measurements.export_costs(site, site.device(device), models.find(site, model) if model else None)
    if output is None:
        print_json(found)
        return
    write_new(output, json.dumps(found, indent=1).encode())
    summary = {"exported": len(found["costs"]), "device": device, "path": str(output)}
    print_json(summary) if as_json else print(f"{len(found['costs'])} costs of {device} in {output}")


@commands.command("import")
def import_costs(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Written by `costs export` or by a measuring kit.")],
    device: Annotated[str | None, typer.Option(help="Name of the device (default: the one in the file).")] = None,
    as_json: Json = False,
) -> None:
    """Read costs measured elsewhere. A file that is not right changes nothing."""
    site = opened(context)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError("file-unreadable", f"{file}: {error.strerror}") from None
    found = kits.import_results(site, data, device) if kits.is_result(data) else None
    found = found or measurements.import_costs(site, data, device)
    print_json(found) if as_json else print(f"{found['imported']} costs of {found['device']} imported")


def kit(
    context: typer.Context,
    model: ModelName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The zip to write.")],
    device: Annotated[str, typer.Option(help="Name the board will have here; NAME@THREADS for threads.")],
    families: Families = None,
    as_json: Json = False,
) -> None:
    """A zip of C sources and requests that measures a model's costs on a board with a C compiler and a shell."""
    site = opened(context)
    data, requests = kits.make(site, models.find(site, model), device, families=listed(families))
    write_new(output, data)
    summary = {"path": str(output), "device": device, "costs": requests, "size_bytes": len(data)}
    if as_json:
        print_json(summary)
        return
    print(
        f"{output}: {requests} costs, {format_bytes(len(data))}\n"
        f"on the board: unzip, `make CC=... CFLAGS=...`; here: `tradespace costs import results.jsonl`"
    )


def write_new(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; raises UserError `file-unreadable` when that is not possible."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise UserError("file-unreadable", f"{path} cannot be written: {error.strerror}") from None
