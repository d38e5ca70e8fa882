"""The data plane: a slab allocator and a hash table behind GIL-free workers, in Cython. Start with README.md."""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

_HERE = Path(__file__).parent

if not any((_HERE / f"engine{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
    raise ImportError(
        f"cachecore is not built in {_HERE.parent}, which Python finds before what is installed: "
        "go to another folder, or build it here with `pip install -e .`"
    )
