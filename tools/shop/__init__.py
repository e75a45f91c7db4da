"""The tools of a shop: full-text search, recommendation, and the toolkit of them."""
