"""What a worker brings along to run a request: the store as it may use it, the output, and the service's own words."""
from libc.stdint cimport int64_t, uint32_t

from cachecore_ext.protocol.prefixes cimport Prefixes
from cachecore_ext.protocol.reply cimport Output
from cachecore_ext.storage.store cimport Context

cdef enum:
    BYTES_PER_KEY = 128  # bytes sent, copied by append or read by incr that take as much of a turn's budget as a key

cdef struct Service:
    # One for all workers.
    char version_line[64]   # the reply to ``version``, NUL-terminated; set once
    bint debug_commands     # whether debugtime exists; set once
    bint flush_enabled      # whether flush_all is allowed; set once
    bint dump_enabled       # whether a client may have all keys listed; set once
    uint32_t verbosity      # atomic
    bint watch_enabled      # False: nobody may watch; set once
    Prefixes *prefixes      # set once

cdef struct Session:
    Context context
    Output output
    Service *service
    int64_t budget          # requests and keys that this connection may still have before others have their turn

cdef enum Outcome:
    DONE
    BLOCKED   # no room, or no budget, for the rest of a get: the request was shortened to that, in place; run it again
    QUIT      # send what there is, then close
    HANG_UP   # close now
    ASK       # a command that Python answers, or the logger
    DUMP      # a dump may begin (protocol/dump)
