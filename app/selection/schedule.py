"""From a stored point back to C calls with operands at offsets. Needs graph and registry; no costs, no solver run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from app.candidates import Candidates, list_candidates
from app.chains import Chain, layer_primitives
from app.errors import UserError
from app.graph.ir import Graph, Node
from app.links import ConversionStep
from app.options import RESULT, NodeOption, plain
from app.order import in_order
from app.points import Point
from app.schedule import Call, Operand, PlannedBuffer, Port, Region, Schedule, Strip
from app.selection.overwriting import overwritten
from app.selection.problem import Built, build_problem, selection_of
from app.sites import ALIGN_BYTES, mover
from app.slices import Slice, buffer_of
from app.strips import BESIDE, INPUT, StripCall, StripMove
from kernels.spec import F32_BYTES, Attrs, Layout, Primitive, Shape
from solver import problem as sp

Place = tuple[str, str, int | None]  # kind, node, port of app.points.PlacedBuffer

KEPT = "kept for the next strip"
STAGED = "of its input copied, to be overwritten"
"""What a call does with the rows it moves inside a rolling buffer, and into the first one."""


@dataclass
class _Writer:
    """Walks a selection in execution order and writes down calls; keeps where every storage lies."""

    graph: Graph
    point: Point
    built: Built
    selection: sp.Selection

    def __post_init__(self) -> None:
        self.offsets = {(b.kind, b.node, b.port): b for b in self.point.buffers}
        self.times = {layer.node: layer for layer in self.point.layers}
        self.conversion_ns = {(c.consumer, c.port, c.primitive): c.time_ns for c in self.point.conversions}
        self.storage: dict[int, Operand] = {}
        self.place_of = {
            link.tensor: edge.src for edge, link in zip(self.built.problem.edges, self.built.links, strict=True)
        }
        self.wholes: dict[str, Operand] = {}  # buffers of slices
        self.calls: list[Call] = []
        self.copies: list[tuple[Operand, Operand]] = []
        self.call_of_step: list[int] = []  # index of the first call at or after each step

    def option(self, node: int) -> sp.Option:
        return self.built.problem.nodes[node].options[self.selection.options[node]]

    def arena(self, place: Place, size_bytes: int) -> Operand:
        return Operand(Region.ARENA, 0, self.offsets[place].offset_bytes, size_bytes)

    def write(self) -> None:
        edges_of: dict[int, list[int]] = {}
        for e, edge in enumerate(self.built.problem.edges):
            edges_of.setdefault(edge.dst, []).append(e)
        for v in range(len(self.built.problem.nodes)):
            operands = [self.read(e) for e in edges_of.get(v, [])]
            self.call_of_step.append(len(self.calls))
            self.run(v, operands)
        self.call_of_step.append(len(self.calls))

    def read(self, e: int) -> Operand:
        """The operand edge `e` delivers, after the conversions it needs."""
        edge, link = self.built.problem.edges[e], self.built.links[e]
        have, want = self.option(edge.src).out_layout, self.option(edge.dst).in_layouts[edge.port]
        steps = self.built.candidates.steps(link, have, want)
        source = self.storage[edge.src]
        if not steps:
            return source
        self.call_of_step.append(len(self.calls))
        consumer = self.built.labels[edge.dst]
        for number, step in enumerate(steps):
            last = number == len(steps) - 1
            size_bytes = step.bytes
            if not last:
                target = self.arena(("workspace", consumer, edge.port), size_bytes)
            elif link.consumer is None:
                target = Operand(Region.OUTPUT, link.port, 0, size_bytes)
            else:
                target = self.arena(("copy", consumer, edge.port), size_bytes)
            time_ns = self.conversion_ns[consumer, edge.port, step.primitive.name]
            self.calls.append(_conversion_call(step, source, target, f"{link.tensor} for {consumer}", time_ns))
            source = target
        return source

    def run(self, v: int, operands: list[Operand]) -> None:
        node, label = self.built.operators[v], self.built.labels[v]
        if node is None:
            self.pass_through(v, operands)
            return
        assert node.shape is not None
        option = self.built.options[v][self.selection.options[v]]
        if option.site is not None and option.chain is None:
            self.storage[v] = operands[option.in_place or 0]  # the chain's input, if this node holds it
            return
        output = self.output(v, node, option, operands)
        self.storage[v] = output
        if option.chain is not None:
            self.run_chain(option.chain, operands, output)
            return
        for number, (call, time_ns) in enumerate(zip(option.calls, self.times[label].call_ns, strict=True)):
            workspace_bytes = call.primitive.workspace_bytes(call.shape)
            self.calls.append(
                Call(
                    label=label if number == 0 else f"{label}, then {call.shape.op}",
                    primitive=call.primitive.name,
                    shape=call.shape,
                    attrs=option.attrs_of(number, node.attrs),
                    inputs=tuple(output if port == RESULT else operands[port] for port in call.reads),
                    output=output,
                    workspace=self.arena(("workspace", label, None), workspace_bytes) if workspace_bytes else None,
                    weights=node.weights if number == 0 else None,
                    bias=node.bias if number == 0 else None,
                    predicted_ns=time_ns,
                    resident=self.arena(("resident", label, None), option.resident_bytes)
                    if option.resident and number == 0
                    else None,
                )
            )

    def residents(self, chain: Chain) -> dict[int, Operand]:
        """Where the weights of a chain's nodes lie that are packed at the start."""
        found: dict[int, Operand] = {}
        for layer in chain.resident:
            whole = self.arena(("resident", chain.site.nodes[-1].name, None), chain.layer_resident_bytes(layer))
            skip_bytes = sum(-(-before.size_bytes // ALIGN_BYTES) * ALIGN_BYTES for before in found.values())
            found[layer] = dataclasses.replace(whole, offset_bytes=whole.offset_bytes + skip_bytes)
        return found

    def run_chain(self, chain: Chain, operands: list[Operand], output: Operand) -> None:
        """The calls of a chain; `operands` are those of its last node."""
        site, plan = chain.site, chain.site.plan
        last = len(plan.shapes) - 1
        base = self.arena(("workspace", site.nodes[-1].name, None), chain.workspace_bytes)
        given = operands[0] if len(site.nodes) == 1 else self.storage[self.place_of[site.source]]
        times = {node.name: iter(self.times[node.name].call_ns) for node in site.nodes}
        residents = self.residents(chain)

        def inside(whole: Operand, skip_bytes: int, size_elems: int) -> Operand:
            return dataclasses.replace(
                whole, offset_bytes=whole.offset_bytes + skip_bytes, size_bytes=F32_BYTES * size_elems
            )

        def held(layer: int, row: int, size_elems: int) -> Operand:
            """Rows of a layer from `row` of its buffer on, or of the output."""
            joined, channel = plan.places[layer]
            shape = plan.shapes[joined]
            whole = output if joined == last else inside(base, site.buffer_offsets[joined], 0)
            return inside(whole, F32_BYTES * (row * site.pitch_of(joined) * shape.ow + channel), size_elems)

        def read(call: StripCall, shape: Shape, port: int, size_elems: int) -> Operand:
            source, row = plan.sources[call.layer][port], call.input_rows[port]
            if source >= 0:
                return held(source, row, size_elems)
            c, _, w = shape.input_dims(port)
            # A row of chw is one of each plane; the others follow at the pitch of the whole image.
            of_row = w if source == INPUT and site.reads_planes(call.layer) else c * w
            if source == INPUT and site.x_pitch:
                of_row = site.x_pitch * w
            return inside(operands[port] if source == BESIDE else given, F32_BYTES * row * of_row, size_elems)

        for step in plan.steps:
            node, whole_shape, move = site.node_of(step.layer), plan.shapes[step.layer], mover()
            if isinstance(step, StripMove):
                shape = site.copy_shape(step)
                assert shape is not None
                size_elems = move.output_elems(shape)
                strip = Strip(site.name, step.strip, node.name, whole_shape, step.first, step.first + step.rows, KEPT)
                inputs, target = [held(step.layer, step.row, size_elems)], held(step.layer, step.to, size_elems)
                self.add(move, shape, inputs, target, next(times[node.name]), strip)
                continue
            staged = step.layer < site.staged
            primitive = move if staged else chain.primitives[step.layer - site.staged]
            assert primitive is not None
            shape = site.call_shape(step)
            strip = Strip(site.name, step.strip, node.name, whole_shape, step.first, step.end, STAGED if staged else "")
            inputs = [read(step, shape, port, primitive.input_elems(shape, port)) for port in range(shape.n_in)]
            target = held(step.layer, step.output_row, primitive.output_elems(shape))
            scratch_bytes = primitive.workspace_bytes(shape)
            scratch = inside(base, site.buffer_offsets[-1], scratch_bytes // F32_BYTES) if scratch_bytes else None
            worker = None if staged else node
            resident = None if staged else residents.get(step.layer - site.staged)
            self.add(primitive, shape, inputs, target, next(times[node.name]), strip, scratch, worker, resident)

    def add(
        self,
        primitive: Primitive,
        shape: Shape,
        inputs: list[Operand],
        output: Operand,
        predicted_ns: int,
        strip: Strip,
        workspace: Operand | None = None,
        node: Node | None = None,
        resident: Operand | None = None,
    ) -> None:
        """A call of a chain: of a routine of `node`, or a copy of rows."""
        self.calls.append(
            Call(
                label=strip.label,
                primitive=primitive.name,
                shape=shape,
                attrs=node.attrs if node else Attrs(),
                inputs=tuple(inputs),
                output=output,
                workspace=workspace,
                weights=node.weights if node else None,
                bias=node.bias if node else None,
                predicted_ns=predicted_ns,
                strip=strip,
                resident=resident,
            )
        )

    def output(self, v: int, node: Node, option: NodeOption, operands: list[Operand]) -> Operand:
        """Where a node's output lies."""
        if option.cuts:
            piece, whole = self.built.candidates.pieces[node.name][option.out_layout], operands[0]
            offset_bytes = whole.offset_bytes + piece.offset_bytes
            return dataclasses.replace(whole, offset_bytes=offset_bytes, size_bytes=piece.size_bytes)
        place = self.built.candidates.slices.get(node.name, {}).get(option.out_layout)
        if place is not None:
            whole = self.whole(place, node.name)
            return Operand(whole.region, whole.index, whole.offset_bytes + place.offset_bytes, place.size_bytes)
        if option.joins:
            return self.wholes[buffer_of(option.in_layouts[0])]
        size_bytes = plain(option.out_layout).bytes(*self.graph.tensors[node.output].chw)
        if option.in_place is not None:
            return dataclasses.replace(operands[option.in_place], size_bytes=size_bytes)
        if self.built.problem.nodes[v].out_bytes[option.out_layout] == 0:
            return Operand(Region.OUTPUT, self.served_output(v, option.out_layout), 0, size_bytes)
        return self.arena(("output", node.name, None), size_bytes)

    def whole(self, place: Slice, node: str) -> Operand:
        """The buffer `place` is a slice of; it lies where the first of its slices was placed."""
        if place.buffer not in self.wholes:
            self.wholes[place.buffer] = (
                self.arena(("output", node, None), place.whole_bytes)
                if place.output is None
                else Operand(Region.OUTPUT, place.output, 0, place.whole_bytes)
            )
        return self.wholes[place.buffer]

    def pass_through(self, v: int, operands: list[Operand]) -> None:
        """A graph input stands for the caller's buffer; a graph output is copied if nothing wrote it directly.

        A step of a hold leaves what it reads where it is.
        """
        if not operands:
            index = next(i for i, name in enumerate(self.graph.inputs) if f"input {name}" == self.built.labels[v])
            c, h, w = self.graph.tensors[self.graph.inputs[index]].chw
            self.storage[v] = Operand(Region.INPUT, index, 0, Layout.CHW.bytes(c, h, w))
            return
        link = next(link for e, link in zip(self.built.problem.edges, self.built.links, strict=True) if e.dst == v)
        if link.consumer is not None:  # a hold
            self.storage[v] = operands[0]
            return
        target = Operand(Region.OUTPUT, link.port, 0, operands[0].size_bytes)
        if operands[0] != target:
            self.copies.append((operands[0], target))

    def served_output(self, v: int, layout: str) -> int:
        """The graph output that node `v` writes directly: the first one that is its result byte for byte."""
        for edge, link in zip(self.built.problem.edges, self.built.links, strict=True):
            if edge.src == v and link.consumer is None and not link.steps(plain(layout), Layout.CHW):
                return link.port
        raise AssertionError("zero out_bytes without a graph output")

    def buffers(self) -> Iterator[PlannedBuffer]:
        for buffer in self.point.buffers:
            port = "" if buffer.port is None else f":{buffer.port}"
            yield PlannedBuffer(
                name=f"{buffer.node}{port}",
                kind=buffer.kind,
                size_bytes=buffer.size_bytes,
                first=self.call_of_step[buffer.first],
                last=self.call_of_step[buffer.last],
                offset_bytes=buffer.offset_bytes,
            )


def make_schedule(graph: Graph, point: Point, *, threads: int = 1) -> Schedule:
    """The calls of `point` on `graph`, shared by up to `threads` threads: as many as its costs were measured with.

    Raises UserError `point-stale` when the registry no longer offers a primitive the point uses, ValueError when a
    chain would overwrite rows that are still to be read.
    """
    try:
        built = build_problem(_candidates_of(graph, point, threads), lambda _key: 0)
        selection = selection_of(built, {layer.node: layer.option for layer in point.layers})
    except (KeyError, ValueError) as error:
        raise UserError(
            "point-stale",
            f"point {point.id} uses a primitive that is no longer offered: {error.args[0]}",
            hint="trace the front again",
        ) from None
    writer = _Writer(graph, point, built, selection)
    writer.write()
    if fault := overwritten(writer.calls):
        raise ValueError(f"point {point.id}: {fault}")
    return Schedule(
        inputs=tuple(Port(name, graph.tensors[name].dims) for name in graph.inputs),
        outputs=tuple(Port(name, graph.tensors[name].dims) for name in graph.outputs),
        calls=tuple(writer.calls),
        buffers=tuple(writer.buffers()),
        arena_bytes=point.arena_bytes,
        align_bytes=built.problem.align_bytes,
        copies=tuple(writer.copies),
        threads=threads,
        resident_bytes=point.resident_bytes,
    )


def _candidates_of(graph: Graph, point: Point, threads: int) -> Candidates:
    """What the point runs, and nothing else; KeyError when something of it is no longer offered."""
    in_chains = {layer.strips for layer in point.layers if layer.strips}
    # A point lists its layers in the order they run, which need not be the file's.
    offered = list_candidates(graph, threads=threads, chains=in_chains)
    candidates = in_order(offered, [layer.node for layer in point.layers])
    if point.resident_bytes:
        candidates = candidates.with_residents()
    options = {}
    for layer in point.layers:
        options[layer.node] = candidates.options[layer.node]
        if layer.strips:
            continue  # a chain writes the slices that its last node knows by itself
        options[layer.node] = tuple(option for option in options[layer.node] if option.key == layer.option)
        if not options[layer.node]:
            raise KeyError(f"{layer.node}: {layer.option}")
    return dataclasses.replace(candidates, options=options, chains=tuple(_chains_of(candidates, point)))


def _chains_of(candidates: Candidates, point: Point) -> Iterator[Chain]:
    """The chains a point runs; KeyError when a site or a primitive of it is no longer offered."""
    chosen = {layer.node: layer for layer in point.layers}
    sites = {site.name: site for site in candidates.sites}
    for name in dict.fromkeys(layer.strips for layer in point.layers if layer.strips):
        if name not in sites:
            raise KeyError(f"chain {name}")
        site, primitives = sites[name], []
        for layer, node in enumerate(site.nodes):
            offered = {p.name: p for p in layer_primitives(site, layer) if p is not None}
            primitives.append(offered[chosen[node.name].primitive] if offered else None)
        resident = [layer for layer, node in enumerate(site.nodes) if chosen[node.name].resident_bytes]
        yield Chain(site, tuple(primitives), tuple(resident))


def _conversion_call(step: ConversionStep, source: Operand, target: Operand, label: str, time_ns: int) -> Call:
    return Call(
        label=f"convert {label}",
        primitive=step.primitive.name,
        shape=step.shape,
        attrs=Attrs(),
        inputs=(source,),
        output=target,
        workspace=None,
        weights=None,
        bias=None,
        predicted_ns=time_ns,
    )
