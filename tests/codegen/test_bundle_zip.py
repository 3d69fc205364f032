"""The zip is the same bytes for the same files, and reading one back trusts nothing."""

import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.codegen.bundle import pack, read_manifest, stamp, unpack
from app.errors import UserError

SEGMENT = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,8}", fullmatch=True)
FILES = st.dictionaries(st.lists(SEGMENT, min_size=1, max_size=3).map("/".join), st.binary(max_size=50), min_size=1)


@given(FILES)
def test_unpacking_gives_back_what_was_packed(files):
    assert unpack(pack(files, "net")) == ("net", files)


@given(FILES, st.randoms())
def test_the_order_of_files_does_not_change_the_bytes(files, random):
    names = list(files)
    random.shuffle(names)
    assert pack({name: files[name] for name in names}, "net") == pack(files, "net")


def test_entries_carry_no_clock_no_owner_and_weights_are_stored():
    archive = zipfile.ZipFile(io.BytesIO(pack({"a.c": b"x" * 99, "w.bin": memoryview(b"y" * 99)}, "net")))
    text, blob = archive.infolist()
    for entry in (text, blob):
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert entry.create_system == 3
        assert entry.external_attr >> 16 == 0o100644
    assert text.compress_type == zipfile.ZIP_DEFLATED
    assert blob.compress_type == zipfile.ZIP_STORED


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a//b", ".hidden", "a b", "", "a\\b"])
def test_an_unsafe_path_is_never_written(path):
    with pytest.raises(ValueError, match="unsafe path"):
        pack({path: b""}, "net")


def zipped(*entries: tuple[str, bytes], mode: int = 0o100644) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a zip",
        zipped(("net/../../x", b"")),
        zipped(("/net/x", b"")),
        zipped(("x", b"")),
        zipped(("net/x", b""), ("other/x", b"")),
        zipped(("net/x", b"/etc/passwd"), mode=0o120777),
        zipped(*((f"net/{i}", b"") for i in range(2001))),
        zipped(("net/x", b"12345"))[:-30],
    ],
    ids=["empty", "text", "parent", "absolute", "no folder", "two folders", "symlink", "too many", "truncated"],
)
def test_what_pack_would_not_write_is_refused(data):
    with pytest.raises(UserError) as caught:
        unpack(data)
    assert caught.value.code == "bad-bundle"


def test_a_zip_that_unpacks_to_too_much_is_refused_unread(monkeypatch):
    monkeypatch.setattr("app.codegen.bundle.MOST_BYTES", 1000)
    with pytest.raises(UserError, match="more than 1000 bytes"):
        unpack(pack({"zeros": bytes(1001)}, "net"))


def test_stamping_changes_the_verified_block_and_nothing_else():
    files = {"manifest.json": json.dumps({"format": 1, "verified": None}).encode(), "x": b"1"}
    stamped = stamp(files, {"max_rel_err": 1e-6})
    assert read_manifest(stamped) == {"format": 1, "verified": {"max_rel_err": 1e-6}}
    assert stamped["x"] == b"1"
    assert read_manifest(files)["verified"] is None
