"""Steering dictionaries: building them, picking from them, and what others' have in common."""
