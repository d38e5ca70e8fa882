"""The data plane: a slab allocator and a hash table behind GIL-free workers, in Cython. Start with README.md."""

import os
from importlib.machinery import EXTENSION_SUFFIXES

# Sources of which nothing is built are a checkout that Python came upon first.
if not any(name.endswith(tuple(EXTENSION_SUFFIXES)) for _, _, names in os.walk(__path__[0]) for name in names):
    raise ImportError(
        f"cachecore is not built in {__path__[0]}, which Python finds before what is installed: "
        "go to another folder, or build it here with `pip install -e .`"
    )
