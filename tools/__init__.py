"""Tools: what a tool is, how its arguments are checked, how it is called; the shopping tools."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
