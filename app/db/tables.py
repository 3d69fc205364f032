"""The tables. Times of day are RFC 3339 text in UTC; leases are seconds since the epoch; sizes bytes, times ns."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _seq() -> Column[int]:
    # SQLite numbers rows by itself only for a column of exactly type INTEGER.
    return Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


models = Table(
    "models",
    metadata,
    _seq(),
    Column("id", String(40), nullable=False, unique=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("sha256", String(64), nullable=False),
    Column("dims", Text, nullable=False),  # canonical JSON of the values given to symbolic dimensions
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("example", String(40), nullable=False),  # its name in the example library, or empty
    Column("nodes", Integer, nullable=False),
    Column("macs", BigInteger, nullable=False),
    Column("weights_bytes", BigInteger, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("outputs", JSON, nullable=False),
    Column("graph", JSON, nullable=False),  # app.graph.ir.Graph.to_json(): everything but the constants' values
    Column("vectors", JSON, nullable=False),  # [{"case", "inputs": {tensor: sha256 of the .npy file}}]
    UniqueConstraint("sha256", "dims"),
    sqlite_autoincrement=True,
)

devices = Table(
    "devices",
    metadata,
    _seq(),
    Column("id", String(80), nullable=False, unique=True),  # name:fingerprint, so costs of two compilers never mix
    Column("name", String(40), nullable=False, index=True),
    Column("created_at", String(40), nullable=False),
    Column("environment", JSON, nullable=False),
    sqlite_autoincrement=True,
)

costs = Table(
    "costs",
    metadata,
    _seq(),
    Column("device", String(80), ForeignKey("devices.id", ondelete="CASCADE"), nullable=False),
    Column("primitive", String(120), nullable=False),
    Column("shape", String(1000), nullable=False),
    Column("source_hash", String(16), nullable=False),
    Column("weights_from", String(8), nullable=False),
    Column("median_ns", BigInteger, nullable=False),
    Column("p10_ns", BigInteger, nullable=False),
    Column("p90_ns", BigInteger, nullable=False),
    Column("samples_ns", JSON, nullable=False),
    Column("measured_at", String(40), nullable=False),
    UniqueConstraint("device", "primitive", "shape", "source_hash", "weights_from"),
    Index(None, "device", "measured_at"),
    sqlite_autoincrement=True,
)

frontiers = Table(
    "frontiers",
    metadata,
    _seq(),
    Column("id", String(40), nullable=False, unique=True),
    Column("model", String(40), ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("device", String(80), ForeignKey("devices.id", ondelete="CASCADE"), nullable=False),
    Column("device_name", String(40), nullable=False),
    Column("memory", String(16), nullable=False),
    Column("limits", Text, nullable=False, server_default="{}"),  # app.selection.limits.Limits.canonical()
    Column("created_at", String(40), nullable=False),
    Column("points", Integer, nullable=False),
    Column("solve_s", Float, nullable=False),
    Column("costs_digest", String(64), nullable=False),
    Column("document", JSON, nullable=False),  # app.points.Frontier.to_json()
    Index(None, "model", "device_name", "memory"),
    sqlite_autoincrement=True,
)

bundles = Table(
    "bundles",
    metadata,
    _seq(),
    Column("id", String(40), nullable=False, unique=True),
    Column("frontier", String(40), ForeignKey("frontiers.id", ondelete="CASCADE"), nullable=False),
    Column("point", String(64), nullable=False),
    Column("prefix", String(64), nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("verified", JSON, nullable=False),
    Index(None, "frontier", "point"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    _seq(),
    Column("id", String(40), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("params", JSON, nullable=False),
    Column("params_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("stage", String(200), nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("unit", String(32), nullable=False),
    Column("eta_s", Float, nullable=True),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("device", String(80), nullable=True),  # nobody else may use this device while the job runs
    Column("quiet", Boolean, nullable=False),  # needs its machine for itself: it reads the clock
    Column("reserved_for", String(200), nullable=True),  # only this owner may claim it
    Column("machine", String(200), nullable=True),  # where it runs
    Column("owner", String(200), nullable=True),  # unique to one claim; every later change must show it
    Column("lease_until_s", Float, nullable=True),
    Column("cancel_requested", Boolean, nullable=False),
    Column("result_url", String(200), nullable=True),
    Column("error", JSON, nullable=True),
    Column("created_at", String(40), nullable=False),
    Column("started_at", String(40), nullable=True),
    Column("finished_at", String(40), nullable=True),
    Index(None, "state", "seq"),
    sqlite_autoincrement=True,
)

# The database itself refuses a second active job of the same work, whoever asks at the same moment.
Index(
    "uq_jobs_active",
    jobs.c.kind,
    jobs.c.params_hash,
    unique=True,
    sqlite_where=text("state IN ('queued', 'running', 'cancelling') AND reserved_for IS NULL"),
    postgresql_where=text("state IN ('queued', 'running', 'cancelling') AND reserved_for IS NULL"),
)

job_events = Table(
    "job_events",
    metadata,
    _seq(),
    Column("job", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("data", JSON, nullable=False),  # the job as it was after the change
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    _seq(),
    Column("id", String(40), nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created_at", String(40), nullable=False),
    Column("last_used_at", String(40), nullable=True),
    sqlite_autoincrement=True,
)

replies = Table(
    "replies",
    metadata,
    _seq(),
    Column("key", String(200), nullable=False, unique=True),  # route and Idempotency-Key
    Column("fingerprint", String(64), nullable=False),  # of the request's content
    Column("created_s", Float, nullable=False),
    Column("status", Integer, nullable=True),  # null while the first request is still running
    Column("headers", JSON, nullable=True),
    Column("body", JSON, nullable=True),
    sqlite_autoincrement=True,
)
