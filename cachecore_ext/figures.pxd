"""What there is to see of the data plane, as Python sees it: numbers by memcached's names, connections, items."""
from libc.stdint cimport uint32_t

from cachecore_ext.base.counters cimport CounterSet
from cachecore_ext.network.acceptor cimport Acceptor
from cachecore_ext.network.connection cimport Shared
from cachecore_ext.storage.maintenance cimport Maintenance
from cachecore_ext.storage.store cimport Store

cdef dict thread_counters(const CounterSet *sets, uint32_t nsets)
cdef dict class_totals(Store *store, const CounterSet *sets, uint32_t nsets, uint32_t cls)
cdef dict class_gauges(Store *store, uint32_t cls)
cdef dict maintenance_counters(const Maintenance *maintenance)
cdef list listening_sockets(const Acceptor *acceptor, uint32_t age)
cdef list connections(const Shared *shared, uint32_t now)
cdef dict item_sizes(Store *store)
cdef list items(Store *store)
cdef list cachedump(Store *store, uint32_t cls, limit)
