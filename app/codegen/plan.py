"""Everything a bundle says, decided and checked, as pure data: `emit` only prints it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from app.codegen.literals import check_prefix, identifiers
from app.codegen.weights import C_TEXT_LIMIT_BYTES, WeightsBlob, pack_weights
from app.errors import UserError
from app.points import Point
from app.schedule import Call, Operand, Region, Schedule, span
from kernels import registry
from kernels.spec import F32_BYTES, Packer, Primitive
from kernels.split import Part, split, workspace_bytes

FloatArray = npt.NDArray[np.float32]

MAX_REL_ERR = 1e-3
"""Largest allowed error of a whole network, relative to the largest absolute expected value of an output."""


@dataclass(frozen=True)
class Provenance:
    """Where a bundle comes from: what its manifest and report state and `emit` cannot compute.

    `compiler` and `flags` are those of the device the costs were measured on. `bound_ns` is the proven lower bound of
    the latency at this memory; `proven` says it equals the latency.
    """

    generator_version: str
    model_name: str
    model_sha256: str
    opset: int | None
    device: str
    compiler: str
    flags: tuple[str, ...]
    point_id: str
    memory_axis: str
    budget_bytes: int | None
    proven: bool
    bound_ns: int
    gap: float
    families: Mapping[str, int]
    costs_digest: str

    @classmethod
    def of_point(
        cls,
        point: Point,
        *,
        generator_version: str,
        model_name: str,
        model_sha256: str,
        opset: int | None,
        device: str,
        compiler: str,
        flags: Sequence[str],
        memory_axis: str,
        budget_bytes: int | None,
        costs_digest: str,
    ) -> Provenance:
        """The provenance of an exported point of a frontier."""
        return cls(
            generator_version=generator_version,
            model_name=model_name,
            model_sha256=model_sha256,
            opset=opset,
            device=device,
            compiler=compiler,
            flags=tuple(flags),
            point_id=point.id,
            memory_axis=memory_axis,
            budget_bytes=budget_bytes,
            proven=point.proven,
            bound_ns=point.bound_ns,
            gap=point.gap,
            families=dict(point.families),
            costs_digest=costs_digest,
        )


@dataclass(frozen=True)
class Vector:
    """One real case: inputs of the network and what the original model answered, in port order, row-major."""

    inputs: tuple[FloatArray, ...]
    outputs: tuple[FloatArray, ...]


@dataclass(frozen=True)
class SourceFile:
    """A file of the kernels folder as it was tested and timed. `path` is its place in the bundle."""

    path: str
    origin: str  # relative to the kernels folder
    text: bytes

    @property
    def sha256(self) -> str:
        """Hash of the text, equal to that of the file in the repository."""
        return hashlib.sha256(self.text).hexdigest()


@dataclass(frozen=True)
class Start:
    """Weights packed when the network starts: call `first` is the first that reads them, of `calls` in all."""

    first: int  # counted from 0
    calls: int
    packer: Packer


@dataclass(frozen=True)
class Plan:
    """A bundle before printing. `input_names` and `output_names` are the C parameter names, one per port."""

    prefix: str
    graph_name: str
    schedule: Schedule
    primitives: tuple[Primitive, ...]  # one per call
    parts: tuple[tuple[Part, ...], ...]  # of each call; a single one is the call itself
    weights: WeightsBlob
    sources: tuple[SourceFile, ...]
    source_hashes: Mapping[str, str]  # primitive -> registry.source_hash
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    vectors: tuple[Vector, ...]
    provenance: Provenance
    starts: tuple[Start, ...] = ()

    @property
    def threads(self) -> int:
        """Threads that run the network, the caller's included: as many as any call has parts."""
        return max((len(parts) for parts in self.parts), default=1)

    @property
    def weights_are_binary(self) -> bool:
        """Whether the weights are a .bin file with an assembler stub instead of C text."""
        return self.weights.data.nbytes > C_TEXT_LIMIT_BYTES

    @property
    def needs_libm(self) -> bool:
        """Whether a used primitive calls the mathematical library."""
        return any(primitive.needs_libm for primitive in self.primitives)

    @property
    def workspace_bytes(self) -> int:
        """Largest workspace of any node; that of a chain is its rolling buffers and the scratch of its calls."""
        found = 0
        for chain, calls in itertools.groupby(self.schedule.calls, key=lambda call: call.strip and call.strip.chain):
            if chain is None:
                found = max(found, *(call.workspace.size_bytes if call.workspace else 0 for call in calls))
            else:
                inner = _chain_workspace(tuple(calls))
                first, end = span(inner) if inner else (0, 0)
                found = max(found, end - first)
        return found

    @property
    def io_bytes(self) -> int:
        """Bytes of the caller's input and output buffers, which are not in the arena."""
        return F32_BYTES * sum(int(np.prod(port.dims)) for port in (*self.schedule.inputs, *self.schedule.outputs))

    @property
    def predicted_ns(self) -> int:
        """Sum of the measured costs of all calls."""
        return sum(call.predicted_ns for call in self.schedule.calls)

    @property
    def conversions_ns(self) -> int:
        """The part of `predicted_ns` spent changing layouts."""
        return sum(call.predicted_ns for call in self.schedule.calls if call.shape.op == "convert")


def _chain_workspace(calls: tuple[Call, ...]) -> list[Operand]:
    """What the calls of a chain write besides rows of its output."""
    strips = [(call.strip.node, call.strip.note) if call.strip else None for call in calls]
    inner = [call.output for call, strip in zip(calls, strips, strict=True) if strip != strips[-1]]
    return inner + [call.workspace for call in calls if call.workspace]


def make_plan(
    graph_name: str,
    constants: Mapping[str, FloatArray],
    schedule: Schedule,
    *,
    prefix: str,
    vectors: Sequence[tuple[Sequence[FloatArray], Sequence[FloatArray]]],
    provenance: Provenance,
) -> Plan:
    """Decide everything about a bundle; nothing is written.

    `vectors` are (inputs, expected outputs of the original model) pairs, at least one. Raises UserError `bad-prefix`
    or `reference-not-finite`; ValueError when schedule, constants and primitives contradict each other.
    """
    check_prefix(prefix)
    if not vectors:
        raise ValueError("a bundle needs at least one test vector: an unverified bundle is never exported")
    primitives = tuple(registry.get(call.primitive) for call in schedule.calls)
    for number, (call, primitive) in enumerate(zip(schedule.calls, primitives, strict=True), 1):
        _check_call(schedule, number, call, primitive)
    starts = tuple(_starts(schedule, primitives))
    chains = [name for name, _ in itertools.groupby(call.strip and call.strip.chain for call in schedule.calls) if name]
    if len(set(chains)) < len(chains):
        raise ValueError("other calls lie between those of a chain")
    for source, target in schedule.copies:
        _check_operand(schedule, "copy", source, source.size_bytes)
        _check_operand(schedule, "copy", target, source.size_bytes)
    if schedule.arena_bytes % schedule.align_bytes:
        raise ValueError(f"arena of {schedule.arena_bytes} bytes is not a multiple of {schedule.align_bytes}")
    # One namespace: inputs and outputs are parameters of the same function, beside its locals.
    names = identifiers(
        [port.name for port in (*schedule.inputs, *schedule.outputs)],
        taken=("n", "a", "w", "s", "x", "parts", "pool", "shares", "call", "k", prefix),
        reserved=("ts_", f"{prefix}_"),
    )
    parts = tuple(
        split(primitive, call.shape, schedule.threads)
        for call, primitive in zip(schedule.calls, primitives, strict=True)
    )
    for number, (call, found) in enumerate(zip(schedule.calls, parts, strict=True), 1):
        _check_shared(number, call, found)
    return Plan(
        prefix=prefix,
        graph_name=graph_name,
        schedule=schedule,
        primitives=primitives,
        parts=parts,
        weights=pack_weights(schedule.calls, constants),
        sources=_sources(primitives, {start.packer for start in starts}, shared=any(len(found) > 1 for found in parts)),
        source_hashes={p.name: registry.source_hash(p.name) for p in primitives},
        input_names=names[: len(schedule.inputs)],
        output_names=names[len(schedule.inputs) :],
        vectors=tuple(_vector(schedule, inputs, outputs) for inputs, outputs in vectors),
        provenance=provenance,
        starts=starts,
    )


def _check_call(schedule: Schedule, number: int, call: Call, primitive: Primitive) -> None:
    """Raise ValueError unless the call's operands are what the primitive reads and writes, inside their regions."""
    where = f"call {number} ({call.label})"
    reason = primitive.refusal(call.shape)
    if primitive.op != call.shape.op or reason is not None:
        raise ValueError(f"{where}: {primitive.name} cannot compute [{call.shape.key()}]: {reason or 'other operator'}")
    if len(call.inputs) != call.shape.n_in:
        raise ValueError(f"{where}: {len(call.inputs)} operands, {call.shape.op} takes {call.shape.n_in}")
    for port, operand in enumerate(call.inputs):
        _check_operand(schedule, where, operand, F32_BYTES * primitive.input_elems(call.shape, port))
    _check_operand(schedule, where, call.output, F32_BYTES * primitive.output_elems(call.shape))
    if call.output.region is Region.INPUT:
        raise ValueError(f"{where}: writes to a graph input")
    needed = workspace_bytes(primitive, call.shape, schedule.threads)
    if (call.workspace is not None) != (needed > 0):
        raise ValueError(f"{where}: needs {needed} bytes of workspace, planned is {call.workspace}")
    if call.workspace is not None:
        if call.workspace.region is not Region.ARENA:
            raise ValueError(f"{where}: workspace outside the arena")
        _check_operand(schedule, where, call.workspace, needed)
    if call.resident is not None:
        if primitive.packing.packer is None or call.resident.region is not Region.ARENA or call.weights is None:
            raise ValueError(f"{where}: {primitive.name} cannot read weights packed at the start from there")
        if call.resident.offset_bytes + primitive.resident_bytes(call.shape) > schedule.resident_bytes:
            raise ValueError(f"{where}: its weights lie behind the {schedule.resident_bytes} resident bytes")


def _check_shared(number: int, call: Call, parts: tuple[Part, ...]) -> None:
    """Raise ValueError if a part would overwrite what another still reads; in place, all read only what they write."""
    pitched = call.shape.x_pitch or call.shape.y_pitch  # slices of one buffer lie between one another
    for operand in call.inputs if len(parts) > 1 and not pitched else ():
        same = (operand.region, operand.index) == (call.output.region, call.output.index)
        first, second = sorted((operand, call.output), key=lambda o: o.offset_bytes)
        if same and first.offset_bytes < second.offset_bytes < first.offset_bytes + first.size_bytes:
            raise ValueError(f"call {number} ({call.label}): threads cannot share it, its output lies over its input")


def _check_operand(schedule: Schedule, where: str, operand: Operand, needed_bytes: int) -> None:
    """Raise ValueError unless `needed_bytes` fit the operand and the operand fits its region."""
    if operand.region is Region.ARENA:
        region_bytes = schedule.arena_bytes
    else:
        ports = schedule.inputs if operand.region is Region.INPUT else schedule.outputs
        region_bytes = F32_BYTES * int(np.prod(ports[operand.index].dims))
    if operand.offset_bytes % F32_BYTES or operand.offset_bytes < 0:
        raise ValueError(f"{where}: offset {operand.offset_bytes} is no multiple of a float")
    if operand.region is Region.ARENA and operand.offset_bytes < schedule.resident_bytes:
        raise ValueError(f"{where}: offset {operand.offset_bytes} lies in the {schedule.resident_bytes} resident bytes")
    if operand.size_bytes < needed_bytes or operand.offset_bytes + needed_bytes > region_bytes:
        raise ValueError(
            f"{where}: {needed_bytes} bytes at {operand.offset_bytes} do not fit an operand of {operand.size_bytes} "
            f"bytes in the {operand.region} of {region_bytes}"
        )


def _starts(schedule: Schedule, primitives: tuple[Primitive, ...]) -> Iterator[Start]:
    """What is packed at the start, in order of first use; ValueError unless that fills the resident bytes exactly."""
    readers: dict[int, list[int]] = {}
    for index, call in enumerate(schedule.calls):
        if call.resident is not None:
            readers.setdefault(call.resident.offset_bytes, []).append(index)
    end = 0
    for offset_bytes in sorted(readers):
        indices = readers[offset_bytes]
        same = {(schedule.calls[i].weights, schedule.calls[i].resident, primitives[i].packing.packer) for i in indices}
        size_bytes = primitives[indices[0]].resident_bytes(schedule.calls[indices[0]].shape)
        if len(same) > 1 or offset_bytes != end:
            raise ValueError(f"resident weights at {offset_bytes} are of several constants, or do not follow {end}")
        end += -(-size_bytes // schedule.align_bytes) * schedule.align_bytes
    if end != schedule.resident_bytes:
        raise ValueError(f"resident weights take {end} bytes, planned are {schedule.resident_bytes}")
    for indices in readers.values():
        packer = primitives[indices[0]].packing.packer
        assert packer is not None
        yield Start(indices[0], len(indices), packer)


def _sources(primitives: tuple[Primitive, ...], packers: Collection[Packer], *, shared: bool) -> tuple[SourceFile, ...]:
    """The C sources of primitives and packers and their headers, once each, flat.

    `conv/direct.c` is `kernels/conv_direct.c`. Headers keep their names, because the sources include them by name.
    """
    origins = {primitive.source for primitive in primitives} | {packer.source for packer in packers}
    headers = {header for primitive in primitives for header in primitive.headers} | {"include/ts.h"}
    headers |= {header for packer in packers for header in packer.headers}
    headers |= {"include/ts_pool.h"} if shared else set()
    paths = {origin: f"kernels/{origin.replace('/', '_')}" for origin in sorted(origins)}
    paths |= {header: f"kernels/{PurePosixPath(header).name}" for header in sorted(headers)}
    if len(set(paths.values())) != len(paths):
        raise ValueError(f"kernel files share a name: {sorted(paths)}")
    return tuple(SourceFile(path, origin, (registry.ROOT / origin).read_bytes()) for origin, path in paths.items())


def _vector(schedule: Schedule, inputs: Sequence[FloatArray], outputs: Sequence[FloatArray]) -> Vector:
    def flat(what: str, dims: tuple[int, ...], value: FloatArray) -> FloatArray:
        values = np.ascontiguousarray(value, "<f4").reshape(-1)
        if values.size != int(np.prod(dims)):
            raise ValueError(f"vector for {what} has {values.size} numbers, its dims are {dims}")
        if not np.isfinite(values).all():
            raise UserError(
                "reference-not-finite",
                f"the original model gives NaN or infinity for {what}, so no export can be compared with it",
                hint="check the model with a realistic input",
            )
        return values

    ins = tuple(flat(port.name, port.dims, v) for port, v in zip(schedule.inputs, inputs, strict=True))
    outs = tuple(flat(port.name, port.dims, v) for port, v in zip(schedule.outputs, outputs, strict=True))
    return Vector(ins, outs)
