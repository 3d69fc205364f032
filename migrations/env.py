"""Runs migrations on the connection the program hands over, or on the configured database for a developer."""

from alembic import context

from app.db.database import Database
from app.db.tables import metadata
from app.settings import Settings


def migrate(connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    database = Database(Settings().url)
    with database.write() as own:
        migrate(own)
    database.close()
