"""The audit's result as sentences and Markdown tables: pure text from plain rows."""

from __future__ import annotations

import math
import statistics
from typing import Any

Row = dict[str, Any]


def summary(rows: list[Row]) -> dict[str, Any]:
    """Bundles, mismatches, and the prediction error: median, 90th percentile and worst of |measured/predicted - 1|.

    A spread is how far the timings of one bundle lie apart, as a share of their median.
    """
    errors = sorted(abs(row["error"]) for row in rows if "error" in row)
    spreads = sorted(row["spread"] for row in rows if "spread" in row)
    return {
        "networks": len({row["network"] for row in rows}),
        "bundles": len(rows),
        "mismatches": sum(bool(row["mismatch"]) for row in rows),
        "error_median": statistics.median(errors) if errors else None,
        "error_p90": errors[math.ceil(0.9 * len(errors)) - 1] if errors else None,
        "error_worst": errors[-1] if errors else None,
        "spread_median": statistics.median(spreads) if spreads else None,
        "spread_worst": spreads[-1] if spreads else None,
        "max_rel_err": max((row["max_rel_err"] for row in rows if "max_rel_err" in row), default=None),
    }


def summary_sentence(figures: dict[str, Any]) -> str:
    """The summary for readers."""
    head = (
        f"{figures['bundles']} bundles of {figures['networks']} networks; bundles that differ in outputs, arg-max or "
        f"bytes of the arena: {figures['mismatches']}."
    )
    if figures["error_median"] is None:
        return head
    return (
        f"{head} Prediction error: median {_percent(figures['error_median'])}, 90th percentile "
        f"{_percent(figures['error_p90'])}, worst {_percent(figures['error_worst'])}. Timings of one bundle lie "
        f"{_percent(figures['spread_median'])} apart in the median, {_percent(figures['spread_worst'])} at worst. "
        f"Largest relative error of an output: {figures['max_rel_err']:.1e}."
    )


def sentence(row: Row) -> str:
    """One bundle in a line."""
    if row["mismatch"]:
        return f"MISMATCH: {row['mismatch']}"
    clang = [build["median_ns"] for build in row["builds"][1:] if not build["sanitized"]]
    others = "".join(f", clang {_ms(ns)} ms" for ns in clang)
    return (
        f"predicted {_ms(row['predicted_ns'])} ms, measured {_ms(row['measured_ns'])} ms ({100 * row['error']:+.1f} %, "
        f"spread {_percent(row['spread'])}){others}, "
        f"arena {row['arena_used_bytes']}, error {row['max_rel_err']:.1e}, {row['judged_s']:.1f} s"
    )


def markdown(document: dict[str, Any]) -> list[str]:
    """The tables: environment, every bundle, every front, the summary."""
    environment, rows = document["environment"], document["rows"]
    return [
        f"{environment['cpu']}, {environment['cores']} cores, on core {environment['pinned_cpus']}; "
        f"{environment['compiler']}, {environment['flags']}; kernel {environment['kernel']}.",
        "",
        summary_sentence(document["summary"]),
        "",
        "### Predicted and measured",
        "",
        *_table(
            ("network", "point", "predicted ms", "measured ms", "error", "spread",
             "arena predicted = macro = touched, bytes", "max rel err", "arg-max", "builds"),
            [_bundle_row(row) for row in rows],
            left=2,
        ),
        "",
        "### Fronts",
        "",
        *_table(
            ("network", "arena front", "workspace front", "certified by", "optimum ms", "fastest per layer ms",
             "all direct ms"),
            [_front_row(arena, workspace) for arena, workspace in _pairs(document["fronts"])],
            left=1,
        ),
        "",
    ]  # fmt: skip


def _bundle_row(row: Row) -> tuple[str, ...]:
    start = (row["network"], row["point"], _ms(row["predicted_ns"]))
    if row["mismatch"]:
        return (*start, "", "", "", str(row["predicted_arena_bytes"]), "", "", f"MISMATCH: {row['mismatch']}")
    builds = [
        ("clang" if "clang" in build["compiler"] else "gcc") + (" sanitized" if build["sanitized"] else "")
        for build in row["builds"]
    ]
    return (
        *start,
        _ms(row["measured_ns"]),
        f"{100 * row['error']:+.1f} %",
        _percent(row["spread"]),
        str(row["arena_used_bytes"]),
        f"{row['max_rel_err']:.1e}",
        "equal",
        ", ".join(builds),
    )


def _pairs(fronts: list[Row]) -> list[tuple[Row, Row]]:
    by_axis = {(front["network"], front["axis"]): front for front in fronts}
    names = dict.fromkeys(front["network"] for front in fronts)
    return [(by_axis[name, "arena"], by_axis[name, "workspace"]) for name in names]


def _front_row(arena: Row, workspace: Row) -> tuple[str, ...]:
    baselines = arena["baselines"]
    certified = dict.fromkeys((arena["certified_by"], workspace["certified_by"]))
    return (
        arena["network"],
        *(_front_words(front) for front in (arena, workspace)),
        ", ".join(certified),
        _ms(arena["optimum_ns"]),
        *(_ms(baselines[name]) if name in baselines else "" for name in ("fastest-per-layer", "all-direct")),
    )


def _front_words(front: Row) -> str:
    doubts = [word for word, holds in (("not all proven", front["proven"]), ("cut", front["complete"])) if not holds]
    some = [f"{front['judged']} judged"] if front.get("judged", front["points"]) < front["points"] else []
    return ", ".join([f"{front['points']} in {front['traced_s']:.2f} s", *some, *doubts])


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]], *, left: int) -> list[str]:
    rules = ["---" if place < left or column == "builds" else "---:" for place, column in enumerate(columns)]
    return [f"| {' | '.join(cells)} |" for cells in (columns, tuple(rules), *rows)]


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.3f}"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.1f} %"
