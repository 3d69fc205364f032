"""Operands, geometries and threads' shares as C text."""

from __future__ import annotations

from dataclasses import dataclass

from app.codegen.literals import float_literal
from app.codegen.plan import Plan
from app.schedule import Operand, Region, span
from kernels.spec import F32_BYTES, Attrs, Primitive, Shape
from kernels.split import Part

TURN = "k"
"""The C variable that counts a loop's turns from 0."""


@dataclass(frozen=True)
class PrintedPart:
    """A thread's share of a call as text."""

    title: str
    fields: tuple[str, ...]
    offsets: str


def printed_part(primitive: Primitive, part: Part, attrs: Attrs) -> PrintedPart:
    """A part with what differs from zero."""
    places = [f".x = {{{', '.join(map(str, part.x))}}}"]
    places += [f".{name} = {at}" for name in ("weights", "bias", "y", "workspace") if (at := getattr(part, name))]
    return PrintedPart(part.title, shape_fields(part.shape, attrs, primitive.pitches(part.shape)), ", ".join(places))


def pointer(plan: Plan, operand: Operand, step_bytes: int = 0) -> str:
    """The C expression of an operand's first float; `step_bytes` further on with each turn of a loop."""
    elems = operand.offset_bytes // F32_BYTES
    words = region(plan, operand)
    if elems or operand.region is Region.ARENA:
        words += f" + {elems}"
    return words + turns(step_bytes // F32_BYTES)


def turns(step: int) -> str:
    """What is added to a number that grows by `step` with each turn of a loop."""
    if step == 0:
        return ""
    factor = "" if abs(step) == 1 else f"{abs(step)} * "
    return f" {'+' if step > 0 else '-'} {factor}{TURN}"


def constants(plan: Plan, number: int) -> tuple[str, str]:
    """The C expressions of the weights and bias of call `number`, counted from 0."""
    weights, bias = shipped(plan, number)
    resident = plan.schedule.calls[number].resident
    return weights if resident is None else pointer(plan, resident), bias


def shipped(plan: Plan, number: int) -> tuple[str, str]:
    """The same of the weights as they are shipped, also where they are packed at the start."""
    weights, bias = (
        "NULL" if offset is None else f"w + {offset // F32_BYTES}" for offset in plan.weights.places[number]
    )
    return weights, bias


def region(plan: Plan, operand: Operand) -> str:
    """The C variable of an operand's region."""
    if operand.region is Region.ARENA:
        return "a"
    return (plan.input_names if operand.region is Region.INPUT else plan.output_names)[operand.index]


def place(plan: Plan, *operands: Operand) -> str:
    """The bytes that operands of one region occupy, for a comment."""
    first, end = span(operands)
    where = "arena" if operands[0].region is Region.ARENA else region(plan, operands[0])
    return f"{where} bytes {first}..{end - 1}"


def shape_fields(s: Shape, attrs: Attrs, pitches: tuple[int, int]) -> tuple[str, ...]:
    """Designated initialisers of struct ts_shape, a line per group; what is zero in C is left out."""
    groups = [
        [(name, getattr(s, name)) for name in ("c", "h", "w", "m", "oh", "ow")],
        [(name, getattr(s, name)) for name in ("kh", "kw", "stride_h", "stride_w", "pad_t", "pad_l", "pad_b", "pad_r")],
        [(name, getattr(s, name)) for name in ("dilation_h", "dilation_w", "group", "axis", "count_include_pad")]
        + [("n_in", s.n_in), ("x_pitch", pitches[0]), ("y_pitch", pitches[1])],
    ]
    lines = [", ".join(f".{name} = {value}" for name, value in group if value) for group in groups]
    words = [".parts = parts"] if s.parts else []
    # Only these operators have such a triple; elsewhere it would be noise.
    triples = {"slice": ("start", "step"), "pad": ("start",), "permute": ("perm",)}.get(s.op, ())
    words += [f".{name} = {{{', '.join(map(str, getattr(s, name)))}}}" for name in triples]
    lines.append(", ".join(words))
    words = [f".lo = {float_literal(attrs.lo)}", f".hi = {float_literal(attrs.hi)}"]
    words += [
        f".{name} = {float_literal(value)}"
        for name, value in (("alpha", attrs.alpha), ("beta", attrs.beta), ("gamma", attrs.gamma))
        if value
    ]
    lines.append(", ".join(words))
    return tuple(f"{line}," for line in lines if line)
