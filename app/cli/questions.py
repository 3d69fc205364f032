"""`tradespace what-if` and `tradespace explain`: answers about a stored front while one waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from app.cli.options import (
    HERE,
    Budget,
    Json,
    ModelName,
    Place,
    of_a_front,
    opened,
    size,
)
from app.cli.points import warn_if_stale
from app.cli.terminal import print_json, print_table
from app.points import Point
from app.quantities import format_bytes, format_ns
from app.selection.limits import NO_LIMITS, Limits
from app.services import frontiers, models, questions

PointId = Annotated[str | None, typer.Option("--point", help="Id or unique beginning of a point of the front.")]


def register(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.command("what-if")(what_if)
    program.command()(explain)


@of_a_front
def what_if(
    context: typer.Context,
    model: ModelName,
    budget: Budget = None,
    point: PointId = None,
    place: Place = HERE,
    limits: Limits = NO_LIMITS,
    as_json: Json = False,
) -> None:
    """The fastest configuration within other limits, beside a point of the front; stores nothing."""
    site = opened(context)
    record, _ = frontiers.query(site, models.find(site, model), site.device(place.device), place.memory)
    answer = questions.what_if(site, record, limits=limits, budget_bytes=size(budget), point_id=point)
    prices = questions.pin_prices(site, record, limits=limits, budget_bytes=size(budget))
    if as_json:
        print_json(answer | {"pin_prices": prices})
        return
    warn_if_stale(answer["stale_because"])
    found, against = answer["point"], answer["against"]
    change = answer["differences"]
    certainty = "proven optimal" if found["proven"] else f"gap {found['gap']:.2%}"
    print(
        f"{limits.arguments() or 'no limits'}: {format_ns(found['latency_ns'])} ({_signed_ns(change['latency_ns'])} "
        f"against point {against['id'][:12]}), {certainty}\n"
        f"arena {format_bytes(found['arena_bytes'])} ({_signed_bytes(change['arena_bytes'])}), "
        f"weights {format_bytes(found['weights_bytes'])} ({_signed_bytes(change['weights_bytes'])}); "
        f"from the {answer['answered_from']} in {answer['elapsed_ms']:.0f} ms"
    )
    _print_changes(change["layers"], frontiers.point_of(frontiers.load(site, record), against["id"]), found["layers"])
    for price in prices:
        print(
            f"the pin of {price['layer']} costs {_signed_ns(price['latency_ns'])} and "
            f"{_signed_bytes(price['arena_bytes'])} of arena; free, it runs {price['instead']}"
        )


def _print_changes(changed: Sequence[dict[str, Any]], before: Point, after: Sequence[dict[str, Any]]) -> None:
    """What changes in each layer, a line for each change, and nothing of what stays."""
    was, now = {layer.node: layer for layer in before.layers}, {layer["node"]: layer for layer in after}
    rows = []
    for layer in changed:
        node, names = layer["node"], layer["changes"]
        if "strips" in names:  # in a chain the strips say where results lie
            names = [name for name in names if name != "in_place"]
        for name in names:
            first = name == names[0]
            change = (_SHOWN[name](getattr(was[node], name)), _SHOWN[name](now[node][name]))
            rows.append((node if first else "", *change, _signed_ns(layer["latency_ns"]) if first else ""))
    if rows:
        print_table(("layer", "from", "to", "time"), rows, right=("time",))
    else:
        print("nothing changes")


_SHOWN: dict[str, Callable[[Any], str]] = {
    "primitive": lambda name: name or "no routine",
    "in_place": lambda port: "into memory of its own" if port is None else f"over input {port}",
    "strips": lambda chain: f"in strips {chain}" if chain else "as a whole",
    "conversions": lambda names: " + ".join(names) or "no conversion",
    "resident_bytes": lambda size_bytes: "weights packed at the start" if size_bytes else "weights shipped packed",
}
"""How a choice for a layer reads, by what can change (app.selection.explain.CHANGES)."""


@of_a_front
def explain(
    context: typer.Context,
    model: ModelName,
    budget: Budget = None,
    point: PointId = None,
    place: Place = HERE,
    limits: Limits = NO_LIMITS,
    layer: Annotated[str | None, typer.Option("--layer", help="What this layer could run, with costs.")] = None,
    robust: Annotated[bool, typer.Option("--robustness", help="Solve again 100 times under the costs' noise.")] = False,
    as_json: Json = False,
) -> None:
    """Why a point of the front is no smaller, what memory costs beside it, and how far noise could change it."""
    site = opened(context)
    record, chosen = frontiers.query(
        site,
        models.find(site, model),
        site.device(place.device),
        place.memory,
        limits=limits,
        budget_bytes=size(budget),
    )
    if point is not None:
        chosen = frontiers.point_of(frontiers.load(site, record), point)
    found = questions.explanation(site, record, chosen.id)
    options = questions.layer_options(site, record, layer) if layer is not None else None
    noise = questions.robustness(site, record, chosen.id) if robust else None
    because = frontiers.stale_because(site, record)
    if as_json:
        print_json(found | {"stale": bool(because), "stale_because": because, "robustness": noise, "layer": options})
        return
    warn_if_stale(because)
    if options is not None:
        _print_options(options)
        return
    _print_explanation(found)
    if noise is not None:
        _print_robustness(noise)


def _print_explanation(found: dict[str, Any]) -> None:
    print(f"point {found['point'][:12]}; the smallest of all needs {format_bytes(found['smallest_bytes'])}:")
    print(f"  {found['smallest_step']}")
    for step in found["binding"]:
        parts = " + ".join(f"{what} {size_bytes:,}" for what, size_bytes in step["parts"])
        print(f"bound by {step['step']}: {step['live_bytes']:,} bytes = {parts}")
    larger, smaller = found["next_larger"], found["next_smaller"]
    if larger is not None:
        print(f"the next {format_bytes(larger['bytes'])} buy {format_ns(larger['saved_ns'])}")
    if smaller is not None:
        print(f"{format_bytes(smaller['bytes'])} less cost {format_ns(smaller['saved_ns'])}")


def _print_options(found: dict[str, Any]) -> None:
    print_table(
        ("primitive", "layouts", "time", "workspace bytes", "weights bytes", "error", "limits"),
        [
            (
                option["primitive"],
                f"{_layouts(option['in_layouts'])} -> {_layouts([option['out_layout']])}",
                format_ns(option["time_ns"]),
                f"{option['workspace_bytes']:,}",
                f"{option['weights_bytes']:,}",
                f"{option['max_rel_err']:g}",
                "; ".join(option["objections"]),
            )
            for option in found["options"]
        ],
        right=("time", "workspace bytes", "weights bytes"),
    )


def _layouts(names: Sequence[str]) -> str:
    """Layouts as people read them: "hwc in the memory of cat" for hwc@cat.hwc."""
    plain = [name.partition("@")[0] for name in names]
    buffers = {name.partition("@")[2].rpartition(".")[0] for name in names if "@" in name}
    return ",".join(plain) + "".join(f" in the memory of {buffer}" for buffer in sorted(buffers))


def _print_robustness(noise: dict[str, Any]) -> None:
    print(
        f"under {noise['draws']} draws of the costs it is {noise['regret_mean']:.2%} slower than the optimum on "
        f"average, {noise['regret_worst']:.2%} at worst; the same choice is optimal in {noise['same']:.0%}"
    )
    unsure = sorted((share, layer) for layer, share in noise["kept"].items() if share < 1)
    if unsure:
        print_table(
            ("layer", "keeps its choice"),
            [(layer, f"{share:.0%}") for share, layer in unsure],
            right=("keeps its choice",),
        )


def _signed_ns(ns: int) -> str:
    return ("+" if ns >= 0 else "-") + format_ns(abs(ns))


def _signed_bytes(size_bytes: int) -> str:
    return f"{size_bytes:+,} B"
