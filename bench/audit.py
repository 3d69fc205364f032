"""Every network, end to end: import, measure, trace, export, compile, run, compare; prints the tables of the docs.

    python bench/audit.py [--data DIR] [--only NAME ...] [--huge] [--points all|three] [--minutes M] [--docs F]

For each network: the exact front on the arena and workspace axes; then every point of the arena front (with `--points
three` the fastest, the knee and the smallest) is exported, compiled, run and compared with onnxruntime on the original
file. Those three come first and are compiled by clang and with the sanitizers as well. The bundle's own timing is run
three times with other bundles between; beside the predicted latency stand the median of the three and their spread.
A mismatch is any difference: outputs, arg-max, or bytes of the arena between prediction, macro and what the run
touched; the exit status is 1 if there is one.

`--huge` adds VGG-16 and VGG-19, with 550 MB of weights a bundle. After M minutes with a network no bundle but those
three is begun, and the table of fronts says how many were judged; the next run with the same DIR goes on with the rest.

DIR keeps everything that was measured: costs-*.jsonl, rows.jsonl (a line per bundle, appended when it is done),
compiled kernels and the bundles whose latency was predicted worst. Stopped at any moment, the audit goes on where it
was; a bundle is judged again only if a byte of it, the compiler or the core has changed. audit.json and audit.md are
written after every network; all tables go between the marks of F when everything is done.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import audit_report
import layers
from audit_files import append_line, around_tables, load_costs, read_lines, write
from audit_networks import Case, Network, all_networks
from audit_timing import Turns, whole

from app.cli.bench import knee
from app.codegen.bundle import pack
from app.codegen.emit import emit
from app.codegen.plan import Provenance, make_plan
from app.costs import CostTable
from app.errors import UserError
from app.graph.ir import Graph
from app.graph.onnx_import import import_onnx
from app.points import Frontier, Point
from app.profiling.device import Device, host_device
from app.profiling.plan import needed_costs
from app.profiling.run import measure
from app.selection.frontier import trace
from app.selection.schedule import make_schedule
from app.verify import verify_bundle
from app.verify.build import OPTIMISED_FLAGS

ROOT = Path(__file__).parents[1]
AXES = ("arena", "workspace")
WORST_BUNDLES = 3

Row = dict[str, Any]


@dataclasses.dataclass
class Audit:
    """The data folder, the device, and the rows found so far."""

    data: Path
    device: Device
    points: str
    minutes: float | None = None
    known: list[Row] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        for name in ("bundles", "programs"):
            (self.data / name).mkdir(exist_ok=True)
        for left in (self.data / "programs").iterdir():
            left.unlink()
        self.known = [row for row in read_lines(self.data / "rows.jsonl") if whole(row)]
        self.turns = Turns(self.runner, self.done)

    @property
    def flags(self) -> tuple[str, ...]:
        """The device's flags beyond those every verification has."""
        return tuple(flag for flag in self.device.toolchain.flags if flag not in OPTIMISED_FLAGS)

    @property
    def runner(self) -> tuple[str, ...]:
        """What pins a bundle to the device's cores."""
        return ("taskset", "-c", ",".join(map(str, self.device.cpus))) if self.device.cpus else ()

    def costs(self, graph: Graph) -> tuple[CostTable, str]:
        """Costs for `graph`, measuring what is missing; and a note on how long that took."""
        file = self.data / f"costs-{self.device.fingerprint()}.jsonl"
        table = CostTable(load_costs(file))
        needed = needed_costs(graph)
        missing = table.missing(needed)
        if not missing:
            return table, f"{len(needed)} costs known"
        report = measure(
            self.device,
            missing,
            data_dir=self.data,
            on_cost=lambda cost: append_line(file, dataclasses.asdict(cost)),
            on_progress=lambda done, total: print(f"\r  {done}/{total}", end="", file=sys.stderr, flush=True),
        )
        print("\r", end="", file=sys.stderr)
        note = f"{len(needed)} costs, {report.measured} of them measured in {report.elapsed_s:.0f} s"
        return CostTable(load_costs(file)), f"{note} ({report.cut} cut after the pilot)"

    def network(self, network: Network) -> tuple[list[Row], list[Row]]:
        """(fronts, bundles) of one network."""
        graph = import_onnx(network.data, name=network.name)
        costs, note = self.costs(graph)
        print(f"\n## {network.name}: {note}", flush=True)
        traced = {axis: self.front(network, graph, costs, axis) for axis in AXES}
        fronts = [row for _, row in traced.values()]
        front = traced["arena"][0]
        named = {"fastest": front.points[-1], "knee": knee(front), "smallest": front.points[0]}
        labels: dict[str, list[str]] = {}
        for label, point in named.items():
            labels.setdefault(point.id, []).append(label)
        chosen = front.points[::-1] if self.points == "all" else [p for p in front.points[::-1] if p.id in labels]
        cases = network.cases(graph)
        rows: dict[int, Row] = {}
        started = time.perf_counter()
        for number, point in sorted(enumerate(chosen, 1), key=lambda pair: pair[1].id not in labels):
            late = self.minutes is not None and time.perf_counter() - started > 60 * self.minutes
            if late and point.id not in labels:
                print(f"  {len(chosen) - len(rows)} bundles are left for another run", flush=True)
                break
            label = " = ".join(labels.get(point.id, [])) or f"{number} of {len(chosen)}"
            rows[number] = self.bundle(network, graph, cases, front, point, label, everything=point.id in labels)
        traced["arena"][1]["judged"] = len(rows)
        return fronts, [rows[number] for number in sorted(rows)]

    def front(self, network: Network, graph: Graph, costs: CostTable, axis: str) -> tuple[Frontier, Row]:
        """The front on an axis and its row."""
        started = time.perf_counter()
        front = trace(graph, costs, axis)
        row = {
            "network": network.name,
            "axis": axis,
            "points": len(front.points),
            "traced_s": time.perf_counter() - started,
            "certified_by": front.certified_by,
            "proven": all(point.proven for point in front.points),
            "complete": front.complete,
            "optimum_ns": front.points[-1].latency_ns,
            "baselines": {b.name: b.point.latency_ns for b in front.baselines},
        }
        print(
            f"{axis}: {row['points']} points in {row['traced_s']:.2f} s, {front.certified_by}, all proven: "
            f"{row['proven']}, smallest {front.smallest_bytes} ({front.smallest_step})",
            flush=True,
        )
        return front, row

    def bundle(
        self,
        network: Network,
        graph: Graph,
        cases: list[Case],
        front: Frontier,
        point: Point,
        label: str,
        *,
        everything: bool,
    ) -> Row:
        """Export and judge one point, unless exactly this was done before. `everything`: clang and sanitizers too."""
        data = self.export(network, graph, cases, front, point)
        identity = {
            "network": network.name,
            "bundle_sha256": hashlib.sha256(data).hexdigest(),
            "device": self.device.fingerprint(),
            "cpus": list(self.device.cpus),
        }
        for row in reversed(self.known):
            if identity.items() <= row.items() and row["everything"] >= everything:
                row["point"] = label
                print(f"  {label} (known): {audit_report.sentence(row)}", flush=True)
                return row
        program = self.data / "programs" / f"{network.name}-{identity['bundle_sha256']}"
        row = identity | {"point": label, "everything": everything}
        row |= self.judged(data, cases, point, program, everything=everything)
        self.path_of(row).write_bytes(data)
        if row["mismatch"]:
            self.done(row)
        else:
            self.turns.join(row, program, row["builds"][0]["median_ns"])
        return row

    def done(self, row: Row) -> None:
        """Keep and print the row of a bundle that has been judged and timed."""
        append_line(self.data / "rows.jsonl", row)
        self.known.append(row)
        self.forget_good_bundles()
        print(f"  {row['network']}, {row['point']}: {audit_report.sentence(row)}", flush=True)

    def export(self, network: Network, graph: Graph, cases: list[Case], front: Frontier, point: Point) -> bytes:
        """The zip of a point."""
        provenance = Provenance.of_point(
            point,
            generator_version="audit",
            model_name=network.name,
            model_sha256=hashlib.sha256(network.data).hexdigest(),
            opset=None,
            device=self.device.name,
            compiler=str(self.device.environment()["compiler"]),
            flags=self.device.toolchain.flags,
            memory_axis=front.memory,
            budget_bytes=None,
            costs_digest=front.costs_digest,
        )
        schedule = make_schedule(graph, point)
        plan = make_plan(network.name, graph.constants, schedule, prefix="net", vectors=cases, provenance=provenance)
        return pack(emit(plan), "net")

    def judged(self, data: bytes, cases: list[Case], point: Point, program: Path, *, everything: bool) -> Row:
        """What compiling, running and comparing found; `mismatch` is "" when everything agrees.

        The self-test's program, as the device's compiler made it, stays at `program`.
        """
        started = time.perf_counter()
        row: Row = {
            "point_id": point.id,
            "predicted_ns": point.latency_ns,
            "predicted_arena_bytes": point.arena_bytes,
            "weights_bytes": point.weights_bytes,
            "builds": [],
            "mismatch": "",
        }
        builds = [(self.device.toolchain.cc, False)]
        if everything:
            builds += [("clang", False), (self.device.toolchain.cc, True)]
        for compiler, sanitize in builds:
            try:
                proof = verify_bundle(
                    data,
                    compiler=compiler,
                    extra_flags=self.flags,
                    expected=cases,
                    sanitize=sanitize,
                    runs=1 if sanitize else None,
                    runner=self.runner,
                    cache=self.data / "objects",
                    keep_selftest=None if row["builds"] else program,
                )
            except Exception as error:  # a night's run must not end at its first finding, whatever it is
                found = "; ".join(item.detail for item in getattr(error, "items", ())[:3])
                what = f"{type(error).__name__}: {error}" + (found and f" ({found})")
                row["mismatch"] = f"{compiler}{' with sanitizers' if sanitize else ''}: {what}"
                break
            row["builds"].append(proof.to_json())
            if proof.arena_bytes != point.arena_bytes or not proof.argmax_ok:
                row["mismatch"] = f"the arena is {proof.arena_bytes} bytes, predicted are {point.arena_bytes}"
                break
        if row["mismatch"]:
            program.unlink(missing_ok=True)
        if row["builds"]:
            row["arena_bytes"] = row["builds"][0]["arena_bytes"]
            row["arena_used_bytes"] = row["builds"][0]["arena_used_bytes"]
            row["max_rel_err"] = max(build["max_rel_err"] for build in row["builds"])
        row["judged_s"] = time.perf_counter() - started
        return row

    def forget_good_bundles(self) -> None:
        """Keep the bundles that are wrong, and those whose latency was predicted worst, for a look inside."""
        wrong = {self.path_of(row) for row in self.known if row["mismatch"]}
        waiting = {self.path_of(row) for row, _ in self.turns.waiting}
        kept = wrong | waiting | {self.path_of(row) for row in self.worst(self.known)}
        for path in (self.data / "bundles").glob("*.zip"):
            if path not in kept:
                path.unlink()

    def path_of(self, row: Row) -> Path:
        """Where the bundle of a row lies, if it was kept."""
        return self.data / "bundles" / f"{row['network']}-{row['bundle_sha256'][:12]}.zip"

    def worst(self, rows: list[Row]) -> list[Row]:
        """The rows predicted worst, worst first."""
        return sorted((r for r in rows if "error" in r), key=lambda r: -abs(r["error"]))[:WORST_BUNDLES]

    def layer_tables(self, rows: list[Row]) -> list[str]:
        """Per layer, predicted and measured, of the bundles predicted worst, as Markdown."""
        parts = []
        peak = layers.peak_gflops(self.device, self.data)
        for row in self.worst(rows):
            path = self.path_of(row)
            if path.exists():
                found = layers.profile(path, self.device.toolchain.cc, self.flags, self.runner)
                parts += [f"### {row['network']}, {row['point']}", "", *layers.markdown(found, peak), ""]
        return parts


def main() -> int:
    """Run the audit; 0 when every bundle does what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models", help="folder of ONNX files")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these networks and no others")
    parser.add_argument(
        "--data", type=Path, default=ROOT / "build" / "audit", help="folder that keeps what was measured"
    )
    parser.add_argument("--points", choices=("all", "three"), default="all", help="of each arena front")
    parser.add_argument("--cpu", type=int, help="core to measure and run on (default: the last one)")
    parser.add_argument("--huge", action="store_true", help="also VGG-16 and VGG-19: 550 MB of weights each")
    parser.add_argument("--minutes", type=float, help="for a network, after which only three points are judged")
    parser.add_argument("--docs", type=Path, help="write the tables between the marks of this file too")
    arguments = parser.parse_args()
    device = host_device()
    if arguments.cpu is not None:
        device = dataclasses.replace(device, cpus=(arguments.cpu,))
    if arguments.docs is not None:
        around_tables(arguments.docs)  # rather now than after some hours
    audit = Audit(arguments.data, device, arguments.points, arguments.minutes)
    document: dict[str, Any] = {"environment": device.environment(), "points": arguments.points}
    document |= {"fronts": [], "rows": []}
    print(json.dumps(document["environment"]))
    for network in all_networks(arguments.models, arguments.only, arguments.huge):
        fronts, rows = audit.network(network)
        document["fronts"] += fronts
        document["rows"] += rows
        document["summary"] = audit_report.summary(document["rows"])
        write(arguments.data, document, [], None)
    audit.turns.finish()
    document["summary"] = audit_report.summary(document["rows"])
    write(arguments.data, document, audit.layer_tables(document["rows"]), arguments.docs)
    print(f"\n{audit_report.summary_sentence(document['summary'])}\n{arguments.data / 'audit.md'}")
    return 1 if document["summary"]["mismatches"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"audit: {error}")
