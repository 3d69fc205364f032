"""Checks the calls of chains that write over what they read, by the bytes of their operands alone.

It knows neither the plan of the strips nor the rule that allowed it (app.strips): a row that is overwritten too early
shows as a call that reads bytes the chain's result has taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from app.schedule import Call, Operand
from kernels.spec import F32_BYTES


def overwritten(calls: Sequence[Call]) -> str:
    """What is wrong with the chains among the calls of a schedule; "" when nothing is.

    The last node of a chain writes its result from the front to the back. Nobody in the chain may read what of it is
    written already; the call that writes rows may read the same bytes only as a residual, whose rows are these. Where
    the result is a slice with a pitch, others may read the channels between its own.
    """
    for name, group in itertools.groupby(calls, key=lambda call: call.strip.chain if call.strip else ""):
        chain = list(group)
        if not name:
            continue
        last = chain[-1].strip
        writers = {id(c) for c in chain if c.strip and last and c.strip.node == last.node and not c.strip.note}
        begin, end = chain[-1].output, -1
        for call in chain:
            if id(call) in writers:
                begin = call.output if end < 0 else begin
                end = call.output.offset_bytes + call.output.size_bytes
            for port, operand in enumerate(call.inputs):
                same = port > 0 and id(call) in writers and operand.offset_bytes == call.output.offset_bytes
                upto = call.output.offset_bytes if same else end
                beside = port == 0 and _beside(call, operand, chain[-1], begin)
                if not beside and _meets(operand, begin, upto):
                    return (
                        f"{call.label} reads byte {operand.offset_bytes} of {operand.region}, overwritten up to {upto}"
                    )
    return ""


def _beside(call: Call, operand: Operand, writer: Call, begin: Operand) -> bool:
    """Whether input 0 of a call and what `writer` writes from `begin` on are different channels of one buffer."""
    read, written = call.shape, writer.shape
    if not read.x_pitch or read.x_pitch != written.y_pitch:
        return False
    # All lie in hwc, where channels repeat from pixel to pixel.
    first = (operand.offset_bytes - begin.offset_bytes) // F32_BYTES % read.x_pitch
    return first >= written.m and first + read.c <= read.x_pitch


def _meets(operand: Operand, begin: Operand, end_bytes: int) -> bool:
    """Whether an operand has bytes from `begin` to `end_bytes` of the same region."""
    if (operand.region, operand.index) != (begin.region, begin.index):
        return False
    return operand.offset_bytes < end_bytes and begin.offset_bytes < operand.offset_bytes + operand.size_bytes
