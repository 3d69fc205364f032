"""A plausible front for the browser tests: 26 convolutions, invented costs, real lifetimes and offsets.

Only the *times* are invented (a rate per family with a fixed jitter per node). Shapes, bytes, steps, lifetimes and
offsets follow the contract of app.points, so the page is exercised with data that is consistent with itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from app.points import ConversionChoice, LayerChoice, PlacedBuffer, Point
from kernels.spec import Shape

ALIGN = 64


@dataclass(frozen=True)
class Layer:
    """A node with its inputs, by name; geometry in `shape`."""

    name: str
    shape: Shape
    inputs: tuple[str, ...]

    @property
    def out_bytes(self) -> int:
        return 4 * self.shape.m * self.shape.oh * self.shape.ow


@dataclass(frozen=True)
class Candidate:
    """A primitive with its figures for one layer."""

    primitive: str
    family: str
    variant: str
    in_layout: str
    out_layout: str
    time_ns: int
    workspace_bytes: int
    weights_bytes: int


def jitter(*words: str) -> float:
    """A fixed number in [0.72, 1.28) from text, so that every run shows the same figures."""
    digest = hashlib.sha256("/".join(words).encode()).digest()
    return 0.72 + 0.56 * int.from_bytes(digest[:4], "big") / 2**32


def resnet() -> list[Layer]:
    """A residual network for 48x48 images: 26 convolutions in three stages of four blocks."""
    layers: list[Layer] = []

    def conv(name: str, source: str, c: int, size: int, m: int, k: int, stride: int = 1) -> int:
        pad = k // 2
        out = (size + 2 * pad - k) // stride + 1
        pads = dict.fromkeys(("pad_t", "pad_l", "pad_b", "pad_r"), pad)
        shape = Shape("conv", c, size, size, m, out, out, k, k, stride, stride, **pads)
        layers.append(Layer(name, shape, (source,)))
        return out

    size, c, source = conv("stem", "input", 3, 48, 12, 3), 12, "stem"
    widths = ((12, 12, 16, 16), (32, 36, 40, 44), (72, 72, 88, 96))
    for stage, stage_widths in enumerate(widths, start=1):
        for block, m in enumerate(stage_widths, start=1):
            name = f"stage{stage}/block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            size = conv(f"{name}/conv1", source, c, size, m - 2 * (block % 3), 3, stride)
            conv(f"{name}/conv2", f"{name}/conv1", m - 2 * (block % 3), size, m, 3)
            if m == c and stage == 3:
                add = Shape("add", m, size, size, m, size, size)
                layers.append(Layer(f"{name}/add", add, (f"{name}/conv2", source)))
            source, c = layers[-1].name, m
    conv("head", source, c, size, 128, 1)
    source, c = "head", 128
    layers.append(Layer("pool", Shape("gap", c, size, size, c, 1, 1), (source,)))
    layers.append(Layer("classifier", Shape("dense", c, 1, 1, 10, 1, 1), ("pool",)))
    layers.append(Layer("softmax", Shape("softmax", 10, 1, 1, 10, 1, 1), ("classifier",)))
    return layers


def candidates(layer: Layer) -> Iterator[Candidate]:
    """Primitives that apply, with a time from an invented rate (multiply-accumulates per ns) per family."""
    s = layer.shape
    if s.op != "conv":
        elems = s.c * s.h * s.w
        weights = 4 * (s.m * s.c + s.m) if s.op == "dense" else 0
        yield Candidate(f"{s.op}_hwc_hwc", s.op, "", "hwc", "hwc", int(elems * 0.9 * jitter(layer.name)), 0, weights)
        return
    weights = 4 * (s.m * s.c * s.kh * s.kw + s.m)
    patches = 4 * s.c * s.kh * s.kw * s.oh * s.ow

    def make(family: str, variant: str, layouts: tuple[str, str], rate: float, ws: int, packed: int) -> Candidate:
        words = [family, variant, *layouts] if variant else [family, *layouts]
        time = int(s.macs / (rate * jitter(layer.name, family, variant)))
        return Candidate("_".join(words), family, variant, *layouts, time, -(-ws // ALIGN) * ALIGN, packed)

    yield make("direct", "", ("chw", "chw"), 1.4, 0, weights)
    yield make("direct", "vec", ("hwc", "hwc"), 2.7, 0, weights)
    if s.kh == 1:
        yield make("pointwise", "", ("hwc", "hwc"), 13.0, 0, weights)
        yield make("pointwise", "packed", ("hwc", "hwc"), 16.5, 4 * s.c * 64, weights)
        return
    for rows, rate in ((1, 3.6), (2, 5.1), (3, 6.3), (4, 7.4), (6, 8.6), (8, 9.6), (12, 10.4)):
        yield make("im2row", f"strips{rows}", ("hwc", "hwc"), rate, patches // s.oh * min(rows, s.oh), weights)
    yield make("im2row", "", ("hwc", "hwc"), 11.0, patches, weights)
    yield make("im2col", "", ("chw", "chw"), 10.2, patches, weights)
    yield make("kn2row", "", ("chw", "chw"), 8.3, 4 * s.m * s.oh * s.ow, weights)
    yield make("mec", "", ("hwc", "hwc"), 9.9, patches // 2, weights)
    if s.stride_h == 1:
        for tile, rate in ((2, 13.5), (4, 19.0)):
            tiles = -(-s.oh // tile) * -(-s.ow // tile)
            alpha = (tile + 2) ** 2
            full = 4 * alpha * tiles * (s.c + s.m)
            packed = 4 * (alpha * s.m * s.c + s.m)
            yield make("winograd", f"f{tile}", ("hwc", "hwc"), rate, full, packed)
            for parts in range(2, 13):
                slower = rate * (1 - 0.065 * parts)
                variant = f"f{tile}_tiled{parts}"
                yield make("winograd", variant, ("hwc", "hwc"), slower, full // parts, packed)


def choose(layers: list[Layer], live: dict[str, int], limit_bytes: int) -> list[Candidate] | None:
    """Per node the fastest primitive whose workspace fits beside the live tensors; None where nothing fits."""
    chosen = []
    for layer in layers:
        fitting = [x for x in candidates(layer) if live[layer.name] + x.workspace_bytes <= limit_bytes]
        if not fitting:
            return None
        chosen.append(min(fitting, key=lambda x: x.time_ns))
    return chosen


def last_use(layers: list[Layer]) -> dict[str, int]:
    """Index of the last layer that reads each tensor (its own index if none does)."""
    last = {layer.name: index for index, layer in enumerate(layers)}
    for index, layer in enumerate(layers):
        for source in layer.inputs:
            if source in last:
                last[source] = index
    return last


def live_bytes(layers: list[Layer]) -> dict[str, int]:
    """Bytes of the activations alive while each layer runs, its output included; the caller's input is not ours."""
    last = last_use(layers)
    return {
        layer.name: sum(x.out_bytes for j, x in enumerate(layers) if j <= i <= last[x.name])
        for i, layer in enumerate(layers)
    }


Lifetime = tuple[str, str, int | None, int, int, int]


def place(lifetimes: list[Lifetime]) -> tuple[PlacedBuffer, ...]:
    """First fit at multiples of 64 bytes, outputs in turn from the bottom and from the top: the best of three plans."""
    outputs = [x[1] for x in sorted(lifetimes, key=lambda x: x[4]) if x[0] == "output"]
    plans = [first_fit(lifetimes, from_top) for from_top in (set(outputs[1::2]), set(outputs[0::2]), set())]
    return min(plans, key=lambda plan: max(b.offset_bytes + b.size_bytes for b in plan))


def first_fit(lifetimes: list[Lifetime], from_top: set[str]) -> tuple[PlacedBuffer, ...]:
    """Outputs first, in order of time; the outputs of `from_top` at the highest free offset below the peak."""
    steps = range(max(x[5] for x in lifetimes))
    peak = max(sum(size for *_, size, first, last in lifetimes if first <= t < last) for t in steps)
    ceiling = -(-peak // ALIGN) * ALIGN
    placed: list[PlacedBuffer] = []
    for kind, node, port, size, first, last in sorted(lifetimes, key=lambda x: (x[0] != "output", x[4], -x[3])):
        others = [p for p in placed if p.first < last and first < p.last]
        low = [0] + [-(-(p.offset_bytes + p.size_bytes) // ALIGN) * ALIGN for p in others]
        high = [x // ALIGN * ALIGN for x in (ceiling - size, *(p.offset_bytes - size for p in others)) if x >= 0]
        tries = sorted(high, reverse=True) if kind == "output" and node in from_top else sorted(low)
        free = (x for x in (*tries, *sorted(low)) if all(clear(x, size, p) for p in others))
        placed.append(PlacedBuffer(kind, node, port, size, first, last, next(free)))
    return tuple(sorted(placed, key=lambda p: (p.first, p.offset_bytes)))


def clear(offset: int, size: int, other: PlacedBuffer) -> bool:
    """Whether [offset, offset + size) does not touch the other buffer."""
    return offset + size <= other.offset_bytes or other.offset_bytes + other.size_bytes <= offset


def build_point(layers: list[Layer], chosen: list[Candidate], *, gap: float = 0.0) -> Point:
    """The point of a selection: conversions where layouts disagree, steps, lifetimes, offsets, sums."""
    by_name = {layer.name: (layer, pick) for layer, pick in zip(layers, chosen, strict=True)}
    steps: list[str] = []
    step_of: dict[str, int] = {}
    copies: list[tuple[str, int, int, int]] = []
    changes: list[ConversionChoice] = []
    choices: list[LayerChoice] = []
    for layer, pick in zip(layers, chosen, strict=True):
        conversions: list[str] = []
        conversion_ns = 0
        for port, source in enumerate(layer.inputs):
            produced = by_name[source][1].out_layout if source in by_name else "chw"
            if produced != pick.in_layout:
                size = 4 * layer.shape.c * layer.shape.h * layer.shape.w // len(layer.inputs)
                conversions.append(f"convert_{produced}_{pick.in_layout}")
                shape = f"convert c={layer.shape.c} h={layer.shape.h} w={layer.shape.w}"
                change = ConversionChoice(source, layer.name, port, conversions[-1], shape, int(size / 6.5))
                changes.append(change)
                conversion_ns += change.time_ns
                copies.append((layer.name, port, size, len(steps)))
                steps.append(f"convert {source} for {layer.name}:{port}")
        step_of[layer.name] = len(steps)
        steps.append(layer.name)
        choices.append(
            LayerChoice(
                layer.name, layer.shape.op, layer.shape.key(), pick.primitive, pick.family, pick.variant,
                pick.in_layout, pick.out_layout, None, pick.time_ns, int(pick.time_ns * 0.985),
                int(pick.time_ns * 1.03), pick.workspace_bytes, pick.weights_bytes, tuple(conversions), conversion_ns,
                strips=f"{layers[0].name}..{layers[1].name}/4" if layer in layers[:2] else "",
            )
        )  # fmt: skip
    last = last_use(layers)
    lifetimes: list[Lifetime] = []
    for layer, pick in zip(layers, chosen, strict=True):
        at = step_of[layer.name]
        lifetimes.append(("output", layer.name, None, layer.out_bytes, at, step_of[layers[last[layer.name]].name] + 1))
        if pick.workspace_bytes:
            lifetimes.append(("workspace", layer.name, None, pick.workspace_bytes, at, at + 1))
    lifetimes += [("copy", node, port, size, step, step_of[node] + 1) for node, port, size, step in copies]
    buffers = place(lifetimes)
    peak = max(sum(b.size_bytes for b in buffers if b.first <= t < b.last) for t in range(len(steps)))
    latency = sum(c.time_ns + c.conversion_ns for c in choices)
    families: dict[str, int] = {}
    for choice in choices:
        if choice.op == "conv":
            families[choice.family] = families.get(choice.family, 0) + 1
    digest = hashlib.sha256("|".join(c.primitive for c in choices).encode()).hexdigest()
    return Point(
        id=f"pt_{digest[:12]}",
        latency_ns=latency,
        p10_ns=sum(c.p10_ns for c in choices),
        p90_ns=sum(c.p90_ns for c in choices),
        arena_bytes=max(b.offset_bytes + b.size_bytes for b in buffers),
        peak_bytes=peak,
        workspace_bytes=max(c.workspace_bytes for c in choices),
        weights_bytes=sum(c.weights_bytes for c in choices),
        proven=gap == 0.0,
        bound_ns=int(latency * (1 - gap)),
        gap=gap,
        families=families,
        layers=tuple(choices),
        conversions=tuple(changes),
        buffers=buffers,
        steps=tuple(steps),
    )


def front(memory: str, wanted: int = 35) -> tuple[list[Point], dict[str, tuple[str, Point]]]:
    """Up to `wanted` non-dominated points on one memory axis, by rising bytes, and the named baselines."""
    layers = resnet()
    live = live_bytes(layers)
    limits = sorted({live[x.name] + c.workspace_bytes for x in layers for c in candidates(x)})
    choices = [chosen for limit in limits if (chosen := choose(layers, live, limit))]
    spare = max(live.values())
    choices.append(
        [
            min((c for c in candidates(x) if live[x.name] + 4 * c.workspace_bytes <= spare), key=lambda c: c.time_ns)
            for x in layers
        ]
    )
    found = {point.id: point for point in (build_point(layers, chosen) for chosen in choices)}
    axis = f"{memory}_bytes"
    kept: list[Point] = []
    for point in sorted(found.values(), key=lambda p: (getattr(p, axis), p.latency_ns)):
        if not kept or point.latency_ns < kept[-1].latency_ns:
            kept.append(point)
    while len(kept) > wanted:  # drop the point whose step is the smallest, never an end
        gains = [kept[i - 1].latency_ns - kept[i + 1].latency_ns for i in range(1, len(kept) - 1)]
        del kept[1 + gains.index(min(gains))]
    unproven = {len(kept) // 3: 0.0042, len(kept) - 4: 0.0017}
    points = [
        build_point(layers, [by_primitive(x, c.primitive) for x, c in zip(layers, p.layers, strict=True)], gap=gap)
        if (gap := unproven.get(i, 0.0))
        else p
        for i, p in enumerate(kept)
    ]
    direct = [next(iter(candidates(x))) for x in layers]
    greedy = [min(candidates(x), key=lambda c: c.time_ns) for x in layers]
    baselines = {
        "all-direct": ("the plain direct loop for every convolution", build_point(layers, direct)),
        "fastest-per-layer": ("the fastest primitive of each layer, conversions ignored", build_point(layers, greedy)),
    }
    return points, baselines


def by_primitive(layer: Layer, name: str) -> Candidate:
    """The candidate of a layer with this primitive name."""
    return next(c for c in candidates(layer) if c.primitive == name)
