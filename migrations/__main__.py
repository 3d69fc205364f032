"""`python -m migrations "what changes"` writes the next revision by comparing the tables with a fresh database."""

import os
import sys
import tempfile

from alembic import command
from alembic.config import Config

if len(sys.argv) != 2:
    sys.exit(__doc__)
with tempfile.TemporaryDirectory() as folder:
    os.environ["DATABASE_URL"] = f"sqlite:///{folder}/fresh.db"
    config = Config()
    config.set_main_option("script_location", os.path.dirname(__file__))  # noqa: PTH120
    command.upgrade(config, "head")
    command.revision(config, sys.argv[1], autogenerate=True)
