"""``cachecore.testing``: the server for tests, its faults, and the pytest plugin."""
