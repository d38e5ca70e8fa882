"""The suite under the compiler's sanitizers: ``python -m tests.sanitize address``, or ``thread``."""
