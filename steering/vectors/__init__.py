"""Steering vectors as values, and how they are added inside the forward pass."""
