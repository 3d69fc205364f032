"""C primitives and their thin registry."""
