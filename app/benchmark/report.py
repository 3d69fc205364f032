"""The result as a JSON document and as Markdown: pure text from pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.benchmark.peers import PEERS
from app.benchmark.results import OURS

FORMAT = "tradespace-bench-1"

Document = Mapping[str, Any]
"""`{"format","generator_version","started_at","host","compiler","flags","device","threads","cpus","rounds","turn",
"peers","networks":[...],"rows":[...]}`; docs/benchmark.md describes every field."""


def markdown(document: Document) -> str:
    """All tables, with what was run on what, how often, and how far apart the rounds were."""
    parts = [
        f"Measured {document['started_at']}.\n",
        *(f"- {line}" for line in setting_lines(document)),
        "",
        "### Latency",
        "",
        "Median of the rounds' medians in ms; in brackets that runtime's time over ours.",
        "",
        *_latency(document),
        "",
        "### Memory",
        "",
        "MiB. Ours as planned: arena + weights + inputs and outputs. Then of every process: resident after the first "
        "run minus resident before the network was read.",
        "",
        *_memory(document),
        "",
        "### Every figure",
        "",
        *_table(DETAIL_COLUMNS, detail_rows(document)),
        "",
    ]
    problems = [f"- {row['network']}, {row['runtime']}: {row['error']}" for row in document["rows"] if row["error"]]
    problems += [f"- {entry['name']}: {entry['error']}" for entry in document["networks"] if entry.get("error")]
    if problems:
        parts += ["### Without a figure", "", *problems, ""]
    return "\n".join(parts)


def setting_lines(document: Document) -> list[str]:
    """Host, compiler, rounds and runtimes, one line each."""
    host, turn = document["host"], document["turn"]
    cpus = ", ".join(map(str, document["cpus"]))
    peaks = [entry["fma_gflops"] for entry in document["networks"] if "fma_gflops" in entry]
    measured = (
        f"; FMA peak of one core, measured before and after each network: {_range(peaks)} GFLOP/s" if peaks else ""
    )
    peers = [
        f"{name} {peer['version'] or '(not installed)'}: {peer['settings']}" for name, peer in document["peers"].items()
    ]
    return [
        f"Host: {host['cpu']}, {host['cores']} cores, kernel {host['kernel']}, governor {host['governor']}, "
        f"load {host['load_1min']}{measured}",
        f"{document['threads']} thread(s) on core(s) {cpus}; {document['rounds']} rounds, each runtime one turn a "
        f"round: {turn['warm_up_ns'] / 1e6:g} ms untimed, then {turn['burst_ns'] / 1e6:g} ms and at least "
        f"{turn['least_runs']} runs timed one by one",
        f"{OURS} {document['generator_version']}: {document['compiler']}, {document['flags']}, device "
        f"{document['device']}, point: {document['point']} on the {document['memory']} axis",
        *peers,
    ]


DETAIL_COLUMNS = (
    "network",
    "runtime",
    "threads",
    "median ms",
    "rounds ms",
    "p10-p90 ms",
    "ratio",
    "ratio of rounds",
    "runs",
    "GFLOP/s",
    "% of FMA peak",
    "max rel err",
    "planned MiB",
    "resident MiB",
    "load peak MiB",
    "run peak MiB",
    "process peak MiB",
    "remark",
)


def detail_rows(document: Document) -> list[tuple[str, ...]]:
    """One row of text per runtime and network, in the order of DETAIL_COLUMNS."""
    return [
        (
            row["network"],
            row["runtime"],
            str(row["threads"]),
            _ms(row["median_ns"]),
            _span(_ms(row["min_round_ns"]), _ms(row["max_round_ns"])),
            _span(_ms(row["p10_ns"]), _ms(row["p90_ns"])),
            _fixed(row["ratio"], 3),
            _span(_fixed(row["ratio_min"], 2), _fixed(row["ratio_max"], 2)),
            "" if row["runs"] is None else str(row["runs"]),
            _fixed(row["gflops"], 1),
            _percent(row["fma_peak_share"], 1),
            "" if row["max_rel_err"] is None else f"{row['max_rel_err']:.1e}",
            _mib(row["planned_bytes"]),
            _mib(row["resident_bytes"]),
            _mib(row["load_peak_bytes"]),
            _mib(row["run_peak_bytes"]),
            _mib(row["peak_bytes"]),
            row["error"],
        )
        for row in document["rows"]
    ]


def _latency(document: Document) -> list[str]:
    names = list(document["peers"])
    rows = []
    for entry, by_runtime in _by_network(document):
        mine = by_runtime[OURS]
        timed = [by_runtime[name] for name in names if by_runtime[name]["median_ns"] is not None]
        best = min(timed, key=lambda row: row["median_ns"], default=None)
        cells = [_timed(by_runtime[name]) for name in names]
        share = _percent(mine["fma_peak_share"], 0)
        ours = f"{_ms(mine['median_ns'])} ({share}% of FMA peak)"
        rows.append((entry["name"], f"{entry['macs'] / 1e6:,.1f}", ours, *cells, _fastest(best)))
    return _table(("network", "MMAC", OURS, *names, "fastest peer (rounds)"), rows)


def _timed(row: Mapping[str, Any]) -> str:
    return "–" if row["median_ns"] is None else f"{_ms(row['median_ns'])} ({_fixed(row['ratio'], 2)})"


def _fastest(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    rounds = _span(_fixed(row["ratio_min"], 2), _fixed(row["ratio_max"], 2))
    return f"{row['runtime']} {_fixed(row['ratio'], 2)} ({rounds})"


def _memory(document: Document) -> list[str]:
    names = list(document["peers"])
    rows = []
    for entry, by_runtime in _by_network(document):
        memory = entry["memory"]
        parts = (memory["arena_bytes"], memory["weights_bytes"], memory["io_bytes"], by_runtime[OURS]["planned_bytes"])
        resident = (by_runtime[name]["resident_bytes"] for name in (OURS, *names))
        rows.append((entry["name"], *map(_mib, parts), *(_mib(value) or "–" for value in resident)))
    return _table(("network", "arena", "weights", "in + out", "planned", f"{OURS} process", *names), rows)


def _by_network(document: Document) -> list[tuple[Mapping[str, Any], dict[str, Mapping[str, Any]]]]:
    """Every network that has rows, with its rows by runtime."""
    found = []
    for entry in document["networks"]:
        rows = {row["runtime"]: row for row in document["rows"] if row["network"] == entry["name"]}
        if rows:
            found.append((entry, rows))
    return found


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'|'.join('---' for _ in columns)}|"]
    return lines + [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]


def _span(low: str, high: str) -> str:
    return f"{low}–{high}" if low and high else ""


def _ms(ns: float | None) -> str:
    """Milliseconds with four significant digits."""
    return "" if ns is None else f"{ns / 1e6:.4g}"


def _mib(count: int | None) -> str:
    return "" if count is None else f"{count / 2**20:.4g}"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def _percent(share: float | None, digits: int) -> str:
    return _fixed(None if share is None else 100 * share, digits)


def _fixed(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def peer_entries(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the document says of each peer: versions of everything it needs, and how it is set up."""
    return {
        name: {
            "version": PEERS[name].versions().get(name, ""),
            "versions": PEERS[name].versions(),
            "settings": PEERS[name].settings,
        }
        for name in names
    }
