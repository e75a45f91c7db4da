"""Contrast pairs: what fits the user beside what does not."""
