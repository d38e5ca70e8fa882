"""What users get: the distributions, an installation of them, the types, the examples for operators."""
