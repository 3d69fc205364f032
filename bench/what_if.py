"""How long what-if answers take: layers and families in turn, within the memory of points of the front.

    python bench/what_if.py MODEL [--data DIR] [--device NAME] [--memory arena|workspace|total] [--cpu] [--most N]

The front must have been traced in DIR (`tradespace frontier MODEL`). Asked as the server asks: through the service,
with one warm model. Showing a front makes it ready in the background; the first question after that, and the first one
of a session that shows no front before, have rows of their own. An answer is checked against the front: within the
memory of a point nothing can be faster than the point. Within the memory of the smallest point, the middle one and the
fastest are asked: each layer's primitive banned, the same for three layers in a row at once, each convolution pinned to
the fastest primitive it does not run there, each convolution family of the point forbidden. Then a family is forbidden
at budgets halfway between points. `--cpu` counts the processor time of the process instead of the wall clock, for a
machine that is busy with other things as well; `--most` asks N questions of a kind, spread evenly.
"""

from __future__ import annotations

import argparse
import itertools
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
Question = tuple[Limits, int]
"""What limits, within what budget."""


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


def first(site: Context, record: Any, clock: Clock, _most: int | None) -> Iterator[tuple[str, float, bool]]:
    """The first question of a session that has shown nothing."""
    milliseconds, _ = timed(clock, lambda: questions.what_if(site, record, limits=Limits(forbid=("fft",))))
    yield "first of a session, nothing shown before", milliseconds, True


def kinds(point: Point, fastest: dict[str, list[str]]) -> dict[str, list[Limits]]:
    """The questions within the memory of a point; `fastest` has the primitives of convolutions, the fastest first."""
    layers = [layer for layer in point.layers if layer.primitive]
    bans = [(layer.node, layer.primitive) for layer in layers]
    others = {la.node: [name for name in fastest.get(la.node, ()) if name != la.primitive] for la in layers}
    pins = [(node, names[0]) for node, names in others.items() if names]
    families = sorted({layer.family for layer in point.layers} & {"winograd", "direct", "pointwise", "depthwise"})
    return {
        "ban": [Limits(bans=(ban,)) for ban in bans],
        "ban in three layers": [Limits(bans=tuple(bans[at : at + 3])) for at in range(0, len(bans) - 2, 3)],
        "pin": [Limits(pins=(pin,)) for pin in pins],
        "forbid a family": [Limits(forbid=(family,)) for family in families],
    }


def between(front: Frontier, memory: str) -> list[int]:
    """Budgets halfway between neighbours of a front."""
    sizes = [getattr(point, f"{memory}_bytes") for point in front.points]
    return [(small + large) // 2 for small, large in itertools.pairwise(sizes)]


def spread(questions_of_a_kind: list[Question], most: int | None) -> list[Question]:
    """At most that many of them, from the first to the last."""
    if most is None or len(questions_of_a_kind) <= most:
        return questions_of_a_kind
    return [questions_of_a_kind[i * len(questions_of_a_kind) // most] for i in range(most)]


def fastest_primitives(site: Context, record: Any) -> dict[str, list[str]]:
    """The primitives of each convolution, the fastest first."""
    nodes = [la.node for la in frontiers.load(site, record).points[-1].layers if la.op == "conv"]
    options = {node: questions.layer_options(site, record, node)["options"] for node in nodes}
    return {node: [option["primitive"] for option in found] for node, found in options.items()}


def every_question(front: Frontier, memory: str, fastest: dict[str, list[str]]) -> Iterator[tuple[str, list[Question]]]:
    """The questions by kind."""
    for name, point in budgets(front).items():
        for kind, many in kinds(point, fastest).items():
            yield f"{kind}, {name}", [(limits, getattr(point, f"{memory}_bytes")) for limits in many]
    yield "forbid winograd, budgets between", [(Limits(forbid=("winograd",)), most) for most in between(front, memory)]


def asked(site: Context, record: Any, clock: Clock, most: int | None) -> Iterator[tuple[str, float, bool]]:
    """(kind of question, milliseconds, whether something fits) of every question."""
    frontiers.document(site, record)
    started = clock()
    getting_ready = questions.prepare(site, record)
    assert getting_ready is not None
    getting_ready.join()
    yield "(made ready in the background)", 1e3 * (clock() - started), True
    milliseconds, _ = timed(clock, lambda: questions.what_if(site, record, limits=Limits(forbid=("fft",))))
    yield "first after a front was shown", milliseconds, True
    front = frontiers.load(site, record)
    for kind, many in every_question(front, record.memory, fastest_primitives(site, record)):
        for limits, budget_bytes in spread(many, most):
            milliseconds, answer = timed(
                clock,
                lambda limits=limits, most=budget_bytes: questions.what_if(  # type: ignore[misc]
                    site, record, limits=limits, budget_bytes=most
                ),
            )
            known = front.best(budget_bytes=budget_bytes)
            if answer is not None and (known is None or answer["point"]["latency_ns"] < known.latency_ns):
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
    parser.add_argument("--most", type=int, metavar="N", help="questions of a kind")
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
            for kind, milliseconds, fits in ask(site, record, clock, args.most):
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
