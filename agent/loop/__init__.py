"""The agent's graph: its state, its prompts, its memory, and what an episode is."""
