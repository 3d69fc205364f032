"""Words for people: bytes, durations and shapes as comments and reports show them."""

from __future__ import annotations

from collections.abc import Sequence

from kernels.spec import Shape


def bytes_text(count: int) -> str:
    """The exact count, digits grouped, with KiB or MiB beside it when that is shorter."""
    exact = f"{count:,} B".replace(",", " ")
    if count < 10 * 1024:
        return exact
    if count < 10 * 1024 * 1024:
        return f"{exact} ({count / 1024:.1f} KiB)"
    return f"{exact} ({count / 1024 / 1024:.1f} MiB)"


def duration_text(ns: int) -> str:
    """Three or four significant digits in ns, us, ms or s."""
    for limit, divisor, unit in ((10_000, 1, "ns"), (10_000_000, 1e3, "us"), (10_000_000_000, 1e6, "ms")):
        if ns < limit:
            return f"{ns / divisor:.4g} {unit}"
    return f"{ns / 1e9:.4g} s"


def dims_text(dims: Sequence[int]) -> str:
    """3x224x224."""
    return "x".join(map(str, dims))


def shape_text(s: Shape) -> str:
    """An operator instance in a line: dims in and out, then what differs from the plainest case."""
    words = [f"{s.op} {dims_text((s.c, s.h, s.w))} -> {dims_text((s.m, s.oh, s.ow))}"]
    if s.op in ("conv", "max_pool", "avg_pool"):
        words.append(f"kernel {s.kh}x{s.kw}")
        pads = (s.pad_t, s.pad_l, s.pad_b, s.pad_r)
        for name, value, plain in (
            ("stride", (s.stride_h, s.stride_w), (1, 1)),
            ("pad", pads, (0, 0, 0, 0)),
            ("dilation", (s.dilation_h, s.dilation_w), (1, 1)),
        ):
            if value != plain:
                words.append(f"{name} {value[0] if len(set(value)) == 1 else ','.join(map(str, value))}")
        if s.group != 1:
            words.append(f"group {s.group}")
    elif s.op in ("concat", "softmax"):
        words.append(f"along {'chw'[s.axis]}")
    return ", ".join(words)
