"""Passes that merge arithmetic: scales and clamps into their neighbours, pads into windows."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from app.graph.check import CLAMPED_OPS
from app.graph.draft import Draft
from app.graph.ir import Graph, Node
from app.graph.windows import misses_the_image
from kernels.spec import Attrs, Shape

Float64Array = npt.NDArray[np.float64]


def clamps(node: Node) -> bool:
    """Whether the node clamps what it computes."""
    return (node.attrs.lo, node.attrs.hi) != (-np.inf, np.inf)


def _clamp_of(attrs: Attrs, clamp: Attrs) -> Attrs:
    """`attrs` with the clamp of another."""
    return dataclasses.replace(attrs, lo=clamp.lo, hi=clamp.hi)


def fuse_clamp(graph: Graph) -> Graph:
    """A clamp becomes part of the operator before it, if it is that operator's only reader.

    Max pooling commutes with a clamp, so a clamp behind a pool goes to the operator before the pool.
    """
    draft = Draft(graph)
    for clamp in draft.nodes():
        producer = draft.producer(clamp.inputs[0])
        if clamp.op != "clamp" or producer is None or draft.sole_reader(producer.output) is None:
            continue
        if producer.op == "max_pool":
            above = draft.producer(producer.inputs[0])
            if above is None or above.op not in CLAMPED_OPS or draft.sole_reader(above.output) is None:
                continue
            draft.replace(above, attrs=_clamped_twice(above.attrs, clamp.attrs), sources=above.sources + clamp.sources)
            draft.merge(producer, clamp)
        elif producer.op in CLAMPED_OPS:
            draft.merge(producer, clamp, attrs=_clamped_twice(producer.attrs, clamp.attrs))
    return draft.build()


def _clamped_twice(first: Attrs, second: Attrs) -> Attrs:
    """Clamping by `first`, then by `second`, is one clamp: the second's, applied to the first's bounds."""

    def bound(value: float) -> float:
        return min(max(value, second.lo), second.hi)

    return dataclasses.replace(first, lo=bound(first.lo), hi=bound(first.hi))


def merge_scales(graph: Graph) -> Graph:
    """A scale behind a scale that does not clamp: (x w1 + b1) w2 + b2 = x (w1 w2) + (b1 w2 + b2)."""
    draft = Draft(graph)
    for second in draft.nodes():
        first = draft.producer(second.inputs[0])
        if second.op != "scale" or first is None or first.op != "scale" or clamps(first):
            continue
        if draft.sole_reader(first.output) is None:
            continue
        factor, offset = draft.constant(second.weights), draft.constant(second.bias)
        weights = draft.constant(first.weights) * factor
        bias = draft.constant(first.bias) * factor + offset
        _merge(draft, first, second, weights, bias, attrs=_clamp_of(first.attrs, second.attrs))
    return draft.build()


def fold_scale(graph: Graph) -> Graph:
    """A scale behind a conv or dense that does not clamp: BatchNormalization, a bias Add, a constant Mul."""
    draft = Draft(graph)
    for scale in draft.nodes():
        linear = draft.producer(scale.inputs[0])
        if scale.op != "scale" or linear is None or linear.op not in ("conv", "dense") or clamps(linear):
            continue
        if len(linear.inputs) > 1:  # what the scale multiplies is not the conv alone
            continue
        if draft.sole_reader(linear.output) is None:
            continue
        factor, offset = draft.constant(scale.weights), draft.constant(scale.bias)
        kernel = draft.constant(linear.weights)
        weights = (kernel.reshape(len(factor), -1) * factor[:, None]).reshape(kernel.shape)
        bias = draft.constant(linear.bias) * factor + offset
        _merge(draft, linear, scale, weights, bias, attrs=_clamp_of(linear.attrs, scale.attrs))
    return draft.build()


def fold_scale_forward(graph: Graph) -> Graph:
    """A scale that does not clamp in front of a conv or dense.

    Legal when padding stays zero: the scale has no offset, or the conv no padding.
    """
    draft = Draft(graph)
    for linear in draft.nodes():
        s = linear.shape
        scale = draft.producer(linear.inputs[0])
        if s is None or linear.op not in ("conv", "dense") or scale is None or scale.op != "scale" or clamps(scale):
            continue
        if len(linear.inputs) > 1:  # in front of the residual's producer there may be no place for the conv
            continue
        factor, offset = draft.constant(scale.weights), draft.constant(scale.bias)
        padded = s.op == "conv" and max(s.pad_t, s.pad_l, s.pad_b, s.pad_r) > 0
        if draft.sole_reader(scale.output) is None or (padded and offset.any()):
            continue
        stored = draft.constant(linear.weights)
        kernel = stored.reshape(s.m, -1, _taps(s))
        factors, offsets = _per_weight(s, factor), _per_weight(s, offset)
        weights = (kernel * factors).reshape(stored.shape)
        bias = draft.constant(linear.bias) + (kernel * offsets).sum(axis=(1, 2))
        names = _constants(draft, linear, weights, bias)
        if names is not None:
            name = linear.name
            merged = draft.merge(
                scale, linear, op=linear.op, shape=s, attrs=linear.attrs, weights=names[0], bias=names[1]
            )
            draft.replace(merged, name=name)
    return draft.build()


def _taps(s: Shape) -> int:
    """Weights of one input channel for one output channel."""
    return s.h * s.w if s.op == "dense" else s.kh * s.kw


def _per_weight(s: Shape, per_channel: Float64Array) -> Float64Array:
    """A value per input channel as [m][c/group][1]: for each output channel, those of its group."""
    grouped = per_channel.reshape(s.group, s.c // s.group)
    return np.repeat(grouped, s.m // s.group, axis=0)[:, :, None]


def _constants(draft: Draft, node: Node, weights: Float64Array, bias: Float64Array) -> tuple[str, str] | None:
    weights_name = draft.add_constant(str(node.weights), weights)
    bias_name = draft.add_constant(str(node.bias), bias)
    return None if weights_name is None or bias_name is None else (weights_name, bias_name)


def _merge(draft: Draft, first: Node, second: Node, weights: Float64Array, bias: Float64Array, attrs: Attrs) -> None:
    """Merge with new constants made from first's, unless they overflow float32."""
    names = _constants(draft, first, weights, bias)
    if names is not None:
        draft.merge(first, second, weights=names[0], bias=names[1], attrs=attrs)


def fold_pad(graph: Graph) -> Graph:
    """A pad of rows and columns becomes the padding of the conv or pool that alone reads it.

    A conv and an average pool that counts padding take zeros. A max pool ignores padding, so zeros may be left out
    only where every value is at least 0 and every window meets the image. Windows stay larger than their padding.
    """
    draft = Draft(graph)
    for window in draft.nodes():
        s = window.shape
        pad = draft.producer(window.inputs[0])
        if s is None or window.op not in ("conv", "avg_pool", "max_pool") or pad is None or pad.op != "pad":
            continue
        if len(window.inputs) > 1:
            continue
        p = pad.shape
        if p is None or p.m != p.c or pad.attrs.alpha != 0 or draft.sole_reader(pad.output) is None:
            continue
        if s.op == "avg_pool" and not s.count_include_pad and max(s.pad_t, s.pad_l, s.pad_b, s.pad_r) > 0:
            continue
        if s.op == "max_pool" and not _never_negative(draft, pad.inputs[0]):
            continue
        grown = dataclasses.replace(
            s,
            h=p.h,
            w=p.w,
            pad_t=s.pad_t + p.start[1],
            pad_l=s.pad_l + p.start[2],
            pad_b=s.pad_b + p.oh - p.h - p.start[1],
            pad_r=s.pad_r + p.ow - p.w - p.start[2],
            count_include_pad=1 if s.op == "avg_pool" else 0,
        )
        reach_h, reach_w = (s.kh - 1) * s.dilation_h, (s.kw - 1) * s.dilation_w
        if max(grown.pad_t, grown.pad_b) > reach_h or max(grown.pad_l, grown.pad_r) > reach_w:
            continue
        if s.op == "max_pool" and _misses_the_image(grown):
            continue
        fields = {f: getattr(window, f) for f in ("op", "attrs", "weights", "bias")}
        merged = draft.merge(pad, window, shape=grown, **fields)
        draft.replace(merged, name=window.name)
    return draft.build()


def _misses_the_image(s: Shape) -> bool:
    rows = misses_the_image(s.h, s.oh, kernel=s.kh, stride=s.stride_h, dilation=s.dilation_h, before=s.pad_t)
    columns = misses_the_image(s.w, s.ow, kernel=s.kw, stride=s.stride_w, dilation=s.dilation_w, before=s.pad_l)
    return rows or columns


def _never_negative(draft: Draft, tensor: str) -> bool:
    producer = draft.producer(tensor)
    if producer is None:
        return False
    return producer.op == "sigmoid" or (producer.op in CLAMPED_OPS and producer.attrs.lo >= 0)
