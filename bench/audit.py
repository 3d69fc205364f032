"""Every network, end to end: import, measure, trace, and three verified bundles each; prints the tables of the docs.

    python bench/audit.py [--models DIR] [--only NAME ...] [--work DIR] [--huge]

For each network: the exact front on the arena and workspace axes; the fastest, the knee and the smallest point
exported, compiled with gcc and clang and once with the sanitizers, run, and compared with onnxruntime; predicted
latency beside the bundle's own measurement. Costs are kept in WORK/costs-*.jsonl, so a second run measures nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from app.cli.bench import knee
from app.codegen.bundle import pack
from app.codegen.emit import emit
from app.codegen.plan import Provenance, make_plan
from app.costs import Cost, CostKey, CostTable
from app.graph import oracle, zoo
from app.graph.ir import Graph
from app.graph.onnx_import import import_onnx
from app.profiling.device import Device, host_device
from app.profiling.plan import needed_costs
from app.profiling.run import measure
from app.selection.frontier import trace
from app.selection.schedule import make_schedule
from app.verify import verify_bundle

ROOT = Path(__file__).parents[1]
HUGE = {"vgg19"}


@dataclasses.dataclass
class Network:
    """One ONNX file and the inputs it is judged on."""

    name: str
    data: bytes
    vectors: list[dict[str, np.ndarray]]


def networks(models: Path, only: list[str], huge: bool) -> Iterator[Network]:
    """The trained networks of `models` (when present), then the example library."""
    for path in sorted(models.glob("*.onnx")):
        if not only or path.stem in only:
            data = path.read_bytes()
            graph = import_onnx(data, name=path.stem)
            cases = sorted((models / "ref").glob(f"{path.stem}.*.in.npy"))
            yield Network(path.stem, data, [{graph.inputs[0]: np.load(case)} for case in cases])
    for name in zoo.EXAMPLES:
        if (not only and (huge or name not in HUGE)) or name in only:
            data = zoo.materialise(name)
            graph = import_onnx(data, name=name)
            rng = np.random.default_rng(7)
            dims = graph.tensors[graph.inputs[0]].dims
            yield Network(name, data, [{graph.inputs[0]: rng.standard_normal(dims, np.float32)}])


def load_costs(file: Path) -> list[Cost]:
    """Costs of earlier runs."""
    if not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [Cost(**(row | {"key": CostKey(**row["key"]), "samples_ns": tuple(row["samples_ns"])})) for row in rows]


def measured_costs(device: Device, graph: Graph, work: Path) -> tuple[CostTable, str]:
    """Costs for `graph`, measuring what is missing; and a note on how long that took."""
    file = work / f"costs-{device.fingerprint()}.jsonl"
    table = CostTable(load_costs(file))
    missing = table.missing(needed_costs(graph))
    note = f"{len(needed_costs(graph))} costs known"
    if missing:
        with file.open("a") as out:
            report = measure(
                device,
                missing,
                data_dir=work,
                on_cost=lambda cost: print(json.dumps(dataclasses.asdict(cost)), file=out, flush=True),
                on_progress=lambda done, total: print(f"\r  {done}/{total}", end="", file=sys.stderr, flush=True),
            )
        table = CostTable(load_costs(file))
        note = f"{report.measured} costs in {report.elapsed_s:.1f} s, {report.cut} cut after the pilot"
    return table, note


def audit(network: Network, device: Device, work: Path) -> list[dict[str, object]]:
    """All figures of one network."""
    graph = import_onnx(network.data, name=network.name)
    costs, note = measured_costs(device, graph, work)
    print(f"\n## {network.name}: {note}")
    fronts = {}
    for memory in ("arena", "workspace"):
        started = time.perf_counter()
        front = trace(graph, costs, memory)
        fronts[memory] = front
        print(
            f"{memory}: {len(front.points)} points, {time.perf_counter() - started:.2f} s "
            f"(solver {front.solve_s:.2f} s), {front.certified_by}, all proven: {all(p.proven for p in front.points)}, "
            f"smallest {front.smallest_bytes} ({front.smallest_step})"
        )
    for baseline in fronts["arena"].baselines:
        p = baseline.point
        print(f"  {baseline.name}: {p.latency_ns / 1e6:.3f} ms, arena {p.arena_bytes}, workspace {p.workspace_bytes}")
    expected = [oracle.run_onnx(network.data, inputs) for inputs in network.vectors]
    chosen = {
        "fastest": fronts["arena"].points[-1],
        "knee": knee(fronts["arena"]),
        "smallest": fronts["arena"].points[0],
    }
    distinct: dict[str, list[str]] = {}
    for label, point in chosen.items():
        distinct.setdefault(point.id, []).append(label)
    rows = []
    for labels in distinct.values():
        label, point = " = ".join(labels), chosen[labels[0]]
        started = time.perf_counter()
        plan = make_plan(
            network.name,
            graph.constants,
            make_schedule(graph, point),
            prefix="net",
            vectors=[
                ([inputs[name] for name in graph.inputs], [outputs[name] for name in graph.outputs])
                for inputs, outputs in zip(network.vectors, expected, strict=True)
            ],
            provenance=Provenance.of_point(
                point,
                generator_version="audit",
                model_name=network.name,
                model_sha256=hashlib.sha256(network.data).hexdigest(),
                opset=None,
                device=device.name,
                compiler=device.environment()["compiler"],
                flags=device.toolchain.flags,
                memory_axis="arena",
                budget_bytes=None,
                costs_digest=fronts["arena"].costs_digest,
            ),
        )
        bundle = pack(emit(plan), "net")
        packed_s = time.perf_counter() - started
        (work / "bundles").mkdir(exist_ok=True)
        (work / "bundles" / f"{network.name}-{labels[0]}.zip").write_bytes(bundle)
        runs = {cc: verify_bundle(bundle, compiler=cc, extra_flags=("-march=native",)) for cc in ("gcc", "clang")}
        sanitized = verify_bundle(bundle, compiler="gcc", sanitize=True, runs=1)
        gcc = runs["gcc"]
        rows.append(
            {
                "network": network.name,
                "point": label,
                "predicted_ns": point.latency_ns,
                "measured_ns": gcc.median_ns,
                "clang_ns": runs["clang"].median_ns,
                "error": gcc.median_ns / point.latency_ns - 1,
                "arena_bytes": point.arena_bytes,
                "arena_used_bytes": gcc.arena_used_bytes,
                "weights_bytes": point.weights_bytes,
                "max_rel_err": max(r.max_rel_err for r in (*runs.values(), sanitized)),
                "argmax_ok": all(r.argmax_ok for r in (*runs.values(), sanitized)),
                "packed_s": packed_s,
            }
        )
        print(
            f"  {label}: predicted {point.latency_ns / 1e6:.3f} ms, gcc {gcc.median_ns / 1e6:.3f} ms, "
            f"clang {runs['clang'].median_ns / 1e6:.3f} ms, arena {gcc.arena_used_bytes}/{point.arena_bytes}, "
            f"error {rows[-1]['max_rel_err']:.1e}, argmax {rows[-1]['argmax_ok']}, packed in {packed_s:.1f} s"
        )
    return rows


def main() -> None:
    """Run the audit and print the summary table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "audit")
    parser.add_argument("--huge", action="store_true", help="also VGG-19: 550 MB of weights")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    device = host_device()
    print(json.dumps(device.environment()))
    rows = [
        row
        for net in networks(arguments.models, arguments.only, arguments.huge)
        for row in audit(net, device, arguments.work)
    ]
    (arguments.work / "rows.json").write_text(json.dumps(rows, indent=1))
    print("\n| network | point | predicted ms | measured ms | error | arena bytes | used | max rel err | arg-max |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---|")
    for r in rows:
        print(
            f"| {r['network']} | {r['point']} | {r['predicted_ns'] / 1e6:.3f} | {r['measured_ns'] / 1e6:.3f} | "
            f"{100 * r['error']:+.1f} % | {r['arena_bytes']} | {r['arena_used_bytes']} | {r['max_rel_err']:.1e} | "
            f"{'equal' if r['argmax_ok'] else 'DIFFERENT'} |"
        )
    errors = [abs(r["error"]) for r in rows]
    print(f"\nprediction error: median {100 * statistics.median(errors):.1f} %, worst {100 * max(errors):.1f} %")


if __name__ == "__main__":
    main()
