"""The shop's agent: its prompts and rules, its users' past requests, and contrast pairs of them."""
