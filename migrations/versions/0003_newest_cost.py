"""The newest cost of a device without reading all of them: every question asks whether a cost has changed."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_costs_device_measured_at", "costs", ["device", "measured_at"])


def downgrade() -> None:
    op.drop_index("ix_costs_device_measured_at", table_name="costs")
