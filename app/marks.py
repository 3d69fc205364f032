"""Arenas that other runtimes plan for known networks: measured elsewhere, shown beside a front, never part of it."""

from __future__ import annotations

from dataclasses import dataclass

from app.graph.ir import Graph
from app.graph.structure import structure_digest

MEASURED_ON = (
    "2 vCPU of an AMD EPYC (Zen 4), Debian 12, gcc 12.2; batch 1, float32, one thread; the runtime's own figure, "
    "taken in November 2026, not on this device"
)
MIB = 2**20


@dataclass(frozen=True)
class Runtime:
    """A runtime as it was measured, and what the figure it reports for activations and workspace counts."""

    name: str
    version: str
    counts: str


@dataclass(frozen=True)
class Mark:
    """What a runtime plans for a network. `arena_bytes` is its figure of three digits in MiB, as bytes."""

    runtime: str
    version: str
    network: str
    arena_bytes: int
    counts: str
    measured_on: str


RUNTIMES = (
    Runtime("IREE", "3.13.0", "transient memory of its submissions, from the compiler's statistics"),
    Runtime("TVM", "0.27.0.post1", "its static plan; on AlexNet and VGG with fully connected weights transposed in it"),
    Runtime("onnx2c", "ea045cc (2026-04-15)", "the .bss of its C: tensors as a union, weights elsewhere"),
    Runtime("MNN", "3.6.1", "memory of its session less the weights"),
)

# MiB in the order of RUNTIMES, by the structure of the network that was measured. Topologies of the onnx package
# (AlexNet, VGG-19, GoogLeNet, ResNet-50, SqueezeNet 1.1, DenseNet-121) and of torchvision (the others).
_PLANNED_MIB: dict[str, tuple[str, tuple[float, float, float, float]]] = {
    "098ba7227156a451": ("AlexNet", (3.58, 147, 2.14, 54.1)),
    "a87fde2ca413b976": ("VGG-16", (28.5, 421, 24.5, 285)),
    "978c852f71470435": ("VGG-19", (28.5, 421, 24.5, 380)),
    "a74de0f6bbabe61f": ("GoogLeNet", (8.23, 10.3, 7.28, 66.6)),
    "c5ee7ae989bcdeba": ("ResNet-18", (6.19, 7.08, 6.89, 124)),
    "e123e75b4d5cdae0": ("ResNet-50", (8.54, 14.1, 9.19, 112)),
    "aaf7dd70bb842148": ("SqueezeNet 1.1", (3.75, 6.05, 6.75, 10.9)),
    "cd8765220bb4dc66": ("MobileNetV2", (8.47, 11.7, 10.9, 5.94)),
    "7310faec7e0b1f32": ("DenseNet-121", (10.5, 9.75, 8.8, 42.7)),
}


def marks_of(graph: Graph) -> tuple[Mark, ...]:
    """What other runtimes plan for this very network, whatever its weights are; () when it was not measured."""
    network, planned = _PLANNED_MIB.get(structure_digest(graph), ("", ()))
    return tuple(
        Mark(runtime.name, runtime.version, network, round(mib * MIB), runtime.counts, MEASURED_ON)
        for runtime, mib in zip(RUNTIMES, planned, strict=False)
    )
