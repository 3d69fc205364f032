"""Discovery of primitives: every module below kernels/{conv,ops,convert} with PRIMITIVES is in; there is no list."""

from __future__ import annotations

import functools
import hashlib
import importlib
import pkgutil
from pathlib import Path

from kernels.spec import OPS, Primitive, Shape

ROOT = Path(__file__).parent
_PACKAGES = ("kernels.conv", "kernels.ops", "kernels.convert")


@functools.cache
def all_primitives() -> dict[str, Primitive]:
    """Every declared primitive by name, in name order; raises ValueError on a duplicate or malformed declaration."""
    found: dict[str, Primitive] = {}
    for package_name in _PACKAGES:
        package = importlib.import_module(package_name)
        for module_info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package_name}.{module_info.name}")
            for primitive in getattr(module, "PRIMITIVES", ()):
                if primitive.name in found:
                    raise ValueError(f"primitive {primitive.name} is declared twice")
                if primitive.op not in OPS:
                    raise ValueError(f"primitive {primitive.name}: unknown operator {primitive.op!r}")
                if not (ROOT / primitive.source).is_file():
                    raise ValueError(f"primitive {primitive.name}: no file kernels/{primitive.source}")
                found[primitive.name] = primitive
    return dict(sorted(found.items()))


def get(name: str) -> Primitive:
    """The primitive of that name; KeyError names it when there is none."""
    return all_primitives()[name]


def candidates(shape: Shape) -> tuple[list[Primitive], dict[str, str]]:
    """Primitives that can compute `shape`, and the refusal reason of each other primitive of the same operator."""
    accepted: list[Primitive] = []
    refused: dict[str, str] = {}
    for primitive in all_primitives().values():
        if primitive.op != shape.op:
            continue
        reason = primitive.refusal(shape)
        if reason is None:
            accepted.append(primitive)
        else:
            refused[primitive.name] = reason
    return accepted, refused


@functools.cache
def source_hash(name: str) -> str:
    """First 16 hex digits of the SHA-256 over the primitive's C source and the project headers it includes."""
    primitive = get(name)
    digest = hashlib.sha256()
    for file in (primitive.source, *sorted(primitive.headers)):
        digest.update(file.encode() + b"\0" + (ROOT / file).read_bytes() + b"\0")
    return digest.hexdigest()[:16]
