"""The live page at `/`: one request unsteered, steered, and steered as another user, side by side."""
