"""A decoder as it stands in the model: families, hooks, one forward pass, and its caches."""
