"""Answers to questions about the invented front: the real explanations where they need a point only, else invented."""

from __future__ import annotations

import dataclasses
from typing import Any

import fake_data

from app.points import Point
from app.selection import explain


def layer_of(node: str) -> fake_data.Layer:
    return next(layer for layer in fake_data.resnet() if layer.name == node)


def what_if(point: Point, limits: dict[str, Any]) -> dict[str, Any]:
    """The point with every pin obeyed and every forbidden choice replaced by the fastest that is left."""
    pins, bans, forbid = limits.get("pins", {}), limits.get("bans", {}), limits.get("forbid", [])
    layers = fake_data.resnet()
    chosen = []
    for layer, now in zip(layers, point.layers, strict=True):
        usable = [
            c
            for c in fake_data.candidates(layer)
            if c.primitive not in bans.get(layer.name, []) and c.family not in forbid
        ]
        wanted = pins.get(layer.name, now.primitive)
        kept = [c for c in usable if c.primitive == wanted]
        chosen.append(kept[0] if kept else min(usable, key=lambda c: c.time_ns))
    found = fake_data.build_point(layers, chosen)
    return {
        "limits": limits,
        "point": found.to_json(),
        "on_front": False,
        "differences": explain.differences(point, found),
        "answered_from": "model",
        "certified_by": "highs-lp",
        "stale": False,
        "stale_because": "",
        "elapsed_ms": 41.7,
    }


def pin_prices(point: Point, limits: dict[str, Any]) -> list[dict[str, Any]]:
    prices = []
    for layer, primitive in limits.get("pins", {}).items():
        change = what_if(point, {"pins": {layer: primitive}})["differences"]
        instead = next(choice.primitive for choice in point.layers if choice.node == layer)
        prices.append(
            {"layer": layer, "primitive": primitive, "instead": instead}
            | {name: change[name] for name in ("latency_ns", "arena_bytes", "workspace_bytes", "weights_bytes")}
        )
    return prices


def layer_options(node: str) -> dict[str, Any]:
    options = [
        {
            "primitive": c.primitive,
            "family": c.family,
            "variant": c.variant,
            "in_layouts": [c.in_layout],
            "out_layout": c.out_layout,
            "in_place": None,
            "time_ns": c.time_ns,
            "workspace_bytes": c.workspace_bytes,
            "weights_bytes": c.weights_bytes,
            "max_rel_err": 5e-5 if c.variant.startswith("f4") else 1e-5,
            "objections": [],
        }
        for c in fake_data.candidates(layer_of(node))
    ]
    refused = {"conv_depthwise_hwc_hwc_f32": "is not depthwise"}
    return {"node": node, "options": sorted(options, key=lambda o: o["time_ns"]), "refused": refused}


def explanation(points: list[Point], point: Point, axis: str) -> dict[str, Any]:
    prices = explain.memory_prices(points, axis)

    def shown(price: explain.MemoryPrice | None) -> dict[str, Any] | None:
        return None if price is None else dataclasses.asdict(price) | {"ns_per_kib": price.ns_per_kib}

    return {
        "point": point.id,
        "memory": axis,
        "smallest_bytes": getattr(points[0], f"{axis}_bytes"),
        "smallest_step": "stage1/block3/conv2",
        "binding": [dataclasses.asdict(step) for step in explain.binding_steps(point, axis)],
        "next_larger": shown(next((p for p in prices if p.smaller == point.id), None)),
        "next_smaller": shown(next((p for p in prices if p.larger == point.id), None)),
    }


def robustness(_points: list[Point], point: Point, axis: str) -> dict[str, Any]:
    """Every third convolution changes its mind in some draws."""
    kept = {layer.node: 0.63 if i % 3 == 1 and layer.op == "conv" else 1.0 for i, layer in enumerate(point.layers)}
    return {
        "point": point.id,
        "budget_bytes": getattr(point, f"{axis}_bytes"),
        "draws": 100,
        "seed": 0,
        "kept": kept,
        "same": 0.08,
        "regret_mean": 0.0016,
        "regret_p90": 0.0032,
        "regret_worst": 0.0071,
        "proven": True,
        "single": 2,
        "complete": True,
        "elapsed_s": 1.3,
    }
