"""The cache inside a process."""
