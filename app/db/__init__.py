"""Tables and stores; the only SQL."""
