"""Warm restart for the engine: snapshots with Python's bytes and exceptions."""

class StateError(ValueError):
    """``memory_state`` and the file of ``memory_fd`` cannot be taken up; the text goes on after "the file"."""
