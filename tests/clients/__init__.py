"""Real clients run their everyday operations."""
