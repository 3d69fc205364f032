"""The exact optimiser: options, edges and lifetimes in, proven points out."""
