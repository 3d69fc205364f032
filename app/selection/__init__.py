"""From a graph and its costs to the optimiser's problem, and back."""
