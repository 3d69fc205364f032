"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "devices",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_devices")),
        sa.UniqueConstraint("id", name=op.f("uq_devices_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("devices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_devices_name"), ["name"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("params_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.String(length=200), nullable=False),
        sa.Column("completed", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("eta_s", sa.Float(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=80), nullable=True),
        sa.Column("quiet", sa.Boolean(), nullable=False),
        sa.Column("reserved_for", sa.String(length=200), nullable=True),
        sa.Column("machine", sa.String(length=200), nullable=True),
        sa.Column("owner", sa.String(length=200), nullable=True),
        sa.Column("lease_until_s", sa.Float(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("result_url", sa.String(length=200), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("started_at", sa.String(length=40), nullable=True),
        sa.Column("finished_at", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_jobs")),
        sa.UniqueConstraint("id", name=op.f("uq_jobs_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_jobs_state_seq"), ["state", "seq"], unique=False)
        batch_op.create_index(
            "uq_jobs_active",
            ["kind", "params_hash"],
            unique=True,
            sqlite_where=sa.text("state IN ('queued', 'running', 'cancelling') AND reserved_for IS NULL"),
            postgresql_where=sa.text("state IN ('queued', 'running', 'cancelling') AND reserved_for IS NULL"),
        )

    op.create_table(
        "models",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("dims", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("example", sa.String(length=40), nullable=False),
        sa.Column("nodes", sa.Integer(), nullable=False),
        sa.Column("macs", sa.BigInteger(), nullable=False),
        sa.Column("weights_bytes", sa.BigInteger(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("outputs", sa.JSON(), nullable=False),
        sa.Column("graph", sa.JSON(), nullable=False),
        sa.Column("vectors", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_models")),
        sa.UniqueConstraint("id", name=op.f("uq_models_id")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
        sa.UniqueConstraint("sha256", "dims", name=op.f("uq_models_sha256_dims")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "replies",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("created_s", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", sa.JSON(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_replies")),
        sa.UniqueConstraint("key", name=op.f("uq_replies_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tokens",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("last_used_at", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_tokens")),
        sa.UniqueConstraint("id", name=op.f("uq_tokens_id")),
        sa.UniqueConstraint("sha256", name=op.f("uq_tokens_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "costs",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("device", sa.String(length=80), nullable=False),
        sa.Column("primitive", sa.String(length=120), nullable=False),
        sa.Column("shape", sa.String(length=1000), nullable=False),
        sa.Column("source_hash", sa.String(length=16), nullable=False),
        sa.Column("weights_from", sa.String(length=8), nullable=False),
        sa.Column("median_ns", sa.BigInteger(), nullable=False),
        sa.Column("p10_ns", sa.BigInteger(), nullable=False),
        sa.Column("p90_ns", sa.BigInteger(), nullable=False),
        sa.Column("samples_ns", sa.JSON(), nullable=False),
        sa.Column("measured_at", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name=op.f("fk_costs_device_devices"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_costs")),
        sa.UniqueConstraint(
            "device",
            "primitive",
            "shape",
            "source_hash",
            "weights_from",
            name=op.f("uq_costs_device_primitive_shape_source_hash_weights_from"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "frontiers",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=40), nullable=False),
        sa.Column("device", sa.String(length=80), nullable=False),
        sa.Column("device_name", sa.String(length=40), nullable=False),
        sa.Column("memory", sa.String(length=16), nullable=False),
        sa.Column("max_weights_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("solve_s", sa.Float(), nullable=False),
        sa.Column("costs_digest", sa.String(length=64), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device"], ["devices.id"], name=op.f("fk_frontiers_device_devices"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["model"], ["models.id"], name=op.f("fk_frontiers_model_models"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_frontiers")),
        sa.UniqueConstraint("id", name=op.f("uq_frontiers_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("frontiers", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_frontiers_model_device_name_memory"), ["model", "device_name", "memory"], unique=False
        )

    op.create_table(
        "job_events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("job", sa.String(length=40), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_job_events_job_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_job_events")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("job_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_events_job"), ["job"], unique=False)

    op.create_table(
        "bundles",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("frontier", sa.String(length=40), nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("prefix", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("verified", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["frontier"], ["frontiers.id"], name=op.f("fk_bundles_frontier_frontiers"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_bundles")),
        sa.UniqueConstraint("id", name=op.f("uq_bundles_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("bundles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_bundles_frontier_point"), ["frontier", "point"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("bundles", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_bundles_frontier_point"))

    op.drop_table("bundles")
    with op.batch_alter_table("job_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_events_job"))

    op.drop_table("job_events")
    with op.batch_alter_table("frontiers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_frontiers_model_device_name_memory"))

    op.drop_table("frontiers")
    op.drop_table("costs")
    op.drop_table("tokens")
    op.drop_table("replies")
    op.drop_table("models")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_jobs_active",
            sqlite_where=sa.text("state IN ('queued', 'running', 'cancelling') AND reserved_for IS NULL"),
            postgresql_where=sa.text("state IN ('queued', 'running', 'cancelling') AND reserved_for IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_jobs_state_seq"))

    op.drop_table("jobs")
    with op.batch_alter_table("devices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_devices_name"))

    op.drop_table("devices")
