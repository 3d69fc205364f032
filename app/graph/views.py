"""What a view means: which layouts of its input are, byte for byte, which layouts of its output.

A view is given by one (view_in, view_out) pair; the same renaming of memory often holds for other pairs too (a Reshape
that keeps c holds for hwc as well as for chw), and stacked views compose through any pair they share.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.graph.ir import chw_axes
from kernels.spec import Layout, canonical

Chw = tuple[int, int, int]
Pair = tuple[Layout, Layout]

_PLAIN = (Layout.CHW, Layout.HWC)
_PAIRS: tuple[Pair, ...] = tuple(itertools.product(_PLAIN, _PLAIN))
"""Every pair, the preferred first: chw on both sides composes with the most."""

_ORDER = {Layout.CHW: (0, 1, 2), Layout.HWC: (1, 2, 0)}
"""Axes of (c, h, w) in memory, outermost first."""


def valid_pairs(source: Chw, target: Chw, pair: Pair) -> tuple[Pair, ...]:
    """Every (view_in, view_out) that describes the same renaming as `pair` does, preferred first.

    `source` and `target` are the (c, h, w) of the view's input and output.
    """
    atoms = _atoms([source[axis] for axis in _ORDER[pair[0]]], [target[axis] for axis in _ORDER[pair[1]]])
    if atoms is None:
        wanted = canonical(pair[0], *source), canonical(pair[1], *target)
        return tuple(p for p in _PAIRS if (canonical(p[0], *source), canonical(p[1], *target)) == wanted)
    source_atoms = dict(zip(_ORDER[pair[0]], atoms[0], strict=True))
    target_atoms = dict(zip(_ORDER[pair[1]], atoms[1], strict=True))
    return tuple(
        (a, b)
        for a, b in _PAIRS
        if [atom for axis in _ORDER[a] for atom in source_atoms[axis]]
        == [atom for axis in _ORDER[b] for atom in target_atoms[axis]]
    )


def _atoms(a: Sequence[int], b: Sequence[int]) -> tuple[list[list[int]], list[list[int]]] | None:
    """Number the factors of the common refinement of two axis lists of one memory; None if they interleave.

    Each axis is answered with its atoms, outermost first; axes of extent 1 have none.
    """
    found: tuple[list[list[int]], list[list[int]]] = ([[] for _ in a], [[] for _ in b])
    left = ([*a], [*b])
    at = [len(a) - 1, len(b) - 1]
    for atom in itertools.count():
        for side in (0, 1):
            while at[side] >= 0 and left[side][at[side]] == 1:
                at[side] -= 1
        if at[0] < 0 or at[1] < 0:
            return found
        extents = left[0][at[0]], left[1][at[1]]
        common = min(extents)
        if max(extents) % common:
            return None
        for side in (0, 1):
            found[side][at[side]].insert(0, atom)
            left[side][at[side]] //= common
    raise AssertionError("unreachable: the loop ends when an axis list is used up")


def compose(source: Chw, first: Pair, middle: Chw, second: Pair, target: Chw) -> Pair | None:
    """The one view that equals `first` followed by `second`, or None when they meet in no common layout."""
    firsts, seconds = valid_pairs(source, middle, first), valid_pairs(middle, target, second)
    joined = {(a, d) for (a, b), (c, d) in itertools.product(firsts, seconds) if b == c}
    return next((pair for pair in _PAIRS if pair in joined), None)


def transpose_pair(dims: Sequence[int], perm: Sequence[int]) -> Pair | None:
    """The view that equals transposing ONNX `dims` by `perm`, or None when data must move."""
    transposed = [dims[axis] for axis in perm]
    source = [[axis for axis in axes if dims[axis] > 1] for axes in chw_axes(dims)]
    target = [[perm[axis] for axis in axes if transposed[axis] > 1] for axes in chw_axes(transposed)]
    for a, b in _PAIRS:
        if [x for axis in _ORDER[a] for x in source[axis]] == [x for axis in _ORDER[b] for x in target[axis]]:
            return a, b
    return None


def rename(array: npt.NDArray[np.generic], pair: Pair, target: Chw) -> npt.NDArray[np.generic]:
    """The [c][h][w] array a view shows, given its input as a [c][h][w] array."""
    memory = array.transpose(_ORDER[pair[0]]).reshape(-1)
    ordered = memory.reshape([target[axis] for axis in _ORDER[pair[1]]])
    return ordered.transpose(np.argsort(_ORDER[pair[1]]))
