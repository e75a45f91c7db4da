"""A run in the formats of others: tables, benchmarks' submissions, Inspect's logs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
