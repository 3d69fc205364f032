"""Packed weights, read in the order in which the routines stream them."""

from __future__ import annotations

import numpy as np

from kernels.conv import panels
from kernels.spec import Array


def unpacked(packed: Array, k: int, m: int, widest: int) -> Array:
    """[k][m] read the way the tiles and products stream a group's panels."""
    columns, at = [], 0
    for blocks in panels.panel_blocks(panels.blocks(m), widest):
        lanes = blocks * panels.BLOCK
        columns.append(packed[at : at + k * lanes].reshape(k, lanes))
        at += k * lanes
    assert at == packed.size
    whole = np.concatenate(columns, axis=1)
    assert not whole[:, m:].any(), "missing channels must be zero"
    return whole[:, :m]
