"""The counters' names for Python: importing this module gives the two enums as Python classes."""
