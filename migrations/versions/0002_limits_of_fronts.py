"""A front's limits, of which the bound on weights was the only one."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # No batch: that copies the table and drops the old one, and the drop takes the bundles of every front with it.
    op.add_column("frontiers", sa.Column("limits", sa.Text(), nullable=False, server_default="{}"))
    op.execute(
        "UPDATE frontiers SET limits = '{\"max_weights_bytes\":' || max_weights_bytes || '}' "
        "WHERE max_weights_bytes IS NOT NULL"
    )
    op.drop_column("frontiers", "max_weights_bytes")


def downgrade() -> None:
    op.add_column("frontiers", sa.Column("max_weights_bytes", sa.BigInteger(), nullable=True))
    op.execute(
        "DELETE FROM frontiers WHERE limits <> '{}'"  # an older version would take them for fronts without limits
    )
    op.drop_column("frontiers", "limits")
