"""The data plane: a slab allocator and a hash table behind GIL-free workers, in Cython. Start with README.md."""
