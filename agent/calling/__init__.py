"""Function calls as text: their form, their grammar, reading them back."""
