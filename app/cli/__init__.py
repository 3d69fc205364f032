"""The command line: every action of the product, working on the data folder directly, with or without a service."""

from app.cli.program import main

__all__ = ["main"]
