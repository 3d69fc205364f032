"""Bringing a database to the current schema, after a copy of it was put aside."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from app.db.database import Database
from app.errors import UserError

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_UPGRADE_LOCK = 7_311_001


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def head_revision() -> str:
    """The newest revision this version of the program knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current_revision(database: Database) -> str | None:
    """The revision the database is at; None for an empty one."""
    with database.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database) -> Path | None:
    """Bring the database to the newest revision; returns the backup made of an existing SQLite file, if any.

    Raises UserError `database-newer` when the database was written by a later version of the program.
    """
    head, current = head_revision(), current_revision(database)
    if current == head:
        return None
    script = ScriptDirectory.from_config(_config())
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise UserError(
            "database-newer",
            f"the database is at revision {current}, which this version does not know",
            hint="install the newer version again, or restore a backup",
            status=500,
        )
    saved = None
    if current is not None and database.is_sqlite:
        saved = Path(f"{database.url.database}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{current}.backup")
        backup(database, saved)
    with database.write() as connection:
        database.lock(connection, _UPGRADE_LOCK)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return saved


def backup(database: Database, target: Path) -> None:
    """Write a consistent copy of a SQLite database to a new file, readable by its owner only, while others use it."""
    if not database.is_sqlite:
        raise UserError(
            "backup-unsupported", "this database is not a SQLite file", hint="use pg_dump for a PostgreSQL database"
        )
    if target.exists():
        raise UserError("file-exists", f"{target} exists already", hint="choose another name", status=409)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch(mode=0o600)  # VACUUM INTO accepts an empty file and keeps its permissions
    connection = database.engine.raw_connection()
    try:
        connection.cursor().execute("VACUUM INTO ?", (str(target),))
    except Exception:
        target.unlink(missing_ok=True)
        raise
    finally:
        connection.close()


def table_names(database: Database) -> set[str]:
    """Names of the tables that exist."""
    return set(sqlalchemy.inspect(database.engine).get_table_names())
