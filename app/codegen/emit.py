"""Prints a plan as the files of a bundle. Pure: no disk but the templates, no clock, no decision about the network."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import jinja2

from app.codegen import manifest, report
from app.codegen.chains import PrintedChain, printed_chain
from app.codegen.expressions import PrintedPart, constants, place, pointer, printed_part, shape_fields, shipped
from app.codegen.literals import comment, float_rows
from app.codegen.loops import operands
from app.codegen.plan import MAX_REL_ERR, Plan, Start
from app.codegen.text import bytes_text, dims_text, duration_text, shape_text
from app.schedule import Region
from kernels.spec import F32_BYTES

FileData = bytes | memoryview
"""Contents of a file; a memoryview where a copy would be hundreds of megabytes."""

POOL_BYTES, WORKER_BYTES = 768, 256
"""Room for struct ts_pool and each of its workers in the public struct, which cannot show them: their types are those
of the thread library, and C++ has no C11 atomics. The build checks that it is enough; half of it is on 64-bit Linux."""

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("app.codegen"),
    undefined=jinja2.StrictUndefined,
    autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters["comment"] = comment
_TEMPLATES.filters["bytes"] = bytes_text


@dataclass(frozen=True)
class PrintedCall:
    """One call as text: expressions for C, words for comments and the report."""

    number: str
    label: str
    summary: str
    primitive: str
    expected: str
    share: str
    workspace_text: str
    weights_text: str
    operands: tuple[str, ...]
    parts: tuple[int, ...]
    fields: tuple[str, ...]
    inputs: tuple[str, ...]
    weights: str
    bias: str
    output: str
    workspace: str
    shares: tuple[PrintedPart, ...]  # empty: the call is not shared
    is_chain: ClassVar[bool] = False


@dataclass(frozen=True)
class PrintedStart:
    """Weights packed at the start as text; `calls` read them."""

    label: str
    calls: int
    packer: str
    size: str
    fields: tuple[str, ...]
    plain: str
    packed: str


def emit(plan: Plan) -> dict[str, FileData]:
    """Every file of the bundle by its path below `<prefix>/`; the same plan gives the same bytes."""
    prefix = plan.prefix
    context = _context(plan)
    files: dict[str, FileData] = {}

    def render(path: str, template: str) -> None:
        files[path] = _TEMPLATES.get_template(f"{template}.j2").render(context).encode()

    render(f"{prefix}.h", "net.h")
    render(f"{prefix}.c", "net.c")
    if plan.weights.data.nbytes:
        if plan.weights_are_binary:
            files[f"{prefix}_weights.bin"] = plan.weights.data
            files[f"{prefix}_weights.S"] = _blob_stub(f"{prefix}_weights", plan.weights.data.nbytes)
        else:
            render(f"{prefix}_weights.c", "weights.c")
    render("kernels/ts_config.h", "ts_config.h")
    for source in plan.sources:
        files[source.path] = source.text
    vectors = b"".join(values.tobytes() for v in plan.vectors for values in (*v.inputs, *v.outputs))
    files["test/vectors.bin"] = vectors
    files["test/vectors.S"] = _blob_stub(f"{prefix}_test_vectors", len(vectors), file="vectors.bin")
    render("test/test_main.c", "test_main.c")
    for name in ("Makefile", "CMakeLists.txt", "README.md", "LICENSE", "report.html"):
        render(name, name)
    files["memory_plan.csv"] = _memory_plan(plan)
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in sorted(files.items())}
    files["manifest.json"] = manifest.render(plan, hashes)
    return files


def _context(plan: Plan) -> dict[str, Any]:
    """Everything the templates may print."""
    schedule, origin = plan.schedule, plan.provenance
    entries = list(_entries(plan))
    inputs = [
        {"parameter": parameter, "name": port.name, "dims": dims_text(port.dims), "elems": math.prod(port.dims)}
        for parameter, port in zip(plan.input_names, schedule.inputs, strict=True)
    ]
    outputs = [
        {"parameter": parameter, "name": port.name, "dims": dims_text(port.dims), "elems": math.prod(port.dims)}
        for parameter, port in zip(plan.output_names, schedule.outputs, strict=True)
    ]
    weights_bytes = plan.weights.data.nbytes
    weights_file = (
        f"{plan.prefix}_weights.{'S' if plan.weights_are_binary else 'c'}" if weights_bytes else ""
    )  # what a build compiles
    sources = [f"{plan.prefix}.c", *([weights_file] if weights_file else [])]
    sources += sorted(source.path for source in plan.sources if source.path.endswith(".c"))
    library_blobs = [(f"{plan.prefix}_weights.S", f"{plan.prefix}_weights.bin")] if plan.weights_are_binary else []
    return {
        "prefix": plan.prefix,
        "threads": plan.threads,
        "pool_bytes": POOL_BYTES + WORKER_BYTES * (plan.threads - 1),
        "P": plan.prefix.upper(),
        "graph_name": plan.graph_name,
        "version": origin.generator_version,
        "model_name": origin.model_name,
        "model_sha256": origin.model_sha256,
        "device": origin.device,
        "compiler": " ".join((origin.compiler, *origin.flags)),
        "point_id": origin.point_id,
        "optimality": _optimality(plan),
        "predicted": duration_text(plan.predicted_ns),
        "conversions": duration_text(plan.conversions_ns),
        "arena_bytes": schedule.arena_bytes,
        "align_bytes": schedule.align_bytes,
        "resident_bytes": schedule.resident_bytes,
        "starts": [_printed_start(plan, start) for start in plan.starts],
        "packers": sorted({start.packer.name for start in plan.starts}),
        "workspace_bytes": plan.workspace_bytes,
        "weights_bytes": weights_bytes,
        "weights_elems": weights_bytes // F32_BYTES,
        "io_bytes": plan.io_bytes,
        "inputs": inputs,
        "outputs": outputs,
        "parameters": [f"const float *{name}" for name in plan.input_names]
        + [f"float *{name}" for name in plan.output_names],
        "parameter_names": [*plan.input_names, *plan.output_names],
        "run_arguments": [f"in[{i}]" for i in range(len(inputs))]
        + [f"results[{o}] + GUARD_ELEMS" for o in range(len(outputs))],
        "routines": sorted({primitive.name for primitive in plan.primitives}),
        "uses_arena": any(o.region is Region.ARENA for c in schedule.calls for o in operands(c)),
        "uses_weights": any(
            bias is not None or (weights is not None and call.resident is None)
            for call, (weights, bias) in zip(schedule.calls, plan.weights.places, strict=True)
        ),
        "calls": len(schedule.calls),
        "entries": entries,
        "has_chains": any(entry.is_chain for entry in entries),
        "rows": [row for entry in entries for row in (entry.nodes if isinstance(entry, PrintedChain) else [entry])],
        "copies": [
            {"source": pointer(plan, a), "target": pointer(plan, b), "size_bytes": a.size_bytes}
            for a, b in schedule.copies
        ],
        "has_infinity": any(not math.isfinite(v) for v in _extremes(plan)),
        "items": _weight_items(plan) if weights_bytes and not plan.weights_are_binary else [],
        "vectors": len(plan.vectors),
        "max_rel_err": f"{MAX_REL_ERR:.0e}",
        "needs_libm": plan.needs_libm,
        "weights_file": weights_file,
        "weights_are_binary": plan.weights_are_binary,
        "library_sources": sources,
        "library_blobs": library_blobs,
        "objects": [source.rsplit(".", 1)[0] + ".o" for source in sources],
        "blobs": [
            (stub.replace(".S", ".o"), data) for stub, data in (*library_blobs, ("test/vectors.S", "test/vectors.bin"))
        ],
        "boxes": report.boxes(schedule),
        "picture": report.PICTURE,
    }


def _entries(plan: Plan) -> Iterator[PrintedCall | PrintedChain]:
    """The schedule from top to bottom, each chain in one piece."""
    at = 0
    for chain, calls in itertools.groupby(plan.schedule.calls, key=lambda call: call.strip.chain if call.strip else ""):
        end = at + len(list(calls))
        if chain:
            yield printed_chain(plan, at, end)
        else:
            yield from (_printed_call(plan, index) for index in range(at, end))
        at = end


def _printed_call(plan: Plan, index: int) -> PrintedCall:
    """Call `index` of the schedule, counted from 0."""
    call, primitive, parts = plan.schedule.calls[index], plan.primitives[index], plan.parts[index]
    weights, bias = constants(plan, index)
    weights_bytes = primitive.weights_bytes(call.shape, resident=call.resident is not None)
    lines = [
        f"in  {place(plan, operand)}: {dims_text(call.shape.input_dims(port))} {primitive.port_layout(port)}"
        for port, operand in enumerate(call.inputs)
    ]
    lines.append(f"out {place(plan, call.output)}: {dims_text(call.shape.output_dims)} {primitive.out_layout}")
    if call.workspace:
        lines.append(f"workspace {place(plan, call.workspace)}")
    if call.resident:
        lines.append(f"weights {place(plan, call.resident)}, packed at the start")
    return PrintedCall(
        number=str(index + 1),
        label=call.label,
        summary=shape_text(call.shape),
        primitive=primitive.name,
        expected=duration_text(call.predicted_ns),
        share=f"{100 * call.predicted_ns / max(1, plan.predicted_ns):.1f} %",
        workspace_text=bytes_text(call.workspace.size_bytes) if call.workspace else "",
        weights_text=bytes_text(weights_bytes) if weights_bytes else "",
        operands=tuple(lines),
        parts=call.shape.parts,
        fields=shape_fields(call.shape, call.attrs, primitive.pitches(call.shape)),
        inputs=tuple(pointer(plan, operand) for operand in call.inputs),
        weights=weights,
        bias=bias,
        output=pointer(plan, call.output),
        workspace=pointer(plan, call.workspace) if call.workspace else "NULL",
        shares=tuple(printed_part(primitive, part, call.attrs) for part in parts) if len(parts) > 1 else (),
    )


def _printed_start(plan: Plan, start: Start) -> PrintedStart:
    call, primitive = plan.schedule.calls[start.first], plan.primitives[start.first]
    assert call.resident is not None
    return PrintedStart(
        label=call.strip.node if call.strip else call.label,
        calls=start.calls,
        packer=start.packer.name,
        size=bytes_text(primitive.resident_bytes(call.shape)),
        fields=shape_fields(call.shape, call.attrs, primitive.pitches(call.shape)),
        plain=shipped(plan, start.first)[0],
        packed=pointer(plan, call.resident),
    )


def _extremes(plan: Plan) -> tuple[float, float]:
    floats = plan.weights.floats
    return (float(floats.min()), float(floats.max())) if floats.size else (0.0, 0.0)


def _weight_items(plan: Plan) -> list[dict[str, Any]]:
    floats = plan.weights.floats
    items = []
    for item in plan.weights.items:
        first, elems = item.offset_bytes // F32_BYTES, item.size_bytes // F32_BYTES
        rows = float_rows(floats[first : first + elems])
        items.append({"offset_elems": first, "elems": elems, "users": item.users, "rows": rows})
    return items


def _optimality(plan: Plan) -> str:
    origin = plan.provenance
    if origin.proven:
        return f"proven fastest for its {origin.memory_axis} memory"
    return f"not proven fastest: lower bound {duration_text(origin.bound_ns)}, gap {100 * origin.gap:.2f} %"


def _blob_stub(symbol: str, size_bytes: int, *, file: str | None = None) -> bytes:
    template = _TEMPLATES.get_template("blob.S.j2")
    return template.render(symbol=symbol, size_bytes=size_bytes, file=file or f"{symbol}.bin").encode()


def _memory_plan(plan: Plan) -> bytes:
    """MiniMalloc's columns; [lower, upper) counts calls from 0."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "lower", "upper", "size", "offset"))
    for buffer in plan.schedule.buffers:
        # The kind in front keeps a spreadsheet from reading a name as a formula.
        name = comment(f"{buffer.kind} {buffer.name}")
        writer.writerow((name, buffer.first, buffer.last, buffer.size_bytes, buffer.offset_bytes))
    return text.getvalue().encode()
