"""Invariants of the graph. A violation is a bug of an importer or a pass, never the user's mistake."""

from __future__ import annotations

import math

import numpy as np

from app.graph.ir import VIEW, Graph, Node, Tensor
from kernels.spec import BINARY_OPS, OPS, UNARY_OPS, Attrs, Layout, Shape, bias_elems, weight_elems

CLAMPED_OPS = frozenset({"conv", "dense", "scale", "const_add", "const_mul", "clamp"}) | BINARY_OPS
"""Operators whose Attrs.lo and Attrs.hi mean something."""

WINDOW_FIELDS = ("kh", "kw", "stride_h", "stride_w", "pad_t", "pad_l", "pad_b", "pad_r", "dilation_h", "dilation_w")
_USED_FIELDS: dict[str, tuple[str, ...]] = {
    "conv": (*WINDOW_FIELDS, "group", "residual"),
    "max_pool": WINDOW_FIELDS,
    "avg_pool": (*WINDOW_FIELDS, "count_include_pad"),
    "lrn": ("kh", "quarters"),
    "softmax": ("axis",),
    "concat": ("axis", "parts"),
    "slice": ("start", "step"),
    "pad": ("start",),
    "permute": ("perm",),
}


class BrokenGraph(Exception):
    """The graph breaks an invariant."""


def check(graph: Graph) -> None:
    """Raise BrokenGraph at the first violation.

    Checked: topological order and single assignment; every tensor's (c, h, w) follows from its dims; every shape fits
    its tensors and its own formulas; fields an operator does not use keep their default; constants exist, have the
    size the operator documents and are finite; views rename as many elements as they read, and never stack.
    """
    known = set()
    for name in graph.inputs:
        _require(name in graph.tensors, f"input {name} is not a tensor")
        _require(name not in known, f"input {name} is listed twice")
        known.add(name)
    for name, tensor in graph.tensors.items():
        _require(tensor == Tensor.of(name, tensor.dims), f"tensor {name}: (c, h, w) does not follow from its dims")
        _require(min(tensor.dims, default=1) > 0, f"tensor {name} is empty")
    names = set()
    for node in graph.nodes:
        _require(node.name not in names, f"two nodes are called {node.name}")
        names.add(node.name)
        for name in node.inputs:
            _require(name in known, f"node {node.name} reads {name} before it is written")
        _require(node.output in graph.tensors, f"node {node.name} writes {node.output}, which is not a tensor")
        _require(node.output not in known, f"tensor {node.output} is written twice")
        known.add(node.output)
        try:
            _check_view(graph, node) if node.op == VIEW else _check_operator(graph, node)
        except BrokenGraph as broken:
            raise BrokenGraph(f"node {node.name} ({node.op}): {broken}") from None
    for name in graph.outputs:
        _require(name in known, f"output {name} is not written")
    _require(set(graph.tensors) == known, f"tensors without a writer: {sorted(set(graph.tensors) - known)}")
    used = {name for node in graph.nodes for name in (node.weights, node.bias)}
    _require(set(graph.constants) <= used, f"constants without a reader: {sorted(set(graph.constants) - used)}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenGraph(otherwise)


def _check_view(graph: Graph, node: Node) -> None:
    _require(node.shape is None and len(node.inputs) == 1, "a view has one input and no shape")
    _require(node.weights is None and node.bias is None and node.attrs == Attrs(), "a view has no parameters")
    _require({node.view_in, node.view_out} <= {Layout.CHW, Layout.HWC}, "views are of the unblocked layouts")
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    _require(source.elems == target.elems, f"renames {source.elems} elements to {target.elems}")
    above = graph.producer(source.name)
    _require(above is None or above.op != VIEW, "reads a view")


def _check_operator(graph: Graph, node: Node) -> None:
    s = node.shape
    if s is None:
        raise BrokenGraph("has no shape")
    _require(node.op == s.op and node.op in OPS and node.op != "convert", f"shape is of {s.op}")
    _require(len(node.inputs) == s.n_in, f"has {len(node.inputs)} inputs, shape says {s.n_in}")
    for port, name in enumerate(node.inputs):
        chw = graph.tensors[name].chw
        _require(chw == s.input_dims(port), f"input {port} is {chw}, shape says {s.input_dims(port)}")
    chw = graph.tensors[node.output].chw
    _require(chw == s.output_dims, f"output is {chw}, shape says {s.output_dims}")
    plain = Shape(s.op, s.c, s.h, s.w, s.m, s.oh, s.ow)
    others = ("group", "axis", "count_include_pad", "parts", "start", "step", "perm", "residual", "quarters")
    for field in (*WINDOW_FIELDS, *others, "x_pitch", "y_pitch"):
        used = field in _USED_FIELDS.get(s.op, ())
        _require(used or getattr(s, field) == getattr(plain, field), f"sets {field}, which {s.op} does not use")
    _require(_geometry_holds(s), f"inconsistent geometry [{s.key()}]")
    _check_constant(graph, node.weights, weight_elems(s), "weights")
    _check_constant(graph, node.bias, bias_elems(s), "bias")
    a = node.attrs
    _require(s.op != "lrn" or (s.quarters == 3) == (a.beta == 0.75), f"quarters is {s.quarters}, beta {a.beta}")
    _require(a.lo <= a.hi and a.lo < math.inf and a.hi > -math.inf, f"clamps to [{a.lo}, {a.hi}]")
    _require(node.op in CLAMPED_OPS or (a.lo, a.hi) == (-math.inf, math.inf), f"{node.op} does not clamp")
    _require(all(math.isfinite(v) for v in (a.alpha, a.beta, a.gamma)), "attributes are not finite")


def _check_constant(graph: Graph, name: str | None, elems: int, role: str) -> None:
    if elems == 0:
        _require(name is None, f"takes no {role}")
        return
    _require(name is not None and name in graph.constants, f"{role} {name} are missing")
    value = graph.constants[str(name)]
    _require(value.dtype == np.float32 and value.size == elems, f"{role} {name}: {value.size} values, needs {elems}")
    _require(bool(np.isfinite(value).all()), f"{role} {name} are not finite")


def _window_outputs(extent: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> tuple[int, int]:
    """Number of windows when the last may not, and when it may, reach beyond the padding."""
    room = extent + before + after - (kernel - 1) * dilation - 1
    return room // stride + 1, -(-room // stride) + 1


def _geometry_holds(s: Shape) -> bool:
    if s.op in ("conv", "max_pool", "avg_pool"):
        rows = _window_outputs(s.h, s.kh, s.stride_h, s.dilation_h, s.pad_t, s.pad_b)
        columns = _window_outputs(s.w, s.kw, s.stride_w, s.dilation_w, s.pad_l, s.pad_r)
        if min(s.kh, s.kw, s.stride_h, s.stride_w, s.dilation_h, s.dilation_w, s.oh, s.ow) < 1:
            return False
        if min(s.pad_t, s.pad_l, s.pad_b, s.pad_r) < 0:
            return False
        if s.op == "conv":
            divides = s.group >= 1 and s.c % s.group == 0 and s.m % s.group == 0
            return divides and s.oh == rows[0] and s.ow == columns[0]
        return s.m == s.c and rows[0] <= s.oh <= rows[1] and columns[0] <= s.ow <= columns[1]
    if s.op == "dense":
        return s.oh == s.ow == 1
    source, target = (s.c, s.h, s.w), s.output_dims
    if s.op == "concat":
        joined = list(source)
        joined[s.axis] = sum(s.parts)
        return len(s.parts) > 0 and s.parts[0] == source[s.axis] and tuple(joined) == target
    if s.op == "slice":
        lasts = [start + (n - 1) * step for start, step, n in zip(s.start, s.step, target, strict=True)]
        ends = zip(s.start, lasts, source, strict=True)
        return 0 not in s.step and all(0 <= first < n and 0 <= last < n for first, last, n in ends)
    if s.op == "pad":
        return all(0 <= before <= big - n for before, n, big in zip(s.start, source, target, strict=True))
    if s.op == "permute":
        return sorted(s.perm) == [0, 1, 2] and target == tuple(source[axis] for axis in s.perm)
    if s.op == "upsample":
        return s.m == s.c and s.oh % s.h == 0 and s.ow % s.w == 0
    same = s.op in BINARY_OPS | UNARY_OPS | {"lrn", "scale", "prelu", "const_add", "const_mul", "softmax"}
    return same and target == source and s.kh >= 1 and s.axis in (0, 1, 2)
