"""Passes about renaming memory: views composed, pushed down, folded away; operators that do nothing dropped."""

from __future__ import annotations

import dataclasses

import numpy as np

from app.graph import views
from app.graph.draft import Draft
from app.graph.ir import VIEW, Graph, Node, Tensor
from app.graph.passes_fold import clamps
from kernels.spec import UNARY_OPS, Layout, Shape

_ROW_MAJOR = (Layout.CHW, Layout.CHW)


def drop_noops(graph: Graph) -> Graph:
    """Remove operators of one input that hand it on unchanged."""
    draft = Draft(graph)
    for node in draft.nodes():
        if _changes_nothing(draft, node):
            draft.drop(node)
        elif node.op == "scale" and (draft.constant(node.weights) == 1).all() and not draft.constant(node.bias).any():
            # What remains of a scale by one is its clamp.
            shape = node.shape and dataclasses.replace(node.shape, op="clamp")
            draft.replace(node, op="clamp", shape=shape, weights=None, bias=None)
    return compose_views(draft.build())  # two views may have met


def _changes_nothing(draft: Draft, node: Node) -> bool:
    source, target = draft.tensor(node.inputs[0]), draft.tensor(node.output)
    if source.chw != target.chw:
        return False
    if node.op == VIEW:
        return _ROW_MAJOR in views.valid_pairs(source.chw, target.chw, (node.view_in, node.view_out))
    if node.shape is None:
        return False
    if node.op in ("pad", "concat", "upsample"):
        return True
    if node.op in ("max_pool", "avg_pool"):
        return node.shape.kh == node.shape.kw == 1
    if node.op == "slice":
        return node.shape.step == (1, 1, 1)
    if node.op == "permute":
        return views.transpose_pair((1, *source.chw), (0, *(axis + 1 for axis in node.shape.perm))) == _ROW_MAJOR
    if node.op == "clamp":
        return not clamps(node)
    if node.op in ("const_mul", "scale") and not clamps(node):
        return bool((draft.constant(node.weights) == 1).all()) and not draft.constant(node.bias).any()
    return node.op == "const_add" and not clamps(node) and not draft.constant(node.weights).any()


def compose_views(graph: Graph) -> Graph:
    """No view reads a view: two become one, or, where they meet in no common layout, one really moves the data."""
    tensors = dict(graph.tensors)
    nodes: list[Node] = []
    made: dict[str, Node] = {}  # view nodes by output; each reads a tensor that no view writes
    for node in graph.nodes:
        if node.op != VIEW:
            nodes.append(node)
            continue
        for step in _placed_view(tensors, made, node, graph):
            nodes.append(step)
            if step.op == VIEW:
                made[step.output] = step
    return dataclasses.replace(graph, nodes=tuple(nodes), tensors=tensors)


def _placed_view(tensors: dict[str, Tensor], made: dict[str, Node], view: Node, graph: Graph) -> list[Node]:
    """`view` as nodes in which no view reads a view."""
    above = made.get(view.inputs[0])
    if above is None:
        return [view]
    source, middle, target = (tensors[name].chw for name in (above.inputs[0], above.output, view.output))
    first, second = (above.view_in, above.view_out), (view.view_in, view.view_out)
    pair = views.compose(source, first, middle, second, target)
    if pair is not None:
        return [dataclasses.replace(view, inputs=above.inputs, view_in=pair[0], view_out=pair[1])]
    if _ROW_MAJOR in views.valid_pairs(middle, target, second):
        # The upper one moves the data, for this reader only; its last step is a permute or a row-major view.
        copy = _fresh(tensors, graph, f"{view.output}.moved", (1, *middle))
        steps = _moving(tensors, graph, dataclasses.replace(above, name=f"{view.name}.move", output=copy))
        rest = _placed_view(
            tensors, {s.output: s for s in steps if s.op == VIEW}, dataclasses.replace(view, inputs=(copy,)), graph
        )
        return [*steps, *rest]
    return _moving(tensors, graph, view)


def _moving(tensors: dict[str, Tensor], graph: Graph, view: Node) -> list[Node]:
    """What `view` does as real permutes around a row-major view; the first node is a permute."""
    steps: list[Node] = []
    at = view.inputs[0]

    def permute(dims: tuple[int, int, int], perm: tuple[int, int, int], output: str) -> str:
        shape = Shape("permute", *tensors[at].chw, *dims, perm=perm)
        name = f"{view.name}.permute{len(steps)}"
        steps.append(Node(name, "permute", (at,), output, shape, sources=view.sources))
        return output

    target = tensors[view.output].chw
    c, h, w = tensors[at].chw
    inner = (target[1], target[2], target[0]) if view.view_out == Layout.HWC else target
    if view.view_in == Layout.HWC:
        done = view.view_out == Layout.CHW and (h, w, c) == target
        name = view.output if done else _fresh(tensors, graph, f"{view.output}.rows", (1, h, w, c))
        at = permute((h, w, c), (1, 2, 0), name)
    if tensors[at].chw != inner:
        name = (
            view.output if view.view_out == Layout.CHW else _fresh(tensors, graph, f"{view.output}.named", (1, *inner))
        )
        plain = dataclasses.replace(view, inputs=(at,), output=name, view_in=Layout.CHW, view_out=Layout.CHW)
        steps.append(plain)
        at = name
    if view.view_out == Layout.HWC:
        permute(target, (2, 0, 1), view.output)
    return steps


def _fresh(tensors: dict[str, Tensor], graph: Graph, name: str, dims: tuple[int, ...]) -> str:
    base, n = name, 1
    while name in tensors or name in graph.tensors:
        name, n = f"{base}{n}", n + 1
    tensors[name] = Tensor.of(name, dims)
    return name


def hoist_over_views(graph: Graph) -> Graph:
    """Element-by-element operators behind views move in front of them, where they can fuse and the views can meet.

    f(view(x)) = view(f(x)). Constants are renamed the other way; where they then differ only by channel, the operator
    becomes a scale.
    """
    tensors, constants = dict(graph.tensors), dict(graph.constants)
    nodes: list[Node] = []
    producers: dict[str, Node] = {}
    for node in graph.nodes:
        above = [producers.get(name) for name in node.inputs]
        views_above = [view for view in above if view is not None and view.op == VIEW]
        for step in _hoisted(graph, tensors, constants, node, views_above) or [node]:
            nodes.append(step)
            producers[step.output] = step
    used = {name for node in nodes for name in (node.weights, node.bias)}
    constants = {name: value for name, value in constants.items() if name in used}
    hoisted = dataclasses.replace(graph, nodes=tuple(nodes), tensors=tensors, constants=constants)
    return compose_views(hoisted)  # a view that came to stand behind another meets it


def _hoisted(
    graph: Graph, tensors: dict[str, Tensor], constants: dict[str, np.ndarray], node: Node, above: list[Node]
) -> list[Node] | None:
    """The operator on the views' inputs, then the view; None if it cannot move."""
    if node.shape is None or len(above) != len(node.inputs):
        return None
    roots = [tensors[view.inputs[0]] for view in above]
    pairs = {(root.chw, view.view_in, view.view_out) for root, view in zip(roots, above, strict=True)}
    if len(pairs) != 1:
        return None
    root, view = roots[0], above[0]
    op, attrs, weights, bias = node.op, node.attrs, None, None
    if op in ("scale", "const_add", "const_mul"):
        moved = _moved_constants(constants, node, view, tensors[node.output].chw, root.chw)
        if moved is None:
            return None
        op, weights, bias = moved
    elif op not in UNARY_OPS and op not in ("add", "sub", "mul", "div"):
        return None
    name = _fresh(tensors, graph, f"{node.output}.unviewed", root.dims)
    work = dataclasses.replace(
        node,
        op=op,
        inputs=tuple(r.name for r in roots),
        output=name,
        shape=Shape(op, *root.chw, *root.chw),
        attrs=attrs,
        weights=weights,
        bias=bias,
    )
    # The fresh tensor's name makes the view's name unique too.
    viewed = dataclasses.replace(view, name=f"{name}.view", inputs=(name,), output=node.output, sources=view.sources)
    return [work, viewed]


def _moved_constants(
    constants: dict[str, np.ndarray],
    node: Node,
    view: Node,
    shown: tuple[int, int, int],
    root: tuple[int, int, int],
) -> tuple[str, str, str | None] | None:
    """Operator, weights and bias on the view's input; None if a scale there would differ within a channel."""

    def back(name: str) -> np.ndarray:
        value = constants[name]
        full = np.broadcast_to(value.reshape(-1, 1, 1) if value.size == shown[0] else value.reshape(shown), shown)
        return views.rename(full, (view.view_out, view.view_in), root)

    def per_channel(full: np.ndarray) -> np.ndarray | None:
        rows = full.reshape(root[0], -1)
        return rows[:, 0] if (rows == rows[:, :1]).all() else None

    full = back(str(node.weights))
    channels = per_channel(full)
    offsets: np.ndarray | None
    if node.op == "scale":
        offsets = per_channel(back(str(node.bias)))
        if channels is None or offsets is None:
            return None
    elif channels is None:
        return node.op, _keep(constants, str(node.weights), full), None
    elif node.op == "const_add":
        channels, offsets = np.ones_like(channels), channels
    else:
        offsets = np.zeros_like(channels)
    weights = _keep(constants, f"{node.weights}.scale", channels)
    return "scale", weights, _keep(constants, f"{node.weights}.offset", offsets)


def _keep(constants: dict[str, np.ndarray], name: str, value: np.ndarray) -> str:
    fresh, n = name, 1
    while fresh in constants:
        fresh, n = f"{name}~{n}", n + 1
    constants[fresh] = np.ascontiguousarray(value, np.float32)
    return fresh


def fold_flatten(graph: Graph) -> Graph:
    """A dense behind a view reads the view's input; its weights are renamed the same way."""
    draft = Draft(graph)
    for dense in draft.nodes():
        view = draft.producer(dense.inputs[0])
        if dense.op != "dense" or dense.shape is None or view is None or view.op != VIEW:
            continue
        root, shown = draft.tensor(view.inputs[0]).chw, draft.tensor(view.output).chw
        m = dense.shape.m
        weights = dense.weights
        if _ROW_MAJOR not in views.valid_pairs(root, shown, (view.view_in, view.view_out)):
            rows = draft.constant(dense.weights).reshape(m, *shown)
            renamed = np.stack([views.rename(row, (view.view_out, view.view_in), root).reshape(-1) for row in rows])
            weights = draft.add_constant(str(dense.weights), renamed)
        shape = Shape("dense", *root, m, 1, 1)
        draft.replace(dense, inputs=view.inputs, shape=shape, weights=weights)
    return draft.build()
