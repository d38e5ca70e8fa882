"""The bench's own exception: what the user can do something about, in one line."""


class BenchError(RuntimeError):
    """A run that cannot go on: a server that does not start, an option that makes no sense."""
