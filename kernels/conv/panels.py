"""Weights in panels of 16-channel blocks: the packing every blocked convolution here shares.

Independent of the target's vector width, so one bundle compiles for any target.
"""

from __future__ import annotations

import itertools

import numpy as np

from kernels.spec import Array, Packing, Shape

BLOCK = 16
HALF_BLOCK = 8


def blocks(channels: int) -> int:
    """Blocks of 16 that hold `channels`."""
    return -(-channels // BLOCK)


def panel_blocks(total: int, widest: int) -> list[int]:
    """Blocks of each panel: as few panels of at most `widest` as possible, sharing `total` evenly, wide ones first."""
    panels = -(-total // widest)
    return [total // panels + (i < total % panels) for i in range(panels)]


def panel_cuts(channels: int, widest: int) -> list[int]:
    """Output channels at which panels begin; any run of panels is what its channels alone would be packed into."""
    return [BLOCK * n for n in itertools.accumulate([0, *panel_blocks(blocks(channels), widest)])][:-1]


def pack_panels(rows: Array, widest: int) -> Array:
    """[k][m] to [panel][k][16 * blocks of the panel], missing channels zero; 1-D float32."""
    k, m = rows.shape
    padded = np.zeros((k, blocks(m) * BLOCK), np.float32)
    padded[:, :m] = rows
    edges = np.cumsum([0, *panel_blocks(blocks(m), widest)]) * BLOCK
    panels = [padded[:, a:b].reshape(-1) for a, b in itertools.pairwise(edges)]
    return np.ascontiguousarray(np.concatenate(panels))


def conv_lanes(channels: int, widest: int) -> list[int]:
    """Lanes of each panel of a direct convolution: whole blocks as `panel_blocks` shares them, then the channels that
    half a block holds, in the last panel if that is one block of `widest` > 1, else in a panel of 8."""
    eighths = -(-channels // HALF_BLOCK)
    lanes = [BLOCK * n for n in panel_blocks(eighths // 2, widest)] if eighths > 1 else []
    if eighths % 2:
        if lanes and lanes[-1] == BLOCK and widest > 1:
            lanes[-1] += HALF_BLOCK
        else:
            lanes.append(HALF_BLOCK)
    return lanes


def conv_packing(widest: int) -> Packing:
    """[m][c/group][kh][kw] to [group][panel][kh][kw][c/group][lanes of the panel], missing channels zero."""

    def elems(s: Shape) -> int:
        return s.group * sum(conv_lanes(s.m // s.group, widest)) * (s.c // s.group) * s.kh * s.kw

    def pack(s: Shape, weights: Array) -> Array:
        mg = s.m // s.group
        lanes = conv_lanes(mg, widest)
        rows = np.zeros((s.group, s.kh * s.kw, s.c // s.group, sum(lanes)), np.float32)
        rows[..., :mg] = weights.reshape(s.group, mg, s.c // s.group, s.kh * s.kw).transpose(0, 3, 2, 1)
        panels = list(itertools.pairwise(itertools.accumulate(lanes, initial=0)))
        return np.concatenate([group[..., a:b].reshape(-1) for group in rows for a, b in panels])

    def cuts(s: Shape) -> list[int]:
        return list(itertools.accumulate(conv_lanes(s.m, widest), initial=0))[:-1]

    return Packing(elems, pack, cuts)
