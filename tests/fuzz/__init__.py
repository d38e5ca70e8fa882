"""Random input, guided or not: ``python -m tests.fuzz parser``, or ``engine``."""
