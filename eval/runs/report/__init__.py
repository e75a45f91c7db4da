"""The report: a run as one page that needs nothing else, with every sample in it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
