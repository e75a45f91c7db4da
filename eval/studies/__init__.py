"""Robustness studies: the same comparison again under a change, each with a figure and a table."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
