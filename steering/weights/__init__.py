"""Weights by content: known models, mirrors, and conversion to folders that load at once."""
