"""The bench: the same workload on cachecore, memcached, redis and a server that does no work."""
