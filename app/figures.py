"""Plotly figures as plain data: the front and the picture of the arena. The only module that knows Plotly's words."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.points import Frontier, Point

PLOTLY_MAJOR = "7"  # of the wheel; its plotly.js is 4.x, which the page is written against
AXIS_TITLES = {
    "arena": "arena (bytes of RAM)",
    "total": "arena + weights (bytes)",
    "workspace": "largest workspace (bytes)",
    "weights": "packed weights (bytes)",
}
# Colours of Okabe and Ito, told apart by all common kinds of colour vision; each kind also has its own pattern.
_KINDS: Mapping[str, tuple[str, str]] = {
    "output": ("#0072B2", ""),
    "workspace": ("#E69F00", "/"),
    "copy": ("#CC79A7", "x"),
    "resident": ("#009E73", "."),
}
_BASELINE_SYMBOLS = ("diamond", "square", "triangle-up", "cross")


def _layout(**extra: Any) -> dict[str, Any]:
    # Transparent, without colours of its own: the page's theme decides.
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 64, "r": 16, "t": 16, "b": 48},
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.08},
        **extra,
    }


def front_figure(front: Frontier) -> dict[str, Any]:
    """Latency in ms over memory in bytes as steps: between two points nothing better exists.

    `customdata` of a point is [id, exact ns, exact bytes, workspace bytes, weights bytes, "proven" or the gap].
    """

    def custom(point: Point) -> list[Any]:
        certainty = "proven optimal" if point.proven else f"gap {point.gap:.2%}"
        size = getattr(point, f"{front.memory}_bytes")
        return [point.id, point.latency_ns, size, point.workspace_bytes, point.weights_bytes, certainty]

    hover = (
        "%{customdata[1]:,} ns<br>%{customdata[2]:,} B<br>workspace %{customdata[3]:,} B"
        "<br>weights %{customdata[4]:,} B<br>%{customdata[5]}<extra>%{fullData.name}</extra>"
    )
    points = front.points
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "name": "front",
            "mode": "lines+markers",
            "line": {"shape": "hv", "width": 2, "color": "#0072B2"},
            "marker": {
                "size": 8,
                "color": "#0072B2",
                "symbol": ["circle" if point.proven else "circle-open" for point in points],
            },
            "x": [getattr(point, f"{front.memory}_bytes") for point in points],
            "y": [point.latency_ns / 1e6 for point in points],
            "ids": [point.id for point in points],
            "customdata": [custom(point) for point in points],
            "hovertemplate": hover,
        }
    ]
    for baseline, symbol in zip(front.baselines, _BASELINE_SYMBOLS * len(front.baselines), strict=False):
        point = baseline.point
        traces.append(
            {
                "type": "scatter",
                "name": baseline.name,
                "mode": "markers",
                "marker": {"size": 10, "symbol": f"{symbol}-open", "color": "#D55E00"},
                "x": [getattr(point, f"{front.memory}_bytes")],
                "y": [point.latency_ns / 1e6],
                "ids": [point.id],
                "customdata": [custom(point)],
                "hovertemplate": hover,
            }
        )
    return {
        "data": traces,
        "layout": _layout(
            xaxis={"title": {"text": AXIS_TITLES[front.memory]}, "tickformat": ".3s", "automargin": True},
            yaxis={"title": {"text": "latency (ms)"}, "rangemode": "tozero", "automargin": True},
        ),
    }


def memory_figure(point: Point) -> dict[str, Any]:
    """The arena over time: each buffer a rectangle, steps across, bytes up; one trace per kind of buffer.

    `customdata` of a buffer is [node, size bytes, offset bytes, first step, last step (exclusive), kind].
    """
    traces = []
    for kind, (colour, pattern) in _KINDS.items():
        buffers = [buffer for buffer in point.buffers if buffer.kind == kind]
        if not buffers:
            continue
        traces.append(
            {
                "type": "bar",
                "name": kind,
                "x": [(b.first + b.last) / 2 for b in buffers],
                "width": [b.last - b.first for b in buffers],
                "base": [b.offset_bytes for b in buffers],
                "y": [b.size_bytes for b in buffers],
                "marker": {
                    "color": colour,
                    "opacity": 0.85,
                    "line": {"width": 1, "color": "rgba(127,127,127,0.9)"},
                    "pattern": {"shape": pattern, "size": 6, "solidity": 0.2},
                },
                "customdata": [[b.node, b.size_bytes, b.offset_bytes, b.first, b.last, b.kind] for b in buffers],
                "hovertemplate": (
                    "%{customdata[0]}<br>%{customdata[1]:,} B at %{customdata[2]:,}"
                    "<br>steps %{customdata[3]} to %{customdata[4]}<extra>%{customdata[5]}</extra>"
                ),
            }
        )
    arena = point.arena_bytes
    return {
        "data": traces,
        "layout": _layout(
            barmode="overlay",
            bargap=0,
            xaxis={"title": {"text": "step of execution"}, "range": [0, max(1, len(point.steps))], "zeroline": False},
            yaxis={"title": {"text": "offset (bytes)"}, "range": [0, max(1, arena) * 1.05], "tickformat": ".3s"},
            shapes=[
                {
                    "type": "line",
                    "xref": "paper",
                    "x0": 0,
                    "x1": 1,
                    "y0": arena,
                    "y1": arena,
                    "line": {"color": "#D55E00", "width": 1, "dash": "dash"},
                }
            ],
            annotations=[
                {
                    "xref": "paper",
                    "x": 1,
                    "xanchor": "right",
                    "y": arena,
                    "yanchor": "bottom",
                    "text": f"arena {arena:,} B",
                    "showarrow": False,
                }
            ],
        ),
    }


def plotly_script() -> tuple[bytes, str]:
    """plotly.min.js of the installed wheel and the first 8 digits of its SHA-256.

    Raises RuntimeError in one clear line when the wheel is not the one the page is written against.
    """
    version = importlib.metadata.version("plotly")
    if version.split(".")[0] != PLOTLY_MAJOR:
        raise RuntimeError(f"plotly {version} is installed; the page needs plotly {PLOTLY_MAJOR}.x")
    file = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise RuntimeError(f"the installed plotly {version} has no package_data/plotly.min.js") from None
    return data, hashlib.sha256(data).hexdigest()[:8]


def compressed_script(folder: Path, data: bytes, sha8: str) -> bytes:
    """The script as gzip, made once and kept in `folder`; the same bytes every time."""
    file = folder / f"plotly-{sha8}.min.js.gz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = file.with_suffix(".new")
        fresh.write_bytes(gzip.compress(data, 9, mtime=0))
        fresh.replace(file)
    return file.read_bytes()
