"""Convolution and dense primitives, one .c and one .py each."""
