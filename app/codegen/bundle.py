"""The zip a user downloads: the same files give the same bytes; reading one back trusts nothing."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import IO, Any

from app.codegen import manifest
from app.codegen.emit import FileData
from app.codegen.literals import check_prefix
from app.errors import UserError

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say
_UNIX = 3
_REGULAR_FILE_0644 = 0o100644 << 16
_DEFLATE_LEVEL = 6
_STORED_SUFFIXES = (".bin",)
"""Floats hardly compress: trying would take minutes on half a gigabyte of weights."""

MOST_FILES = 2_000
MOST_BYTES = 4 << 30
_SAFE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*")


def pack(files: Mapping[str, FileData], prefix: str) -> bytes:
    """A zip with one folder `<prefix>/`: names sorted, fixed date and mode, so equal files give equal bytes.

    Deflated text may differ between builds of zlib; the manifest's file hashes do not.
    """
    stream = io.BytesIO()
    write(files, prefix, stream)
    return stream.getvalue()


def write(files: Mapping[str, FileData], prefix: str, stream: IO[bytes]) -> None:
    """`pack` into an open file, without holding a second copy of large files."""
    check_prefix(prefix)
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(files):
            if not _SAFE_PATH.fullmatch(path):
                raise ValueError(f"unsafe path in a bundle: {path!r}")
            entry = zipfile.ZipInfo(f"{prefix}/{path}", _FIXED_DATE)
            entry.create_system = _UNIX
            entry.external_attr = _REGULAR_FILE_0644
            entry.compress_type = zipfile.ZIP_STORED if path.endswith(_STORED_SUFFIXES) else zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[path], compresslevel=_DEFLATE_LEVEL)


def unpack(data: bytes | IO[bytes]) -> tuple[str, dict[str, bytes]]:
    """(prefix, files by path below it). Raises UserError `bad-bundle` for anything `pack` would not have written."""
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            files = {entry.filename: _read(archive, entry) for entry in entries}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
        raise _bad(f"it is not a readable zip ({error})") from error
    prefix = next(iter(files)).split("/", 1)[0]
    if any(not name.startswith(f"{prefix}/") for name in files):
        raise _bad("it holds more than one folder")
    return prefix, {name.removeprefix(f"{prefix}/"): content for name, content in files.items()}


def stamp(files: Mapping[str, FileData], verified: Mapping[str, Any]) -> dict[str, FileData]:
    """The files with the proof `verified` in their manifest, for example `Verification.to_json()`."""
    return dict(files) | {"manifest.json": manifest.stamp(bytes(files["manifest.json"]), verified)}


def read_manifest(files: Mapping[str, FileData]) -> dict[str, Any]:
    """The manifest as plain data."""
    document: dict[str, Any] = json.loads(bytes(files["manifest.json"]))
    return document


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    if not entries:
        raise _bad("it is empty")
    if len(entries) > MOST_FILES:
        raise _bad(f"it holds {len(entries)} files, at most {MOST_FILES} are accepted")
    if sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise _bad(f"it unpacks to more than {MOST_BYTES} bytes")
    if len({entry.filename for entry in entries}) != len(entries):
        raise _bad("a name occurs twice")
    for entry in entries:
        kind = entry.external_attr >> 16 & 0o170000
        if not _SAFE_PATH.fullmatch(entry.filename) or "/" not in entry.filename or kind not in (0, 0o100000):
            raise _bad(f"{entry.filename!r} is not a plain file inside one folder")
        if any(part in ("", ".", "..") for part in PurePosixPath(entry.filename).parts):
            raise _bad(f"{entry.filename!r} leaves its folder")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    # The stated size is a claim; reading one byte more than it finds out.
    with archive.open(entry) as member:
        content = member.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise _bad(f"{entry.filename!r} is not as long as it says")
    return content


def _bad(reason: str) -> UserError:
    return UserError("bad-bundle", f"this is not a bundle: {reason}", hint="export it again")
