"""Every network, end to end: import, measure, trace, export, compile, run, compare; prints the tables of the docs.

    python bench/audit.py [--data DIR] [--points all|three] [--only NAME ...] [--cpu N] [--huge] [--docs FILE]

For each network: the exact front on the arena and workspace axes; then every point of the arena front (with `--points
three` the fastest, the knee and the smallest) is exported, compiled, run and compared with onnxruntime on the original
file, predicted latency beside the bundle's own measurement. Those three are compiled by clang and with the sanitizers
as well. A mismatch is any difference: outputs, arg-max, or bytes of the arena between prediction,
macro and what the run touched; the exit status is 1 if there is one.

DIR keeps everything that was measured: costs-*.jsonl, rows.jsonl (a line per bundle, appended when it is done),
compiled kernels and the bundles whose latency was predicted worst. Stopped at any moment, the audit goes on where it
was; a bundle is judged again only if a byte of it, the compiler or the core has changed. audit.json and audit.md are
written after every network; all tables go between the marks of FILE when everything is done.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import audit_report
import layers
import networks as made
import numpy as np

from app.cli.bench import knee
from app.codegen.bundle import pack
from app.codegen.emit import emit
from app.codegen.plan import Provenance, make_plan
from app.costs import Cost, CostKey, CostTable
from app.errors import UserError
from app.graph import oracle, zoo
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
HUGE = {"vgg16", "vgg19"}
AXES = ("arena", "workspace")
WORST_BUNDLES = 3

Row = dict[str, Any]
Case = tuple[list[np.ndarray], list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Network:
    """One ONNX file and the inputs it is judged on."""

    name: str
    data: bytes
    inputs: list[dict[str, np.ndarray]]

    def cases(self, graph: Graph) -> list[Case]:
        """Inputs and what onnxruntime answers on the original file, in port order."""
        answers = [oracle.run_onnx(self.data, values) for values in self.inputs]
        return [
            ([values[name] for name in graph.inputs], [outputs[name] for name in graph.outputs])
            for values, outputs in zip(self.inputs, answers, strict=True)
        ]


def all_networks(models: Path, only: list[str], huge: bool) -> Iterator[Network]:
    """The trained networks of `models` (when present), the example library, those of bench/networks.py."""
    drawn: dict[str, Callable[[], bytes]] = {name: lambda n=name: zoo.materialise(n) for name in zoo.EXAMPLES}
    drawn |= made.NETWORKS
    trained = {path.stem: path for path in sorted(models.glob("*.onnx"))}
    unknown = sorted(set(only) - drawn.keys() - trained.keys())
    if unknown:
        raise UserError(
            "query-invalid", f"no such network: {', '.join(unknown)}", hint="see --models and bench/networks.py"
        )
    for name in only or [*trained, *(name for name in drawn if huge or name not in HUGE)]:
        data = trained[name].read_bytes() if name in trained else drawn[name]()
        cases = sorted((models / "ref").glob(f"{name}.*.in.npy")) if name in trained else []
        graph = import_onnx(data, name=name)
        random = np.random.default_rng(7)
        inputs = [{graph.inputs[0]: np.load(case)} for case in cases] or [
            {port: random.standard_normal(graph.tensors[port].dims, np.float32) for port in graph.inputs}
        ]
        yield Network(name, data, inputs)


def load_costs(file: Path) -> list[Cost]:
    """Costs of earlier runs."""
    rows = read_lines(file)
    return [Cost(**(row | {"key": CostKey(**row["key"]), "samples_ns": tuple(row["samples_ns"])})) for row in rows]


def read_lines(file: Path) -> list[Row]:
    """The JSON documents of a file with one in each line; a last line that a kill cut short is left out."""
    if not file.exists():
        return []
    lines = file.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def append_line(file: Path, document: Any) -> None:
    """One more line; first the rest of a line that a kill cut short goes."""
    if file.exists():
        whole = file.read_bytes().rpartition(b"\n")
        if whole[2]:
            file.write_bytes(whole[0] + whole[1])
    with file.open("a") as out:
        out.write(json.dumps(document) + "\n")


@dataclasses.dataclass
class Audit:
    """The data folder, the device, and the rows found so far."""

    data: Path
    device: Device
    points: str
    known: list[Row] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        (self.data / "bundles").mkdir(exist_ok=True)
        self.known = read_lines(self.data / "rows.jsonl")

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
        rows = []
        for number, point in enumerate(chosen, 1):
            label = " = ".join(labels.get(point.id, [])) or f"{number} of {len(chosen)}"
            rows.append(self.bundle(network, graph, cases, front, point, label, everything=point.id in labels))
        return fronts, rows

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
        judged = [r for r in self.known if identity.items() <= r.items() and r["everything"] >= everything]
        row = judged[-1] if judged else None
        if row is None:
            row = identity | {"everything": everything} | self.judged(data, cases, point, everything=everything)
            append_line(self.data / "rows.jsonl", row | {"point": label})
            self.known.append(row)
            self.keep_if_bad(row, data)
        row |= {"point": label}
        print(f"  {label}{' (known)' if judged else ''}: {audit_report.sentence(row)}", flush=True)
        return row

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

    def judged(self, data: bytes, cases: list[Case], point: Point, *, everything: bool) -> Row:
        """What compiling, running and comparing found; `mismatch` is "" when everything agrees."""
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
        if row["builds"]:
            row["measured_ns"] = row["builds"][0]["median_ns"]
            row["error"] = row["measured_ns"] / point.latency_ns - 1
            row["arena_bytes"] = row["builds"][0]["arena_bytes"]
            row["arena_used_bytes"] = row["builds"][0]["arena_used_bytes"]
            row["max_rel_err"] = max(build["max_rel_err"] for build in row["builds"])
        row["judged_s"] = time.perf_counter() - started
        return row

    def keep_if_bad(self, row: Row, data: bytes) -> None:
        """Keep the bundles that are wrong, and those whose latency was predicted worst, for a look inside."""
        path = self.path_of(row)
        path.write_bytes(data)
        wrong = {self.path_of(r) for r in self.known if r["mismatch"]}
        kept = wrong | {self.path_of(r) for r in self.worst(self.known)}
        for other in (self.data / "bundles").glob("*.zip"):
            if other not in kept:
                other.unlink()

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


def write(data: Path, document: dict[str, Any], tables: list[str], docs: Path | None) -> None:
    """audit.json and audit.md; in `docs`, what stands between the two marks."""
    text = "\n".join([*audit_report.markdown(document), *tables]).rstrip() + "\n"
    for name, content in (("audit.json", json.dumps(document, indent=1) + "\n"), ("audit.md", text)):
        fresh = data / f".{name}.new"
        fresh.write_text(content)
        fresh.replace(data / name)
    if docs is not None:
        before, after = around_tables(docs)
        docs.write_text(f"{before}\n{text}\n{after}")


def around_tables(docs: Path) -> tuple[str, str]:
    """The page up to its first mark and from its second one on; raises UserError when it has none."""
    before, begin, rest = docs.read_text().partition("<!-- tables -->\n")
    _, end, after = rest.partition("<!-- end of tables -->\n")
    if not begin or not end:
        raise UserError("file-unreadable", f"{docs} has no <!-- tables --> and <!-- end of tables -->")
    return before + begin, end + after


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
    parser.add_argument("--docs", type=Path, help="write the tables between the marks of this file too")
    arguments = parser.parse_args()
    device = host_device()
    if arguments.cpu is not None:
        device = dataclasses.replace(device, cpus=(arguments.cpu,))
    if arguments.docs is not None:
        around_tables(arguments.docs)  # rather now than after some hours
    audit = Audit(arguments.data, device, arguments.points)
    document: dict[str, Any] = {"environment": device.environment(), "points": arguments.points}
    document |= {"fronts": [], "rows": []}
    print(json.dumps(document["environment"]))
    for network in all_networks(arguments.models, arguments.only, arguments.huge):
        fronts, rows = audit.network(network)
        document["fronts"] += fronts
        document["rows"] += rows
        document["summary"] = audit_report.summary(document["rows"])
        write(arguments.data, document, [], None)
    write(arguments.data, document, audit.layer_tables(document["rows"]), arguments.docs)
    print(f"\n{audit_report.summary_sentence(document['summary'])}\n{arguments.data / 'audit.md'}")
    return 1 if document["summary"]["mismatches"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"audit: {error}")
