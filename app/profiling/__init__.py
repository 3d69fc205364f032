"""Measuring primitives on a device."""
