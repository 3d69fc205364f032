"""Where the taps of a sliding window fall, along one axis."""

from __future__ import annotations


def misses_the_image(extent: int, outputs: int, *, kernel: int, stride: int, dilation: int, before: int) -> bool:
    """Whether all taps of some window fall on padding: before the image, after it, or on both sides of a narrow one."""
    for start in range(-before, outputs * stride - before, stride):
        first = -(start // dilation) if start < 0 else 0  # the first tap that is not before the image
        if first >= kernel or start + first * dilation >= extent:
            return True
    return False
