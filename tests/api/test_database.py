"""Migrations, backups and many writers at once, on real database files."""

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from app.db import migrate
from app.db.blobs import BlobStore
from app.db.database import Database, new_id
from app.db.stores import CostStore
from app.db.tables import metadata
from app.errors import UserError

DEVICE = "INSERT INTO devices (id, name, created_at, environment) VALUES ('a:1', 'a', 't', '{}')"


def test_migrations_end_at_the_declared_tables(database):
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_an_upgraded_database_is_left_alone(database):
    assert migrate.upgrade(database) is None
    assert migrate.current_revision(database) == migrate.head_revision()


NEXT_REVISION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "next", {head!r}, None, None
def upgrade():
    with op.batch_alter_table("devices") as batch:
        batch.add_column(sa.Column("colour", sa.String(10), nullable=True))
"""


def test_an_older_file_is_copied_before_it_is_migrated(settings, tmp_path, monkeypatch):
    database = Database(settings.url)
    migrate.upgrade(database)
    head = migrate.head_revision()
    with database.write() as connection:
        connection.exec_driver_sql(DEVICE)
    later = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, later)
    (later / "versions" / "next.py").write_text(NEXT_REVISION.format(head=head))
    monkeypatch.setattr(migrate, "MIGRATIONS", later)
    copy = migrate.upgrade(database)
    assert migrate.current_revision(database) == "next"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    for file, columns in ((database.url.database, 6), (copy, 5)):
        with sqlite3.connect(file) as connection:
            assert connection.execute("SELECT id FROM devices").fetchall() == [("a:1",)]
            assert len(connection.execute("PRAGMA table_info(devices)").fetchall()) == columns
    with pytest.raises(UserError, match="exists"):
        migrate.backup(database, copy)
    database.close()


def test_a_database_of_a_newer_version_is_refused(database):
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num='9999'")
    with pytest.raises(UserError, match="9999"):
        migrate.upgrade(database)


def test_two_processes_upgrading_an_empty_file_at_once_both_succeed(tmp_path):
    code = (
        "from app.db.database import Database; from app.db.migrate import upgrade, current_revision; import sys;"
        "d = Database(sys.argv[1]); upgrade(d); print(current_revision(d))"
    )
    url = f"sqlite:///{tmp_path}/both.db"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert {process.communicate(timeout=60)[0].strip() for process in processes} == {migrate.head_revision()}


WRITER = """
import sys, time
from app.costs import Cost, CostKey
from app.db.database import Database
from app.db.stores import CostStore
name, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = CostStore(Database(url))
for n in range(count):
    key = CostKey("conv_direct_chw_chw_f32", f"conv c={name} h={n}", "0" * 16)
    store.put("host:1", [Cost(key, (5, 6, 7), 6, 5, 7)])
"""


def test_eight_writing_processes_and_many_readers_never_find_the_database_locked(settings):
    database = Database(settings.url)
    migrate.upgrade(database)
    store = CostStore(database)
    store.register("host:1", "host", {})
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(n), settings.url, "30"], stderr=subprocess.PIPE, text=True)
        for n in range(8)
    ]
    reads, failures, done = [0], [], threading.Event()

    def read():
        while not done.is_set():
            try:
                store.version("host:1")
                store.get("host:1", shapes=["conv c=0 h=0"])
                reads[0] += 1
            except Exception as error:
                failures.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(16)]
    for reader in readers:
        reader.start()
    errors = [writer.communicate(timeout=120)[1] for writer in writers]
    done.set()
    for reader in readers:
        reader.join()
    assert errors == [""] * 8
    assert failures == []
    assert reads[0] > 0
    assert len(store.get("host:1")) == 8 * 30
    database.close()


def test_a_failed_write_leaves_nothing(database):
    def write_and_fail():
        with database.write() as connection:
            connection.exec_driver_sql(DEVICE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM devices").scalar() == 0


def test_ids_are_unique_and_sort_by_time():
    ids = [new_id("x") for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert [identity[:12] for identity in ids] == sorted(identity[:12] for identity in ids)
    assert all(len(identity) == 28 for identity in ids)


def test_files_are_stored_by_content_for_their_owner_only(tmp_path):
    blobs = BlobStore(tmp_path)
    sha256 = blobs.put("models", b"hello")
    assert blobs.put("models", b"hello") == sha256
    path = blobs.path("models", sha256)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert blobs.get("models", sha256) == b"hello"
    path.write_bytes(b"altered")
    with pytest.raises(ValueError, match="does not hold"):
        blobs.get("models", sha256)
    blobs.remove("models", sha256)
    blobs.remove("models", sha256)
    assert not path.exists()
