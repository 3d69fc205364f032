"""Finds the loops in the calls of a chain: strips that differ only by where their operands lie, by constant steps.

Nothing here knows what a strip computes: the loops follow from the calls alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.schedule import Call, Operand

LONGEST_PERIOD = 12
"""Strips in a loop's body, at most."""
LOOP_CALLS = 1
"""A loop reads as easily as its body and so many calls more."""

CallStrip = tuple[Call, ...]


@dataclass(frozen=True)
class Loop:
    """`body` executed `times` times: consecutive strips, whose first call has index `first` among the chain's.

    `advances` has for each call of the body by how much it differs from turn to turn: the bytes by which each operand
    lies further on (inputs, output, workspace), then the rows by which `Strip.first` and `Strip.end` do.
    """

    first: int
    body: tuple[CallStrip, ...]
    times: int
    advances: tuple[tuple[int, ...], ...]

    @property
    def strips(self) -> int:
        """How many strips it computes."""
        return len(self.body) * self.times

    @property
    def calls(self) -> Iterator[Call]:
        """The calls of the body, as they are in the first turn."""
        return itertools.chain.from_iterable(self.body)


def strips_of(calls: Sequence[Call]) -> tuple[CallStrip, ...]:
    """The calls of one chain by strip."""
    return tuple(
        tuple(found) for _, found in itertools.groupby(calls, key=lambda call: call.strip and call.strip.number)
    )


def operands(call: Call) -> tuple[Operand, ...]:
    """Inputs, output, workspace."""
    return (*call.inputs, call.output, *([call.workspace] if call.workspace else []))


def roll(strips: Sequence[CallStrip]) -> tuple[Loop, ...]:
    """The strips as few calls to read: single strips and loops, in order, that together are exactly these calls."""
    kinds = _numbered(tuple(map(_kind, strip)) for strip in strips)
    places = [tuple(itertools.chain.from_iterable(map(_places, strip))) for strip in strips]
    lines = [0] * (len(strips) + 1)  # fewest calls to read from here to the end
    choice: list[tuple[int, int]] = [(1, 1)] * len(strips)  # (period, times)
    for i in reversed(range(len(strips))):
        lines[i] = len(strips[i]) + lines[i + 1]
        body = 0
        for period in range(1, min(LONGEST_PERIOD, (len(strips) - i) // 2) + 1):
            body += len(strips[i + period - 1])
            times = _times(kinds, places, i, period)
            if times > 1 and body + LOOP_CALLS + lines[i + period * times] < lines[i]:
                lines[i] = body + LOOP_CALLS + lines[i + period * times]
                choice[i] = period, times
    return tuple(_loops(strips, choice))


def _loops(strips: Sequence[CallStrip], choice: Sequence[tuple[int, int]]) -> Iterator[Loop]:
    at = first = 0
    while at < len(strips):
        period, times = choice[at]
        body = tuple(strips[at : at + period])
        here = [_places(call) for strip in body for call in strip]
        if times == 1:
            advances = [(0,) * len(place) for place in here]
        else:
            after = [_places(call) for strip in strips[at + period : at + 2 * period] for call in strip]
            advances = [_difference(a, b) for a, b in zip(here, after, strict=True)]
        yield Loop(first, body, times, tuple(advances))
        first += times * len(advances)
        at += times * period


def _times(kinds: Sequence[int], places: Sequence[tuple[int, ...]], first: int, period: int) -> int:
    """How often the `period` strips from `first` on are repeated with constant steps; 1 for not at all."""
    end = first + 2 * period
    if kinds[first : first + period] != kinds[first + period : end]:
        return 1
    steps = [_difference(places[j], places[j + period]) for j in range(first, first + period)]
    while end < len(kinds):
        before = end - period
        if kinds[end] != kinds[before] or _difference(places[before], places[end]) != steps[(end - first) % period]:
            break
        end += 1
    return (end - first) // period


def _difference(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(after - before for before, after in zip(a, b, strict=True))


def _places(call: Call) -> tuple[int, ...]:
    """What a loop may change from turn to turn."""
    rows = (call.strip.first, call.strip.end) if call.strip else ()
    return (*(operand.offset_bytes for operand in operands(call)), *rows)


def _kind(call: Call) -> tuple[object, ...]:
    """What must be the same in every turn."""
    memory = tuple((operand.region, operand.index) for operand in operands(call))
    about = (call.strip.node, call.strip.note) if call.strip else call.label
    return call.primitive, call.shape, call.attrs, len(call.inputs), memory, call.weights, call.bias, about


def _numbered(items: Iterator[tuple[tuple[object, ...], ...]]) -> list[int]:
    """A number for each item, equal for equal ones."""
    known: dict[object, int] = {}
    return [known.setdefault(item, len(known)) for item in items]
