"""The reference of all primitives as Markdown: `python -m kernels.docs > docs/primitives.md`.

Everything in it comes from the registry; conditions and formulas are the docstrings beside the code they describe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from kernels import registry
from kernels.spec import EXACT, Primitive

_HEAD = """# Primitives

Made from the registry by `python -m kernels.docs > docs/primitives.md`; a test compares the two.

Letters are those of `kernels/spec.py`: input (c, h, w), output (m, oh, ow), kernel (kh, kw). Workspace counts floats of
4 bytes and is exact: the contract test finds the last one written. The error bound is of one call, relative to max|y|
before a fused clamp; *exact* moves data and never rounds.
"""
_COLUMNS = ("Family", "Variant", "Layouts", "Applies to", "Workspace (floats)", "Error", "Source")


def _said(primitive: Primitive, function: Callable[..., Any]) -> str:
    """First paragraph of the docstring of `function`, on one line; ValueError when there is none."""
    paragraph = (function.__doc__ or "").strip().split("\n\n")[0]
    if not paragraph:
        raise ValueError(f"{primitive.name}: {function.__qualname__} has no docstring for docs/primitives.md")
    return " ".join(paragraph.split())


def _row(primitive: Primitive) -> tuple[str, ...]:
    """The cells of a primitive but its layouts."""
    error = "exact" if primitive.max_rel_err == EXACT else f"{primitive.max_rel_err:.0e}".replace("e-0", "e-")
    applies = _said(primitive, primitive.refuses)
    workspace = _said(primitive, primitive.workspace_elems)
    return primitive.family, primitive.variant, applies, workspace, error, primitive.cite


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"


def render(primitives: Iterable[Primitive]) -> str:
    """One table per operator; primitives that differ only in their layouts share a row."""
    parts = [_HEAD]
    ordered = sorted(primitives, key=lambda p: (p.op, *_row(p), p.in_layout, p.out_layout))
    for op, of_op in groupby(ordered, key=lambda p: p.op):
        parts += [f"## {op}\n", _line(_COLUMNS), "|" + " --- |" * len(_COLUMNS)]
        for (family, variant, *rest), same in groupby(of_op, key=_row):
            layouts = ", ".join(f"{p.in_layout} → {p.out_layout}" for p in same)
            parts.append(_line((family, variant, layouts, *rest)))
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    print(render(registry.all_primitives().values()), end="")
