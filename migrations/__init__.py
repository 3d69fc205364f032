"""Alembic migrations, applied by the program itself when it opens a database."""
