"""The steered model as a LangChain chat model."""
