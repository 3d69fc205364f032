"""Files converted for a peer, kept by the hash of the model and the converter's version."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import app
from app.benchmark.contender import ContenderError
from app.benchmark.peers import PeerKind
from app.benchmark.task import Tensor

TIMEOUT_S = 900.0
_SAID_LINES = 6


def python_module(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment that run one of our modules from where this one was loaded."""
    root = str(Path(app.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    # One thread for numpy: the pool of a linear algebra library that nothing uses would only take memory.
    environment = {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
    return [sys.executable, "-m", module, *arguments], environment


def converted(peer: PeerKind, model: Path, sha256: str, inputs: Sequence[Tensor], folder: Path) -> Path:
    """The folder of what `peer` reads instead of the ONNX file `model`; made below `folder` unless it is there.

    Raises ContenderError with the converter's words.
    """
    dims = ";".join(",".join(map(str, tensor.dims)) for tensor in inputs)
    made_of = [peer.name, peer.converter, sha256, dims, *(f"{k}={v}" for k, v in sorted(peer.versions().items()))]
    target = folder / f"{peer.name}-{hashlib.sha256(chr(0).join(made_of).encode()).hexdigest()[:20]}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="converting-") as scratch:
        fresh = Path(scratch) / "made"
        fresh.mkdir()
        command, environment = python_module(
            "app.benchmark.peers.convert", peer.name, str(model.resolve()), str(fresh), dims
        )
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ContenderError(f"converting the model took longer than {TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise ContenderError("; ".join(["the model cannot be converted for it", *lines[-_SAID_LINES:]]))
        try:
            shutil.move(fresh, target)
        except OSError:
            if not target.is_dir():  # another process may have made the same meanwhile
                raise
    return target
