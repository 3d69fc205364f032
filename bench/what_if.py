"""How long what-if answers take: every layer's primitive banned in turn, within the memory of points of the front.

    python bench/what_if.py MODEL [--data DIR] [--device NAME] [--memory arena|workspace|total] [--cpu]

The front must have been traced in DIR (`tradespace frontier MODEL`). Asked as the server asks: through the service,
with one warm model. Showing a front makes it ready in the background; the first question after that, and the first one
of a session that shows no front before, have rows of their own. An answer is checked against the front: within the
memory of a point nothing can be faster than the point. `--cpu` counts the processor time of the process instead of the
wall clock, for a machine that is busy with other things as well.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app.errors import UserError
from app.points import Frontier, Point
from app.selection.limits import Limits
from app.services import frontiers, models, questions
from app.services.context import Context
from app.settings import Settings

Clock = Callable[[], float]


def budgets(front: Frontier) -> dict[str, Point]:
    """The smallest point, the middle one and the fastest."""
    return {
        "smallest": front.points[0],
        "middle": front.points[len(front.points) // 2],
        "fastest": front.points[-1],
    }


def timed(clock: Clock, question: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of a question, and its answer; None when nothing fits."""
    started = clock()
    try:
        answer = question()
    except UserError as error:
        if error.code not in ("budget-infeasible", "limits-impossible"):
            raise
        answer = None
    return 1e3 * (clock() - started), answer


def first(site: Context, record: Any, clock: Clock) -> Iterator[tuple[str, float, bool]]:
    """The first question of a session that has shown nothing."""
    milliseconds, _ = timed(clock, lambda: questions.what_if(site, record, limits=Limits(forbid=("fft",))))
    yield "first of a session, nothing shown before", milliseconds, True


def asked(site: Context, record: Any, clock: Clock) -> Iterator[tuple[str, float, bool]]:
    """(kind of question, milliseconds, whether something fits) of every question."""
    frontiers.document(site, record)
    started = clock()
    getting_ready = questions.prepare(site, record)
    assert getting_ready is not None
    getting_ready.join()
    yield "(made ready in the background)", 1e3 * (clock() - started), True
    milliseconds, _ = timed(clock, lambda: questions.what_if(site, record, limits=Limits(forbid=("fft",))))
    yield "first after a front was shown", milliseconds, True
    for name, point in budgets(frontiers.load(site, record)).items():
        budget_bytes = getattr(point, f"{record.memory}_bytes")
        families = sorted({layer.family for layer in point.layers} & {"winograd", "direct", "pointwise", "depthwise"})
        kinds = {f"ban, {name}": [Limits(bans=((la.node, la.primitive),)) for la in point.layers if la.primitive]}
        kinds[f"forbid a family, {name}"] = [Limits(forbid=(family,)) for family in families]
        for kind, many in kinds.items():
            for limits in many:
                milliseconds, answer = timed(
                    clock,
                    lambda limits=limits, most=budget_bytes: questions.what_if(  # type: ignore[misc]
                        site, record, limits=limits, budget_bytes=most
                    ),
                )
                if answer is not None and answer["point"]["latency_ns"] < point.latency_ns:
                    raise AssertionError(f"{limits.arguments()} at {budget_bytes} B is faster than the front")
                yield kind, milliseconds, answer is not None


def main(arguments: list[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--device", default="host")
    parser.add_argument("--memory", default="arena", choices=("arena", "workspace", "total"))
    parser.add_argument("--cpu", action="store_true", help="processor time instead of the wall clock")
    args = parser.parse_args(arguments)
    settings = Settings(example="") if args.data is None else Settings(data=args.data, example="")
    clock = time.process_time if args.cpu else time.perf_counter
    found: dict[str, list[tuple[float, bool]]] = {}
    for ask in (first, asked):
        with Context(settings) as site:  # a session of its own
            model = models.find(site, args.model)
            record = frontiers.newest(site, model, site.device(args.device), args.memory)
            if record is None:
                sys.exit(f"no {args.memory} front of {args.model} on {args.device}: trace it first")
            for kind, milliseconds, fits in ask(site, record, clock):
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
