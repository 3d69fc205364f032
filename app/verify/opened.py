"""A bundle on disk, read with suspicion: safe names, bounded sizes, every hash of its manifest checked."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from app.errors import Item, UserError

FloatArray = npt.NDArray[np.float32]
Cases = list[tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]]

MOST_BYTES = 4 << 30
MOST_FILES = 2_000
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)+")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


@dataclass(frozen=True)
class Tensor:
    """An input or output as the manifest states it."""

    name: str
    elems: int


@dataclass(frozen=True)
class OpenedBundle:
    """What verification needs to know of a bundle, taken from its manifest alone."""

    folder: Path
    prefix: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    arena_bytes: int
    resident_bytes: int
    needs_libm: bool
    threads: int
    vectors: int

    def library_sources(self) -> list[Path]:
        """What a user compiles into a program."""
        top = [p for p in self.folder.iterdir() if p.suffix in {".c", ".S"}]
        return sorted(top) + sorted((self.folder / "kernels").glob("*.c"))

    def cases(self) -> Cases:
        """The bundle's own test vectors: (inputs, expected outputs) of each."""
        numbers = np.fromfile(self.folder / "test" / "vectors.bin", "<f4")
        per_case = sum(t.elems for t in (*self.inputs, *self.outputs))
        if self.vectors < 1 or numbers.size != self.vectors * per_case:
            raise damaged(f"test/vectors.bin holds {numbers.size} numbers, {self.vectors} vectors need {per_case} each")
        found: Cases = []
        for row in numbers.reshape(self.vectors, per_case):
            ends = np.cumsum([t.elems for t in (*self.inputs, *self.outputs)])
            tensors = np.split(row, ends[:-1])
            found.append((tuple(tensors[: len(self.inputs)]), tuple(tensors[len(self.inputs) :])))
        return found


@contextmanager
def opened(bundle: bytes | Path | IO[bytes]) -> Iterator[OpenedBundle]:
    """A private copy of a bundle given as zip bytes, zip file, open stream or folder; removed afterwards.

    Raises UserError `bad-bundle` when it is not a bundle and `bundle-altered` when a file differs from its manifest.
    """
    with TemporaryDirectory(prefix="tradespace-verify-") as scratch:
        root = Path(scratch)
        if isinstance(bundle, Path) and bundle.is_dir():
            folder = root / "bundle"
            shutil.copytree(bundle, folder, symlinks=True, ignore=shutil.ignore_patterns("build", "*.a"))
            if any(path.is_symlink() for path in folder.rglob("*")):
                raise damaged("it contains symbolic links")
        else:
            folder = _extract(bundle, root)
        yield _described(folder)


def _extract(bundle: bytes | Path | IO[bytes], root: Path) -> Path:
    stream = io.BytesIO(bundle) if isinstance(bundle, bytes) else bundle
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            if not 0 < len(entries) <= MOST_FILES or sum(e.file_size for e in entries) > MOST_BYTES:
                raise damaged("it has no files, or too many or too large ones")
            for entry in entries:
                if not _PATH.fullmatch(entry.filename):
                    raise damaged(f"{entry.filename!r} is not a plain file inside one folder")
                target = root / entry.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as member, target.open("xb") as file:
                    shutil.copyfileobj(member, file, 1 << 20)
                if target.stat().st_size != entry.file_size:
                    raise damaged(f"{entry.filename!r} is not as long as it says")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
        raise damaged(f"it is not a readable zip ({error})") from error
    folders = sorted({entry.filename.split("/", 1)[0] for entry in entries})
    if len(folders) != 1:
        raise damaged(f"it holds several folders: {', '.join(folders)}")
    return root / folders[0]


def _described(folder: Path) -> OpenedBundle:
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
        found = OpenedBundle(
            folder=folder,
            prefix=str(manifest["prefix"]),
            inputs=tuple(Tensor(str(t["name"]), int(t["elems"])) for t in manifest["inputs"]),
            outputs=tuple(Tensor(str(t["name"]), int(t["elems"])) for t in manifest["outputs"]),
            arena_bytes=int(manifest["memory"]["arena_bytes"]),
            resident_bytes=int(manifest["memory"].get("resident_bytes", 0)),
            needs_libm=bool(manifest["needs_libm"]),
            threads=int(manifest.get("threads", 1)),
            vectors=int(manifest["vectors"]["count"]),
        )
        hashes = {str(path): str(digest) for path, digest in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(f"its manifest.json cannot be read ({error!r})") from error
    if not _NAME.fullmatch(found.prefix):
        raise damaged(f"its prefix {found.prefix!r} is not a C name")
    _check_hashes(folder, hashes)
    return found


def _check_hashes(folder: Path, hashes: dict[str, str]) -> None:
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    del present["manifest.json"]
    findings = [Item(path, "missing") for path in sorted(hashes.keys() - present.keys())]
    findings += [Item(path, "not in the manifest") for path in sorted(present.keys() - hashes.keys())]
    for path in sorted(hashes.keys() & present.keys()):
        with present[path].open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != hashes[path]:
                findings.append(Item(path, "changed"))
    if findings:
        raise UserError(
            "bundle-altered",
            "the bundle's files are not those its manifest was made for",
            hint="export it again, or verify the original zip",
            items=findings,
        )


def damaged(reason: str) -> UserError:
    """The error for something that is not a bundle."""
    return UserError("bad-bundle", f"this is not a bundle: {reason}", hint="export it again")
