"""`tradespace bench`: exported bundles side by side with other runtimes."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from app.benchmark import report
from app.benchmark.contender import Turn
from app.benchmark.peers import PEERS
from app.benchmark.results import OURS, Row
from app.benchmark.run import Network, Setup, bench, build_speedometer, check_peers
from app.benchmark.task import Tensor
from app.cli.costs import measure_model, write_new
from app.cli.models import Dims, test_inputs
from app.cli.options import Budget, DeviceName, Json, Memory, Place, duration, listed, named_dims, opened, size
from app.cli.points import export_point, trace
from app.cli.terminal import Shown, print_json, print_table
from app.db.records import ModelRecord
from app.errors import UserError
from app.jobs.progress import Progress, check
from app.points import Frontier, Point
from app.profiling.device import Device
from app.services import bundles, frontiers, jobs, models, vectors
from app.services.context import Context
from app.version import VERSION

FLOAT_BYTES = 4
_SHOWN = ("network", "runtime", "median ms", "rounds ms", "ratio", "ratio of rounds", "GFLOP/s", "% of FMA peak",
          "max rel err", "planned MiB", "resident MiB", "remark")  # fmt: skip


def register(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command("bench")(bench_models)


def bench_models(
    context: typer.Context,
    model: Annotated[list[str], typer.Argument(help="ONNX files, models added before, names of examples.")],
    against: Annotated[str, typer.Option(help="Runtimes to compare with, comma-separated.")] = ",".join(PEERS),
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of every runtime (default: the device's).")
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Turns of every runtime.")] = 10,
    burst: Annotated[str, typer.Option(help="Timed part of a turn, at least 5 runs: 500ms.")] = "500ms",
    warm_up: Annotated[str, typer.Option(help="Untimed part of a turn, at least one run: 100ms.")] = "100ms",
    cpu: Annotated[
        str | None, typer.Option(help="Cores to run on, 1 or 0,1 or 0-3 (default: the device's, else the last ones).")
    ] = None,
    point: Annotated[str, typer.Option(help="fastest, knee, smallest, or the id of a point.")] = "fastest",
    budget: Budget = None,
    device: DeviceName = "host",
    memory: Memory = "arena",
    dim: Dims = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result there as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables there as Markdown.")] = None,
    as_json: Json = False,
) -> None:
    """Time exported bundles side by side with other runtimes: same file, same input, equal outputs, turn by turn."""
    site = opened(context)
    names = check_peers(listed(against) or [])
    chosen_by = "budget" if budget is not None else point
    if budget is not None and point != "fastest":
        raise UserError("query-invalid", "which point is not clear", hint="give --point or --budget, not both")
    turn = Turn(duration(warm_up) or 0, duration(burst) or 0)
    if threads is not None and threads != _device(site, device).threads:
        device = f"{device.partition('@')[0]}@{threads}"
    here = _device(site, device)
    environment = here.environment()
    cpus = _cpus(cpu, here)
    with Shown() as shown:
        records = [_record(site, text, named_dims(dim), shown) for text in model]
        document: dict[str, Any] = {
            "format": report.FORMAT,
            "generator_version": VERSION,
            "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "host": environment,
            "compiler": environment["compiler"],
            "flags": " ".join(here.toolchain.flags),
            "device": device,
            "threads": here.threads,
            "cpus": list(cpus),
            "rounds": rounds,
            "turn": asdict(turn),
            "peers": report.peer_entries(names),
            "point": chosen_by,
            "memory": memory,
            "networks": [],
            "rows": [],
        }
        setup = Setup(
            peers=names,
            threads=here.threads,
            cpus=cpus,
            rounds=rounds,
            turn=turn,
            toolchain=here.toolchain,
            version=VERSION,
            converted=site.settings.data / "converted",
            harness=build_speedometer(here.toolchain, site.settings.data),
        )
        for record in records:
            entry: dict[str, Any] = {"name": record.name, "model": record.id, "macs": record.macs}
            try:
                rows = _bench_one(site, record, device, memory, point, size(budget), setup, entry, shown)
            except UserError as error:
                if len(records) == 1:
                    raise
                shown.say(f"{record.name}: {error}")
                entry["error"] = str(error)
                rows = []
            document["networks"].append(entry)
            document["rows"] += [row.to_json() for row in rows]
            # After every network, so that a long run that is stopped has not been for nothing.
            _write(document, output, markdown)
    if as_json:
        print_json(document)
    else:
        _print(document)
    if any("error" in entry for entry in document["networks"]):
        raise typer.Exit(1)


def _device(site: Context, name: str) -> Device:
    found = site.device(name).device
    if found is None:
        raise UserError("device-unknown", f"device {name} cannot run anything here", hint="leave --device out")
    if found.toolchain.runner:
        raise UserError(
            "device-unknown",
            f"device {name} runs its programs by {found.toolchain.runner[0]}, not side by side with others here",
            hint="choose a device of this machine",
        )
    return found


def _cpus(text: str | None, device: Device) -> tuple[int, ...]:
    """The cores of `--cpu`, as many as threads; without it those costs are measured on, else the last ones."""
    allowed = sorted(os.sched_getaffinity(0))
    threads = device.threads
    chosen: list[int] = []
    if text is None:
        chosen = list(device.cpus) if device.cpus and set(device.cpus) <= set(allowed) else allowed[-threads:]
    else:
        for word in text.split(","):
            first, dash, last = word.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                raise UserError("query-invalid", f"--cpu {text}: not a list of cores", hint="write 1 or 0,1 or 0-3")
            chosen += range(int(first), int(last or first) + 1)
    chosen = sorted(set(chosen))
    if len(chosen) != threads or not set(chosen) <= set(allowed):
        raise UserError(
            "query-invalid",
            f"{threads} thread(s) need as many cores, chosen: {chosen or 'none'}, usable: {allowed}",
            hint="give --cpu as many cores as --threads",
        )
    return tuple(chosen)


def _record(site: Context, text: str, dims: dict[str, int], shown: Shown) -> ModelRecord:
    """The model of a file, of the data folder, or of the example library."""
    path = Path(text)
    if path.suffix == ".json":
        raise UserError("query-invalid", f"{text} is no network", hint="--json prints the result, -o FILE writes it")
    if path.suffix == ".onnx" or path.is_file():
        shown.stage(f"importing {path.name}")
        return models.add_file(site, path, dims=dims, vectors=test_inputs(path, None, None))[0]
    if text in models.example_names():
        shown.stage(f"importing {text}")
        return models.add_example(site, text)[0]
    return models.find(site, text)


def _bench_one(
    site: Context,
    record: ModelRecord,
    device: str,
    memory: str,
    point: str,
    budget_bytes: int | None,
    setup: Setup,
    entry: dict[str, Any],
    shown: Shown,
) -> list[Row]:
    """Measure, trace, export, race; fills the network's entry of the document."""
    measure_model(site, record.id, device, shown)
    frontier = trace(site, record.id, Place(device, memory), shown)
    front = frontiers.load(site, frontier)
    chosen = _chosen(front, point, budget_bytes)
    bundle = export_point(site, frontier, chosen, "net", shown, budget_bytes)
    params = {"model": record.id, "device": device, "point": chosen.id, "against": list(setup.peers)}
    with jobs.foreground(site, "bench", params, shown, device=site.device(device).id, quiet=True) as progress:
        graph_outputs = tuple(port["name"] for port in record.outputs)
        shown.stage(f"{record.name}: running the original")
        data = site.blobs.get("models", record.sha256)
        case = vectors.expected(site, record, data, graph_outputs)[0]
        del data
        inputs = tuple(Tensor(port["name"], array.shape) for port, array in zip(record.inputs, case[0], strict=True))
        outputs = tuple(Tensor(port["name"], array.shape) for port, array in zip(record.outputs, case[1], strict=True))
        io_bytes = FLOAT_BYTES * sum(tensor.elems for tensor in (*inputs, *outputs))
        entry |= {
            "sha256": record.sha256,
            "inputs": [asdict(tensor) for tensor in inputs],
            "point": chosen.summary(),
            "bundle_sha256": bundle.sha256,
            "verified": bundle.verified,
            "memory": {
                "arena_bytes": chosen.arena_bytes,
                "weights_bytes": chosen.weights_bytes,
                "io_bytes": io_bytes,
                "code_bytes": bundle.verified["code_bytes"],
            },
        }
        network = Network(
            name=record.name,
            model=site.blobs.path("models", record.sha256),
            sha256=record.sha256,
            inputs=inputs,
            outputs=outputs,
            case=([np.ascontiguousarray(array) for array in case[0]], case[1]),
            macs=record.macs,
            bundle=bundles.path(site, bundle),
            planned_bytes=chosen.total_bytes + io_bytes,
        )
        found = bench(network, setup, on_stage=_stages(progress), on_progress=_steps(progress))
        entry |= {"fma_gflops": found.fma_gflops, "vector_floats": found.vector_floats}
        return found.rows


def _stages(progress: Progress) -> Any:
    def on_stage(name: str, total: int) -> None:
        check(progress)
        progress.stage(name, unit="turns", total=total)

    return on_stage


def _steps(progress: Progress) -> Any:
    def on_progress(completed: int, total: int) -> None:
        check(progress)
        progress.advance(completed, total)

    return on_progress


def _chosen(front: Frontier, point: str, budget_bytes: int | None) -> Point:
    if budget_bytes is not None:
        return frontiers.best(front, budget_bytes=budget_bytes)
    named = {"fastest": lambda: front.points[-1], "smallest": lambda: front.points[0], "knee": lambda: knee(front)}
    return named[point]() if point in named else frontiers.point_of(front, point)


def knee(front: Frontier) -> Point:
    """The point furthest below the straight line between the two ends of the front, both axes scaled to [0, 1]."""
    first, last = front.points[0], front.points[-1]

    def used(point: Point) -> int:
        return int(getattr(point, f"{front.memory}_bytes"))

    def depth(point: Point) -> float:
        x = (used(point) - used(first)) / max(1, used(last) - used(first))
        y = (point.latency_ns - last.latency_ns) / max(1, first.latency_ns - last.latency_ns)
        return 1 - x - y

    return max(front.points, key=depth)


def _write(document: dict[str, Any], output: Path | None, markdown: Path | None) -> None:
    if output is not None:
        write_new(output, json.dumps(document, indent=1).encode())
    if markdown is not None:
        write_new(markdown, report.markdown(document).encode())


def _print(document: dict[str, Any]) -> None:
    for line in report.setting_lines(document):
        print(line)
    keep = [report.DETAIL_COLUMNS.index(column) for column in _SHOWN]
    rows: Sequence[Sequence[str]] = [[row[place] for place in keep] for row in report.detail_rows(document)]
    print_table(_SHOWN, rows, right=[c for c in _SHOWN if c not in ("network", "runtime", "remark")])
    print(f"ratio: that runtime's time over that of {OURS}; sizes in MiB, see docs/benchmark.md")
