"""The live page at `/`: one request unsteered, steered, and as another user, side by side."""
