"""Use cases: they compose the stages; no HTTP, no SQL."""
