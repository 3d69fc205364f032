"""Files by content: `<folder>/<kind>/<sha256><suffix>`, written once, readable by their owner only."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

SUFFIXES = {"models": ".onnx", "bundles": ".zip", "vectors": ".npy"}


class BlobStore:
    """Content-addressed files of the kinds in SUFFIXES. A file is complete or absent."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, kind: str, sha256: str) -> Path:
        """Where content with this hash lies, whether or not it is there."""
        return self.folder / kind / f"{sha256}{SUFFIXES[kind]}"

    def put(self, kind: str, data: bytes) -> str:
        """Store `data` and return its SHA-256; storing the same bytes again changes nothing."""
        sha256 = hashlib.sha256(data).hexdigest()
        target = self.path(kind, sha256)
        if target.exists():
            return sha256
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=target.parent)  # created with mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return sha256

    def get(self, kind: str, sha256: str) -> bytes:
        """The bytes; FileNotFoundError when they are gone, ValueError when they were altered."""
        data = self.path(kind, sha256).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError(f"{self.path(kind, sha256)} does not hold what its name says")
        return data

    def remove(self, kind: str, sha256: str) -> None:
        """Forget the content; nothing happens when it is not there."""
        self.path(kind, sha256).unlink(missing_ok=True)
