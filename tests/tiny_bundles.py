"""Bundles of tiny networks without the optimiser: each node's first fitting primitive, no byte of memory reused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from app.codegen.emit import FileData, emit
from app.codegen.plan import Plan, Provenance, make_plan
from app.graph.ir import Graph, Node, Tensor
from app.schedule import Call, Operand, PlannedBuffer, Port, Region, Schedule
from kernels import reference, registry
from kernels.spec import Array, Attrs, Layout, Primitive, Shape, bias_elems, weight_elems
from kernels.split import workspace_bytes

ALIGN_BYTES = 64

PROVENANCE = Provenance(
    generator_version="0.0",
    model_name="tiny.onnx",
    model_sha256="0" * 64,
    opset=17,
    device="host",
    compiler="gcc 12",
    flags=("-O3",),
    point_id="pt_1",
    memory_axis="arena",
    budget_bytes=None,
    proven=True,
    bound_ns=0,
    gap=0.0,
    families={},
    costs_digest="0",
)


def conv(
    c: int, h: int, w: int, m: int, k: int = 3, *, stride: int = 1, pad: int | None = None, group: int = 1
) -> Shape:
    """A square convolution; `pad` keeps the size unless given."""
    pad = k // 2 if pad is None else pad
    oh, ow = (h + 2 * pad - k) // stride + 1, (w + 2 * pad - k) // stride + 1
    pads = {"pad_t": pad, "pad_l": pad, "pad_b": pad, "pad_r": pad}
    return Shape("conv", c, h, w, m, oh, ow, kh=k, kw=k, stride_h=stride, stride_w=stride, group=group, **pads)


def graph(
    inputs: Sequence[tuple[str, tuple[int, int, int]]],
    nodes: Sequence[tuple[str, Shape, tuple[str, ...], Attrs]],
    outputs: Sequence[str],
    *,
    seed: int = 0,
) -> Graph:
    """A graph of (output name, shape, input names, attrs) nodes, random weights; nodes are named after outputs."""
    rng = np.random.default_rng(seed)
    tensors = {name: Tensor(name, (1, *chw), *chw) for name, chw in inputs}
    constants: dict[str, Array] = {}
    made = []
    for output, shape, sources, attrs in nodes:
        names = {}
        for role, elems in (("weights", weight_elems(shape)), ("bias", bias_elems(shape))):
            if elems:
                names[role] = f"{output}.{role}"
                constants[names[role]] = rng.normal(0, elems**-0.5 if role == "weights" else 1, elems).astype(
                    np.float32
                )
        tensors[output] = Tensor(output, (1, *shape.output_dims), *shape.output_dims)
        made.append(
            Node(output, shape.op, tuple(sources), output, shape, attrs, names.get("weights"), names.get("bias"))
        )
    return Graph("tiny", tuple(n for n, _ in inputs), tuple(outputs), tensors, tuple(made), constants)


def first_chw(shape: Shape) -> Primitive:
    """The first primitive, in name order, that computes `shape` from chw to chw."""
    accepted, _ = registry.candidates(shape)
    return next(p for p in accepted if p.in_layout is p.out_layout is Layout.CHW)


def schedule(net: Graph, choose: Callable[[Shape], Primitive] = first_chw, threads: int = 1) -> Schedule:
    """Every tensor, copy and workspace at its own place; conversions wherever the chosen layouts differ."""
    places: dict[tuple[str, Layout], Operand] = {}
    calls: list[Call] = []
    buffers: list[PlannedBuffer] = []
    arena_bytes = 0

    def place(name: str, kind: str, size_bytes: int) -> Operand:
        nonlocal arena_bytes
        operand = Operand(Region.ARENA, 0, arena_bytes, size_bytes)
        rounded = -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES
        buffers.append(PlannedBuffer(name, kind, rounded, len(calls), len(calls) + 1, arena_bytes))
        arena_bytes += rounded
        return operand

    def add(node: Node, shape: Shape, primitive: Primitive, inputs: tuple[Operand, ...], output: Operand, label: str):
        needed = workspace_bytes(primitive, shape, threads)
        workspace = place(label, "workspace", needed) if needed else None
        calls.append(
            Call(label, primitive.name, shape, node.attrs, inputs, output, workspace, node.weights, node.bias, 1000)
        )

    def converted(tensor: str, source: Layout, target: Layout) -> Operand:
        c, h, w = net.tensors[tensor].chw
        shape = Shape("convert", c, h, w, c, h, w)
        wanted = (p for p in registry.candidates(shape)[0] if (p.in_layout, p.out_layout) == (source, target))
        label = f"convert {tensor} to {target}"
        node = Node(label, "convert", (tensor,), tensor, shape)
        output = destination(tensor, target, "copy")
        add(node, shape, next(wanted), (places[tensor, source],), output, label)
        places[tensor, target] = output
        return output

    def destination(tensor: str, layout: Layout, kind: str) -> Operand:
        if tensor in net.outputs and layout is Layout.CHW:
            return Operand(Region.OUTPUT, net.outputs.index(tensor), 0, layout.bytes(*net.tensors[tensor].chw))
        return place(tensor, kind, layout.bytes(*net.tensors[tensor].chw))

    def read(tensor: str, layout: Layout) -> Operand:
        if (tensor, layout) in places:
            return places[tensor, layout]
        written = next(have for name, have in places if name == tensor)
        return converted(tensor, written, layout)

    for index, name in enumerate(net.inputs):
        size = Layout.CHW.bytes(*net.tensors[name].chw)
        places[name, Layout.CHW] = Operand(Region.INPUT, index, 0, size)
    for node in net.nodes:
        assert node.shape is not None, "views have no primitive"
        primitive = choose(node.shape)
        inputs = tuple(read(name, primitive.in_layout) for name in node.inputs)
        output = destination(node.output, primitive.out_layout, "output")
        add(node, node.shape, primitive, inputs, output, node.name)
        places[node.output, primitive.out_layout] = output
    for name in net.outputs:
        read(name, Layout.CHW)
    return Schedule(
        inputs=tuple(Port(n, net.tensors[n].dims) for n in net.inputs),
        outputs=tuple(Port(n, net.tensors[n].dims) for n in net.outputs),
        calls=tuple(calls),
        buffers=tuple(buffers),
        arena_bytes=arena_bytes,
        align_bytes=ALIGN_BYTES,
        threads=threads,
    )


def answers(net: Graph, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """The network's outputs by the float64 definition of its operators."""
    values = dict(zip(net.inputs, (np.asarray(x, np.float64) for x in inputs), strict=True))
    for node in net.nodes:
        values[node.output] = reference.compute(
            node.shape,
            node.attrs,
            [values[name] for name in node.inputs],
            net.constants[node.weights] if node.weights else None,
            net.constants[node.bias] if node.bias else None,
        )
    return tuple(values[name].astype(np.float32) for name in net.outputs)


def vectors(net: Graph, count: int = 2, *, seed: int = 1) -> list[tuple[tuple[Array, ...], tuple[Array, ...]]]:
    """Random inputs with their true answers."""
    rng = np.random.default_rng(seed)
    cases = []
    for _ in range(count):
        inputs = tuple(rng.normal(size=net.tensors[name].chw).astype(np.float32) for name in net.inputs)
        cases.append((inputs, answers(net, inputs)))
    return cases


def plan(
    net: Graph,
    choose: Callable[[Shape], Primitive] = first_chw,
    *,
    prefix: str = "net",
    count: int = 2,
    threads: int = 1,
) -> Plan:
    """The plan of `net`'s naive schedule."""
    return make_plan(
        net.name,
        net.constants,
        schedule(net, choose, threads),
        prefix=prefix,
        vectors=vectors(net, count),
        provenance=PROVENANCE,
    )


def files(
    net: Graph, choose: Callable[[Shape], Primitive] = first_chw, *, prefix: str = "net", threads: int = 1
) -> dict[str, FileData]:
    """The emitted bundle of `net`'s naive schedule."""
    return emit(plan(net, choose, prefix=prefix, threads=threads))


def two_convolutions() -> Graph:
    """3x9x7 -> 8 channels with ReLU -> 5 channels, stride 2: the smallest network with an arena."""
    relu = Attrs(lo=0.0)
    return graph(
        [("image", (3, 9, 7))],
        [("hidden", conv(3, 9, 7, 8), ("image",), relu), ("scores", conv(8, 9, 7, 5, stride=2), ("hidden",), Attrs())],
        ["scores"],
    )


def plain(shape: Shape) -> Primitive:
    """The plain loops for convolutions, the first chw primitive for the rest: quick to compile."""
    accepted, _ = registry.candidates(shape)
    return next((p for p in accepted if p.variant == "plain"), None) or first_chw(shape)
