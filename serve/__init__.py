"""The server: the OpenAI API over one steered model, users' controls, and metrics."""
