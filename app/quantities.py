"""Sizes and times as people write them: parsing and printing, the same in the CLI, the API and the page's messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.errors import UserError

_SIZES = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}
_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)\s*")


def parse_bytes(text: str) -> int:
    """Bytes of `384KiB`, `0.5 MiB`, `96kb` or a bare number of bytes; raises UserError `quantity-invalid`."""
    return _parse(text, _SIZES, "a size", "384KiB, 6MiB, 500KB or a plain number of bytes")


def parse_ns(text: str) -> int:
    """Nanoseconds of `20ms`, `350us` or `1.5s`; a unit is required. Raises UserError `quantity-invalid`."""
    return _parse(text, _TIMES, "a time", "350us, 20ms or 1.5s")


def _parse(text: str, units: dict[str, int], what: str, examples: str) -> int:
    match = _NUMBER.fullmatch(text)
    factor = units.get(match.group(2).lower()) if match else None
    if match is None or factor is None:
        raise UserError("quantity-invalid", f"{text!r} is not {what}", hint=f"write {examples}")
    return round(float(match.group(1)) * factor) if "." in match.group(1) else int(match.group(1)) * factor


def format_bytes(count: int) -> str:
    """`983,040 B (960.0 KiB)`: exact first, readable second."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count:,} B ({count / factor:.1f} {unit})"
    return f"{count:,} B"


def format_ns_alike(times_ns: Sequence[int]) -> list[str]:
    """Times of a column: in the unit of the largest, all with as many decimals as give that one five digits."""
    most = max(times_ns, default=0)
    unit, factor = next(
        (found for found in (("s", 10**9), ("ms", 10**6), ("us", 10**3)) if most >= found[1]), ("ns", 1)
    )
    decimals = max(0, 5 - len(str(most // factor))) if factor > 1 else 0
    return [f"{ns / factor:,.{decimals}f} {unit}" for ns in times_ns]


def format_ns(ns: int) -> str:
    """Three significant digits in ns, us, ms or s."""
    for unit, factor in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if ns >= factor:
            return f"{ns / factor:.3g} {unit}" if ns < 1000 * factor else f"{ns / factor:,.0f} {unit}"
    return f"{ns} ns"
