"""Shops: worlds in PersonalWAB's format, and the environment that an agent acts in."""
