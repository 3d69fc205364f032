"""From a chosen point to plain C."""
