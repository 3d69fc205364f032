"""The runtimes a bundle is compared with. Only this package loads them, each in a process of its own.

`worker` is that process; it imports one of the `*_peer` modules, which name what must be installed. `convert` makes the
files of runtimes that do not read ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

EXTRA = "pip install 'tradespace[bench]'"


@dataclass(frozen=True)
class PeerKind:
    """A runtime. `distributions`: Python packages it needs, itself first.

    `converter` is the version of our conversion for it, "" when it reads the ONNX file itself; another version retires
    converted files.
    """

    name: str
    distributions: tuple[str, ...]
    settings: str  # how it is set up, for the reader of a table
    converter: str = ""

    def missing(self) -> tuple[str, ...]:
        """What is not installed of `distributions`."""
        return tuple(name for name in self.distributions if _version(name) is None)

    def versions(self) -> dict[str, str]:
        """Version of each installed distribution."""
        found = {name: _version(name) for name in self.distributions}
        return {name: version for name, version in found.items() if version is not None}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


_ALL = (
    PeerKind("onnxruntime", ("onnxruntime",), "all graph optimisations, sequential, input and output bound"),
    PeerKind("openvino", ("openvino",), "f32, latency hint, one stream, input tensor shared"),
    PeerKind(
        "ncnn",
        ("ncnn", "pnnx"),
        "pnnx fp16=0; fp16, bf16 and int8 options off, packing, sgemm and Winograd on, light mode",
        converter="1",
    ),
    PeerKind("mnn", ("mnn",), "CPU, precision high (float32), memory normal, power high", converter="1"),
)

PEERS: dict[str, PeerKind] = {peer.name: peer for peer in _ALL}
"""Every runtime we can be compared with, by name, in the order of the tables."""
