"""Users: who the agent talks to in the multi-turn track. A module each, one interface."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
