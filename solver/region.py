"""Which sums a label search wants to reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from solver.min_sums import Reals

SLACK = 1e-9  # relative; sums of doubles err by 1e-13 at most, so no reachable label is ever dropped
MOST_COMPARISONS = 4_000_000  # of labels with corners, for one sharper test
FAR = 1e17  # beyond any time or weight


class Corners:
    """The wanted region: all (time, weights) at or below at least one corner. Corners rise in time, fall in weights.

    Where added bytes are the third sum, none of the region has more than `room_bytes` of them.
    """

    def __init__(
        self,
        time_ns: Sequence[float],
        weights_bytes: Sequence[float],
        directions: Reals,
        room_bytes: float = FAR,
    ):
        self.time_ns = np.asarray(time_ns, np.float64)
        self.weights_bytes = np.asarray(weights_bytes, np.float64)
        lines = directions[:, 0, None] * self.time_ns + directions[:, 1, None] * self.weights_bytes
        if directions.shape[1] == 3:
            lines += directions[:, 2, None] * room_bytes
        # levels[i][k, c]: largest value of direction k over corners c .. c + 2^i - 1
        self.levels = [lines]
        span = 1
        while 2 * span <= lines.shape[1]:
            last = self.levels[-1]
            self.levels.append(np.maximum(last[:, :-span], last[:, span:]))
            span *= 2

    def reach(self, values: Reals) -> npt.NDArray[np.bool_]:
        """Which columns of lower bounds `values[k, n]` (row 0: time, row 1: weights) some corner may still admit."""
        if len(self.time_ns) == 1:
            admitted: npt.NDArray[np.bool_] = np.logical_and.reduce(values <= self.levels[0] * (1 + SLACK))
            return admitted
        low = np.searchsorted(self.time_ns * (1 + SLACK), values[0], side="left")
        high = np.searchsorted(-self.weights_bytes * (1 + SLACK), -values[1], side="right") - 1
        able: npt.NDArray[np.bool_] = (low <= high) & np.isfinite(values).all(axis=0)
        where = np.flatnonzero(able)
        if not len(where):
            return able
        first, last = low[where], high[where]
        level = np.frexp((last - first + 1).astype(np.float64))[1] - 1
        most = np.empty((len(values), len(where)))
        for i in np.unique(level):
            mine = level == i
            table = self.levels[i]
            most[:, mine] = np.maximum(table[:, first[mine]], table[:, last[mine] - (1 << int(i)) + 1])
        able[where] = (values[:, where] <= most * (1 + SLACK)).all(axis=0)
        return able

    def reach_together(self, values: Reals) -> npt.NDArray[np.bool_]:
        """Sharper: which columns a single corner admits by every bound, as far as comparing all pairs is cheap."""
        able = self.reach(values)
        lines = self.levels[0] * (1 + SLACK)
        where = np.flatnonzero(able)
        if len(where) * lines.shape[1] > MOST_COMPARISONS:
            return able
        meets = np.ones((len(where), lines.shape[1]), np.bool_)
        for value, line in zip(values[:, where], lines, strict=True):
            meets &= value[:, None] <= line
        able[where] = meets.any(axis=1)
        return able
