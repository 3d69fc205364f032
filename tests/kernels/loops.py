"""Innermost loops of an object file as objdump shows them: how much of a kernel is arithmetic, and what it spills."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# A float multiply-add, of vectors or not; a reference to the stack (optimised code keeps no frame pointer).
_MULTIPLY_ADD = {
    "aarch64": re.compile(r"fmla v\d+\.4s|fmadd s"),
    "armv7": re.compile(r"vfma\.f32 [qs]"),
    "riscv64": re.compile(r"fmadd\.s "),
}
_STACK = {
    "aarch64": re.compile(r"\[sp\b"),
    "armv7": re.compile(r"\[sp\b"),
    "riscv64": re.compile(r"\(sp\)"),
}
_VECTOR = re.compile(r"v\d+\.4s|\bq\d")
_BRANCH = re.compile(r"(b|b\.?[a-z]{2}|beqz|bnez|bgtz|bltz|blez|bgez|bl[te]u|bg[te]u|cbn?z|tbn?z|j)(\.[nw])?")
_FUNCTION = re.compile(r"[0-9a-f]+ <.+>:")
_INSTRUCTION = re.compile(r"\s+([0-9a-f]+):\t(\S+)\s*(.*)")


@dataclass(frozen=True)
class Loop:
    """Counts of one pass: instructions, multiply-adds, those of whole vectors, references to the stack."""

    instructions: int
    multiply_adds: int
    vectors: int
    stack: int


def innermost_loops(objdump: str, binary: Path, target: str) -> list[Loop]:
    """Every innermost loop that multiplies and adds; fewest instructions per multiply-add first."""
    command = [objdump, "-d", "--no-show-raw-insn", str(binary)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: list[Loop] = []
    body: list[tuple[int, str, str]] = []
    for line in [*text.splitlines(), "0 <end>:"]:
        if match := _INSTRUCTION.fullmatch(line):
            body.append((int(match[1], 16), match[2], match[3]))
        elif _FUNCTION.fullmatch(line) and not line.split("<")[1].startswith("."):  # .L labels are inside functions
            found += [_counted(loop, target) for loop in _innermost(body)]
            body = []
    loops = [loop for loop in found if loop.multiply_adds > 0]
    return sorted(loops, key=lambda loop: loop.instructions / loop.multiply_adds)


def _innermost(body: list[tuple[int, str, str]]) -> list[list[str]]:
    """The bodies between a backward branch and its target that hold no other such pair."""
    index = {address: i for i, (address, _, _) in enumerate(body)}
    pairs = []
    for i, (_, mnemonic, operands) in enumerate(body):
        to = re.search(r"([0-9a-f]+) <", operands)
        if to and _BRANCH.fullmatch(mnemonic) and index.get(int(to[1], 16), i + 1) <= i:
            pairs.append((index[int(to[1], 16)], i))
    inner = [(a, b) for a, b in pairs if not any((c, d) != (a, b) and a <= c and d <= b for c, d in pairs)]
    return [[f"{mnemonic} {operands}" for _, mnemonic, operands in body[a : b + 1]] for a, b in inner]


def _counted(lines: list[str], target: str) -> Loop:
    sums = [line for line in lines if _MULTIPLY_ADD[target].match(line)]
    return Loop(
        instructions=len(lines),
        multiply_adds=len(sums),
        vectors=sum(bool(_VECTOR.search(line)) for line in sums),
        stack=sum(bool(_STACK[target].search(line)) for line in lines),
    )
