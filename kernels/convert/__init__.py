"""Layout conversions."""
