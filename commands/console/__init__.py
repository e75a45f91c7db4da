"""What is shown on a terminal: progress, tables, one episode."""
