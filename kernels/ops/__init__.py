"""Primitives of the other operators, one .c and one .py each."""
