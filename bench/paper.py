"""The claims of the paper behind this tool, on this machine: one table, Markdown and JSON.

    python bench/paper.py [--data DIR] [--device NAME] [--only NETWORK ...] [--out FOLDER]

Wen, Anderson, Radu, O'Boyle, Gregg: TASO, SBAC-PAD 2020, chose the primitives of AlexNet, VGG, GoogLeNet, ResNet and
SqueezeNet on an ARM Cortex-A15 and claims: 8 times the speed of a greedy choice; 2.2 times less workspace for 15 % more
time than a choice that looks at time alone; a front of optimal points. Here the same questions are asked of the same
architectures with the costs in DIR (a data folder of tradespace; what is missing is measured), on the paper's memory
axis: the largest workspace of any layer. Times are predictions from measured layers, as the paper's are. NETWORK may
also be any other example, a network of bench/networks.py, or a model that is in DIR already; docs/paper.md has twelve.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import networks as made

from app.cli.costs import measure_model
from app.cli.terminal import Shown
from app.costs import CostTable
from app.db.records import ModelRecord
from app.errors import UserError
from app.graph.ir import Graph
from app.points import Frontier
from app.selection.frontier import trace
from app.selection.limits import Limits
from app.services import frontiers, models
from app.services.context import Context
from app.services.skeletons import skeleton
from app.settings import Settings

NETWORKS = ("alexnet", "vgg16", "vgg19", "googlenet", "resnet18", "resnet50", "squeezenet")
"""The paper's five architectures; VGG and ResNet in two depths, SqueezeNet as version 1.1."""

ALLOWANCE = 0.15
"""What the paper gives up of the time for memory."""

IM2 = ("im2col", "im2row")


@dataclass(frozen=True)
class Claims:
    """One network. Ratios are times of the simpler choice over the optimum's; None where that choice does not exist.

    Workspace is the largest of any layer. `allowed` is the point of least workspace within ALLOWANCE of the optimum.
    """

    network: str
    costs: int
    points: int
    solve_s: float
    certified_by: str
    optimum_ns: int
    greedy_ratio: float | None
    direct_ratio: float | None
    im2_ratio: float | None
    optimum_workspace_bytes: int
    allowed_workspace_bytes: int
    allowed_time_ratio: float
    optimum_arena_bytes: int
    allowed_arena_bytes: int
    allowed_arena_time_ratio: float


def claims(name: str, graph: Graph, costs: CostTable, count: int) -> Claims:
    """The claims for a network whose `count` costs are all in the table."""
    front = trace(graph, costs, "workspace")
    arena = trace(graph, costs, "arena")
    optimum = front.points[-1]

    def ratio(latency_ns: int | None) -> float | None:
        return None if latency_ns is None else latency_ns / optimum.latency_ns

    baselines = {one.name: one.point.latency_ns for one in front.baselines}
    allowed, allowed_arena = within(front), within(arena)
    return Claims(
        network=name,
        costs=count,
        points=len(front.points),
        solve_s=front.solve_s,
        certified_by=front.certified_by,
        optimum_ns=optimum.latency_ns,
        greedy_ratio=ratio(baselines.get("fastest-per-layer")),
        direct_ratio=ratio(baselines.get("all-direct")),
        im2_ratio=ratio(im2_ns(graph, costs)),
        optimum_workspace_bytes=optimum.workspace_bytes,
        allowed_workspace_bytes=front.points[allowed].workspace_bytes,
        allowed_time_ratio=front.points[allowed].latency_ns / optimum.latency_ns,
        optimum_arena_bytes=arena.points[-1].arena_bytes,
        allowed_arena_bytes=arena.points[allowed_arena].arena_bytes,
        allowed_arena_time_ratio=arena.points[allowed_arena].latency_ns / arena.points[-1].latency_ns,
    )


def within(front: Frontier) -> int:
    """The index of the point of least memory that takes at most ALLOWANCE more time than the fastest."""
    limit = front.points[-1].latency_ns * (1 + ALLOWANCE)
    return next(i for i, point in enumerate(front.points) if point.latency_ns <= limit)


def im2_ns(graph: Graph, costs: CostTable) -> int | None:
    """The least time with every convolution by im2col or im2row; None when some layer can run neither."""
    try:
        return trace(graph, costs, "workspace", limits=Limits(only=IM2)).points[-1].latency_ns
    except UserError:
        return None


def markdown(rows: list[Claims], where: str) -> str:
    """The tables of the docs."""

    def times(ratio: float | None) -> str:
        return "–" if ratio is None else f"{ratio:.2f}x"

    def less(full: int, small: int) -> str:
        return "–" if full == small else "all of it" if small == 0 else f"{full / small:.2f}x"

    lines = [
        "# The paper's claims on this machine",
        "",
        f"Written by `python bench/paper.py`. {where}.",
        "",
        "The paper (Wen et al., TASO, 2020) measured on an ARM Cortex-A15: 8x the speed of a greedy choice, 2.2x less",
        "workspace for 15 % more time, on AlexNet, VGG, GoogLeNet, ResNet and SqueezeNet.",
        "",
        "Greedy: each layer's fastest primitive by itself, the layout changes it causes paid. Direct, im2: the fastest",
        "selection of direct (with pointwise and depthwise) or of im2col and im2row convolutions. Latencies are sums",
        "of measured layers; several methods joined by + gave the same front.",
        "",
        "| network | optimum ms | greedy | direct | im2 | points | solved in s | certified by | costs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratios = " | ".join(map(times, (row.greedy_ratio, row.direct_ratio, row.im2_ratio)))
        lines.append(
            f"| {row.network} | {row.optimum_ns / 1e6:.3f} | {ratios} | {row.points} | {row.solve_s:.2f} | "
            f"{row.certified_by} | {row.costs} |"
        )
    lines += [
        "",
        f"Memory for at most {ALLOWANCE:.0%} more time, in bytes: the paper's measure (the largest workspace of a",
        "layer) and ours (the whole arena, on a front of its own).",
        "",
        "| network | workspace of the optimum | allowed | less | time | arena of the optimum | allowed | less | time |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        workspace = (row.optimum_workspace_bytes, row.allowed_workspace_bytes)
        arena = (row.optimum_arena_bytes, row.allowed_arena_bytes)
        cells = [
            f"{full:,} | {small:,} | {less(full, small)} | {slower - 1:+.1%}"
            for (full, small), slower in (
                (workspace, row.allowed_time_ratio),
                (arena, row.allowed_arena_time_ratio),
            )
        ]
        lines.append(f"| {row.network} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *summary(rows)]) + "\n"


def summary(rows: list[Claims]) -> list[str]:
    """Geometric means over the networks; one whose optimum needs no workspace, or gives all of it up, has no ratio."""
    greedy = [row.greedy_ratio for row in rows if row.greedy_ratio is not None]
    workspace = [
        row.optimum_workspace_bytes / row.allowed_workspace_bytes for row in rows if row.allowed_workspace_bytes
    ]
    arena = [row.optimum_arena_bytes / row.allowed_arena_bytes for row in rows if row.allowed_arena_bytes]
    means = [
        f"{what} {statistics.geometric_mean(ratios):.2f}x ({len(ratios)} networks)"
        for what, ratios in (("greedy", greedy), ("less workspace", workspace), ("less arena", arena))
        if ratios
    ]
    return [f"Geometric means: {', '.join(means)}."] if means else []


def imported(site: Context, name: str) -> ModelRecord:
    """A network of the example library, of bench/networks.py, or a model that is in the data folder already."""
    if name in made.NETWORKS:
        return models.add(site, made.NETWORKS[name](), name=name, file_name=f"{name}.onnx")[0]
    try:
        return models.add_example(site, name)[0]
    except UserError as error:
        if error.code != "example-unknown":
            raise
        return models.find(site, name)


def run(site: Context, names: list[str], device: str, on_row: Callable[[list[Claims]], None]) -> list[Claims]:
    """The claims of every network, measuring first what has no cost; `on_row` sees the rows after each."""
    rows: list[Claims] = []
    for name in names:
        record = imported(site, name)
        with Shown() as shown:
            measured = measure_model(site, record.id, device, shown)
        costs = frontiers.costs_of(site, record, site.device(device))
        rows.append(claims(name, skeleton(site, record), costs, measured.measured + measured.reused))
        on_row(rows)
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Print the Markdown; write paper.md and paper.json into the folder after every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data folder with costs (default: TRADESPACE_DATA or the user's)")
    parser.add_argument("--device", default="host", help="device whose costs count: NAME or NAME@THREADS")
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), help=f"of {', '.join(NETWORKS)}, or a known model")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="where the tables go")
    asked = parser.parse_args(arguments)
    settings = Settings(example="") if asked.data is None else Settings(data=asked.data, example="")
    asked.out.mkdir(parents=True, exist_ok=True)
    with Context(settings) as site:
        device = site.device(asked.device).device
        environment = device.environment() if device else {}  # None: measured elsewhere by a kit
        where = f"Device {asked.device}: {environment.get('cpu', '')}, {environment.get('compiler', '')}".strip(", ")

        def write(rows: list[Claims]) -> None:
            (asked.out / "paper.md").write_text(markdown(rows, where))
            document = {"device": asked.device, "environment": environment, "networks": [asdict(row) for row in rows]}
            (asked.out / "paper.json").write_text(json.dumps(document, indent=1, default=str) + "\n")

        rows = run(site, asked.only, asked.device, write)
    sys.stdout.write(markdown(rows, where))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"{error}\n{error.hint}")
