"""The forms in which model families write tool calls, and the table of them."""
