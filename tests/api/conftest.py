"""A data folder, a database and an executor for each test.

The database is SQLite, and PostgreSQL as well when TRADESPACE_TEST_DATABASE_URL names a server.
"""

import os
import uuid

import pytest
import sqlalchemy

from app.db.database import Database
from app.db.jobs import JobStore
from app.db.migrate import upgrade
from app.jobs.local import LocalExecutor
from app.settings import Settings

POSTGRESQL = os.environ.get("TRADESPACE_TEST_DATABASE_URL", "")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("TRADESPACE_") and not name.startswith("TRADESPACE_TEST"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return Settings(data=tmp_path / "data", workers=2, lease_s=5, grace_s=0.3, example="")


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRESQL else ["sqlite"])
def database(request, settings):
    """An upgraded database; every backend that is there."""
    if request.param == "sqlite":
        found = Database(settings.url)
        upgrade(found)
        yield found
        found.close()
        return
    name = f"test_{uuid.uuid4().hex[:12]}"
    server = sqlalchemy.create_engine(POSTGRESQL, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    found = Database(sqlalchemy.make_url(POSTGRESQL).set(database=name).render_as_string(hide_password=False))
    upgrade(found)
    yield found
    found.close()
    with server.connect() as connection:
        connection.execute(sqlalchemy.text(f"DROP DATABASE {name}"))
    server.dispose()


@pytest.fixture
def store(database):
    return JobStore(database)


@pytest.fixture
def executor(settings, store, database):
    """A running executor whose work is that of fake_work."""
    url = database.url.render_as_string(hide_password=False)
    made = LocalExecutor(
        settings.model_copy(update={"database_url": url}), store, "tests.api.fake_work:WORK", poll_s=0.02
    )
    made.start()
    yield made
    made.stop()
