"""Each room's invariants; nothing for Python."""
