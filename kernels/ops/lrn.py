"""Local response normalisation across channels, in every layout."""

from collections.abc import Callable

from kernels.spec import Layout, Primitive, Shape

_MARGIN = 16  # MARGIN of lrn.c


def _refuses(layout: Layout) -> Callable[[Shape], str | None]:
    def reason(s: Shape) -> str | None:
        """Windows of at most 33 channels, any in chw."""
        if layout is not Layout.CHW and s.kh // 2 > _MARGIN:
            return f"window of {s.kh} channels; needs at most {2 * _MARGIN + 1}"
        return None

    return reason


PRIMITIVES = tuple(
    Primitive(
        "lrn",
        "across",
        layout,
        layout,
        "ops/lrn.c",
        cite="Krizhevsky, Sutskever, Hinton 2012, sec. 3.3; ONNX LRN-13",
        refuses=_refuses(layout),
        pitched=True,
        needs_libm=True,
        headers=("include/ts.h", "include/ts_blocks.h", "include/ts_vec.h"),
    )
    for layout in Layout
)
