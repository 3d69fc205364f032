"""How long what-if answers take: every layer's primitive banned in turn, within the memory of points of the front.

    python bench/what_if.py MODEL [--data DIR] [--device NAME] [--memory arena|workspace|total]

The front must have been traced in DIR (`tradespace frontier MODEL`). Asked as the server asks: through the service,
with one warm model; the first question builds it and has a row of its own. An answer is checked against the front:
within the memory of a point nothing can be faster than the point.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.errors import UserError
from app.points import Frontier, Point
from app.selection.limits import Limits
from app.services import frontiers, models, questions
from app.services.context import Context
from app.settings import Settings


def budgets(front: Frontier) -> dict[str, Point]:
    """The smallest point, the middle one and the fastest."""
    return {
        "smallest": front.points[0],
        "middle": front.points[len(front.points) // 2],
        "fastest": front.points[-1],
    }


def asked(site: Context, record: Any, memory: str) -> Iterator[tuple[str, float, bool]]:
    """(kind of question, milliseconds, whether something fits) of every question."""
    front = frontiers.load(site, record)
    started = time.perf_counter()
    questions.what_if(site, record, limits=Limits(forbid=("fft",)))
    yield "first of a session", 1e3 * (time.perf_counter() - started), True
    for name, point in budgets(front).items():
        budget_bytes = getattr(point, f"{memory}_bytes")
        families = sorted({layer.family for layer in point.layers} & {"winograd", "direct", "pointwise", "depthwise"})
        kinds = {f"ban, {name}": [Limits(bans=((la.node, la.primitive),)) for la in point.layers if la.primitive]}
        kinds[f"forbid a family, {name}"] = [Limits(forbid=(family,)) for family in families]
        for kind, many in kinds.items():
            for limits in many:
                started, fits = time.perf_counter(), True
                try:
                    answer = questions.what_if(site, record, limits=limits, budget_bytes=budget_bytes)
                    if answer["point"]["latency_ns"] < point.latency_ns:
                        raise AssertionError(f"{limits.arguments()} at {budget_bytes} B is faster than the front")
                except UserError as error:
                    if error.code not in ("budget-infeasible", "limits-impossible"):
                        raise
                    fits = False
                yield kind, 1e3 * (time.perf_counter() - started), fits


def main(arguments: list[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--device", default="host")
    parser.add_argument("--memory", default="arena", choices=("arena", "workspace", "total"))
    args = parser.parse_args(arguments)
    with Context(Settings(example="") if args.data is None else Settings(data=args.data, example="")) as site:
        model = models.find(site, args.model)
        record = frontiers.newest(site, model, site.device(args.device), args.memory)
        if record is None:
            sys.exit(f"no {args.memory} front of {args.model} on {args.device}: trace it first")
        found: dict[str, list[tuple[float, bool]]] = {}
        for kind, milliseconds, fits in asked(site, record, args.memory):
            found.setdefault(kind, []).append((milliseconds, fits))
    lines = ["| question | asked | fits | median ms | p95 ms | worst ms |", "|---|---:|---:|---:|---:|---:|"]
    for kind, answers in found.items():
        times = sorted(milliseconds for milliseconds, _ in answers)
        p95 = times[min(len(times) - 1, round(0.95 * (len(times) - 1)))]
        fitting = sum(fits for _, fits in answers)
        figures = f"{statistics.median(times):.0f} | {p95:.0f} | {times[-1]:.0f}"
        lines.append(f"| {kind} | {len(times)} | {fitting} | {figures} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
