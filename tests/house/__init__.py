"""The rules of the house, as tests; each is shown to be able to fail."""
