"""Converts an ONNX file for runtimes that do not read it, in a process of its own.

`python -m app.benchmark.peers.convert KIND IN.onnx FOLDER DIMS`; DIMS are the inputs' dimensions, `1,3,8,8;1,4`.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx


def main(arguments: list[str]) -> None:
    """Convert, or exit with a message."""
    kind, model, folder, dims = arguments
    converters = {"ncnn": _to_ncnn, "mnn": _to_mnn}
    converters[kind](Path(model), Path(folder), [word.split(",") for word in dims.split(";")])


def _to_ncnn(model: Path, folder: Path, dims: list[list[str]]) -> None:
    proto = onnx.load_model(model, load_external_data=False)
    widen_pooling(proto)
    onnx.save_model(proto, folder / "model.onnx")
    # The package's Python module imports torch, which converting ONNX files does not need; its program is beside it.
    spec = find_spec("pnnx")
    if spec is None or spec.origin is None:
        sys.exit("pnnx is not installed")
    shapes = ",".join(f"[{','.join(dim)}]f32" for dim in dims)
    command = [str(Path(spec.origin).parent / "pnnx"), "model.onnx", "fp16=0", f"inputshape={shapes}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0 or not (folder / "model.ncnn.param").is_file():
        sys.exit(_last_lines(f"pnnx ends with status {done.returncode}", done.stderr or done.stdout))
    ignored = [line for line in done.stderr.splitlines() if line.startswith("ignore ")]
    if ignored:
        sys.exit(_last_lines("pnnx cannot convert the network to ncnn", "\n".join(ignored)))
    for file in folder.iterdir():
        if file.name not in ("model.ncnn.param", "model.ncnn.bin"):
            file.unlink()


def _to_mnn(model: Path, folder: Path, _dims: list[list[str]]) -> None:
    # The converter's module is called directly: the command `mnnconvert` reports each use over the network and installs
    # packages for that by itself.
    import MNN  # noqa: F401 - loads the library the next module needs
    from _tools import mnnconvert

    target = folder / "model.mnn"
    mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(target), "--bizCode", "bench"])
    if not target.is_file():
        sys.exit("MNN's converter wrote nothing")


def widen_pooling(proto: Any) -> None:
    """Replace, in place, every AveragePool with asymmetric pads that is a global one by GlobalAveragePool.

    pnnx does not convert asymmetric pads. The two are the same where the window sees exactly the whole input from its
    only position and padding does not count; shapes are inferred to be sure of that.
    """
    inferred = onnx.shape_inference.infer_shapes(proto)
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    dims = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    for node in proto.graph.node:
        if node.op_type != "AveragePool":
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        pads = list(attributes.get("pads", ()))
        half = len(pads) // 2
        if pads[:half] == pads[half:] or attributes.get("ceil_mode", 0):
            continue
        x, y = dims.get(node.input[0], []), dims.get(node.output[0], [])
        window = list(attributes["kernel_shape"])
        covers = all(begin == 0 and size <= k for begin, size, k in zip(pads[:half], x[2:], window, strict=False))
        counted = attributes.get("count_include_pad", 0) and window != x[2:]
        if len(x) == 2 + half and x[2:] and y[2:] == [1] * half and covers and not counted:
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]


def _last_lines(reason: str, text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join([reason, *lines[-4:]])


if __name__ == "__main__":
    main(sys.argv[1:])
