"""A run: its records, its folder, and what is made of it afterwards."""
