"""The writing tasks: their data, prompts, answers and records."""
