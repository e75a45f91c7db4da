"""ToolSpectrum: which app's function a person wants, by who they are (arXiv 2505.13176)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
