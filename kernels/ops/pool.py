"""Maximum and mean over windows, global pooling included, in every layout."""

from collections.abc import Callable

from kernels.spec import DIRECT_ERROR, EXACT, Layout, Primitive, Shape

_STRIP = 512  # STRIP of pool.c


def _refuses(layout: Layout) -> Callable[[Shape], str | None]:
    def reason(s: Shape) -> str | None:
        """In chw, windows of at most 512 columns or as large as the image; any otherwise."""
        span = (s.kw - 1) * s.dilation_w + 1
        whole_image = (s.kh, s.kw, s.oh, s.ow) == (s.h, s.w, 1, 1)
        if layout is Layout.CHW and span > _STRIP and not whole_image:
            return f"window spans {span} columns; needs at most {_STRIP}"
        return None

    return reason


PRIMITIVES = tuple(
    Primitive(
        op,
        "window",
        layout,
        layout,
        "ops/pool.c",
        cite="ONNX operators MaxPool-12, AveragePool-19",
        refuses=_refuses(layout),
        max_rel_err=error,
        pitched=True,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_vec.h"),
    )
    for op, error in (("max_pool", EXACT), ("avg_pool", DIRECT_ERROR))
    for layout in Layout
)
