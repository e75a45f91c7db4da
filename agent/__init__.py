"""Agent: the LangGraph loop, its memory, and tool calls that fit their schemas."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
