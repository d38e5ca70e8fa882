"""Replies without what must differ between two servers: versions, cas numbers, seconds, item sizes, slab classes."""

from __future__ import annotations

import re
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from itertools import groupby
from urllib.parse import unquote_to_bytes

_META = (b"HD", b"VA", b"EN", b"NF", b"NS", b"EX")

#: Fields of ``stats`` and ``stats settings`` whose values are the server's own; the others have to agree.
OWN_VALUES = frozenset(
    b"pid uptime time version libevent rusage_user rusage_system curr_connections total_connections "
    b"connection_structures response_obj_count response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free "
    b"reserved_fds bytes_read bytes_written conn_yields hash_power_level hash_bytes bytes slab_global_page_pool "
    b"active_slabs total_malloced tcpport inter oldest hash_algorithm slab_automove_window num_napi_ids "
    b"temporary_ttl auth_enabled_ascii "
    b"log_worker_written log_watcher_sent lru_maintainer_juggles lru_crawler_running lru_crawler_starts "
    b"crawler_items_checked crawler_reclaimed moves_to_cold moves_to_warm moves_within_lru direct_reclaims "
    b"lru_bumps_dropped evicted_active lrutail_reflocked "
    b"get_expired get_flushed reclaimed expired_unfetched".split()  # memcached looks at some tail for every new item
)

#: Fields that only one of 1.6.18 and 1.6.45 has, or a build with TLS or extstore, or cachecore.
ONE_SIDED = re.compile(
    rb"slab_reassign_evictions_nomem|slab_reassign_busy_nomem|slab_reassign_last_busy_status|client_flags_size"
    rb"|slab_automove_freeratio|lru_policy|ext_\w+|ssl_\w+"
)

#: Fields of ``stats items`` and ``stats slabs`` whose sums over the classes have to agree. Those of cmd_set do
#: not: a class without a page is not shown, and memcached takes one for a value that is not stored in the end.
SUMS = frozenset(
    b"number get_hits delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits free_chunks_end".split()
)

_CLASS_FIELD = re.compile(rb"STAT (items:)?\d+:(\w+) (\d+)\r\n")
_CONNECTION_FIELD = re.compile(rb"STAT \d+:(addr|listen_addr|state|secs_since_last_cmd) [^\r]+\r\n")
_SIZE = re.compile(rb"STAT \d+ (\d+)\r\n")
_CACHED = re.compile(rb"ITEM (.+) \[(\d+) b; (\d+) s\]\r\n")


class Normaliser:
    """Takes out of one peer's replies what must differ."""

    def __init__(self) -> None:
        self.cas: dict[bytes, bytes] = {b"0": b"0"}

    def __call__(self, reply: bytes) -> bytes:
        """``reply`` for the comparison. Runs of lines in the server's own order are sorted or summed up."""
        runs = groupby(self.lines(reply), _run_of)
        return b"".join(line for run, lines in runs for line in (run(list(lines)) if run else lines))

    def lines(self, reply: bytes) -> Iterator[bytes]:
        """The reply's lines one by one, a value with the line before it."""
        at = 0
        while (end := reply.find(b"\n", at)) >= 0:
            line, at = reply[at : end + 1], end + 1
            words = line.split()
            size = None
            if words[:1] == [b"VALUE"] and len(words) in (4, 5) and words[3].isdigit():
                size = int(words[3])
                if len(words) == 5:
                    line = b"VALUE %s %s %s cas%s\r\n" % (*words[1:4], self.number(words[4]))
            elif words[:1] == [b"VERSION"]:
                line = b"VERSION\r\n"
            elif words and words[0] in _META:
                if words[0] == b"VA":
                    size = int(words[1])
                line = b" ".join(map(self.token, words)) + b"\r\n"
            elif words[:1] == [b"ME"]:
                line = b" ".join(map(self.debug, words)) + b"\r\n"
            elif line == b"SERVER_ERROR: shutdown not enabled\r\n":
                line = b"ERROR: shutdown not enabled\r\n"  # as 1.6.18 has it ("shutdown-text")
            elif words[:1] == [b"STAT"]:
                line = field(line)
            if size is not None:
                line += reply[at : at + size + 2]
                at += size + 2
            yield line
        yield reply[at:]

    def number(self, cas: bytes) -> bytes:
        """The cas number's place in the order of their appearance."""
        return self.cas.setdefault(cas, b"#%d" % len(self.cas))

    def token(self, word: bytes) -> bytes:
        """A word of a meta reply."""
        kind, rest = word[:1], word[1:]
        if kind == b"c" and rest.isdigit():
            return b"c" + self.number(rest)
        if kind == b"t" and rest.isdigit():
            return b"t" + seconds(rest)
        if kind == b"l" and rest.isdigit():
            return b"l" + seconds(rest)
        return word

    def debug(self, word: bytes) -> bytes:
        """A word of a ``me`` line. 1.6.18 has the sign of exp wrong ("me-exptime-sign")."""
        name, equals, rest = word.partition(b"=")
        if name == b"cas":
            return b"cas=" + self.number(rest)
        if name in (b"cls", b"size"):
            return name
        if name in (b"exp", b"la") and rest != b"-1":
            return name + equals + seconds(rest.lstrip(b"-"))
        return word

    def dump(self, reply: bytes) -> bytes:
        """The reply to a metadump: its lines sorted, without what 1.6.18 has not ("dump-lines")."""
        lines = reply.removeprefix(b"OK\r\n").splitlines(keepends=True)
        return b"".join(b" ".join(filter(None, map(self.dumped, line.split()))) + b"\n" for line in sorted(lines))

    def dumped(self, word: bytes) -> bytes:
        name, _, rest = word.partition(b"=")
        if name == b"cas":
            return b"cas=" + self.number(rest)
        if name == b"exp" and rest != b"-1":
            return b"exp=" + ahead(rest)
        return name if name in (b"la", b"cls", b"size") else b"" if name == b"flags" else word


def field(line: bytes) -> bytes:
    """A line of ``stats``: its name, and its value if that has to agree."""
    name, _, _ = line[5:].rstrip().partition(b" ")
    if ONE_SIDED.fullmatch(name):
        return b""
    return b"STAT %s\r\n" % name if name in OWN_VALUES else line


def keys(dump: bytes) -> bytes:
    """The keys in a metadump or mgdump, sorted."""
    found = [unquote_to_bytes(key) for key in re.findall(rb"(?m)^key=(\S+) ", dump)]
    for key, encoded in re.findall(rb"(?m)^mg (\S+)( b)?\r$", dump):
        found.append(b64decode(key) if encoded else key)
    return b"".join(b"%s\n" % key for key in sorted(found))


def event(line: bytes) -> bytes:
    """A watcher's line that has no stamp any more, with the seconds left as :func:`seconds` shows them."""
    line = re.sub(rb" ttl=4294\d{6}", b" ttl=0", line)  # 1.6.18 wraps ("watched-past")
    line = re.sub(rb" ttl=(\d+)", lambda found: b" ttl=" + seconds(found[1]), line)
    line = re.sub(rb"status=(flushed|expired) ", b"status=not_found ", line)  # as it was when memcached came upon it
    return re.sub(rb"status=too_large .*", b"status=too_large", line)  # memcached has none of it


def seconds(shown: bytes) -> bytes:
    """A number of seconds; the two clocks do not tick together."""
    number = int(shown)
    if number > 1 << 31:
        return b"past"
    for whole in (100_000, 1000):
        if whole - 200 < number <= whole:
            return b"%d" % whole
    return b"few" if number < 100 else shown


def ahead(moment: bytes) -> bytes:
    """A unix time, as seconds from now."""
    left = int(moment) - int(time.time())
    return b"past" if left < 0 else seconds(b"%d" % (left - 50))  # the servers' clocks may be a second ahead


_Run = Callable[[list[bytes]], list[bytes]]


def _run_of(line: bytes) -> _Run | None:
    """What is to be done with this line and its neighbours of the same kind."""
    if line.startswith(b"STAT "):
        if _CONNECTION_FIELD.fullmatch(line):
            return _connections
        if _CLASS_FIELD.fullmatch(line):
            return _summed
        if _SIZE.fullmatch(line):
            return _sizes
    if line.startswith(b"PREFIX "):
        return sorted
    if line == b"END\r\n" or _CACHED.fullmatch(line):
        return _cached
    return None


def _summed(lines: list[bytes]) -> list[bytes]:
    """Fields of classes: each class has the same ones; of the values the sums that have to agree, unless they are 0: a
    class of which nothing is counted need not be there."""
    found = [match for line in lines if (match := _CLASS_FIELD.fullmatch(line))]
    names = list(dict.fromkeys(match[2] for match in found))
    assert [match[2] for match in found] == names * (len(found) // len(names)), "a class has not all fields"
    sums = {name: sum(int(match[3]) for match in found if match[2] == name) for name in names}
    return [b"STAT #:%s %d\r\n" % (name, sums[name]) for name in names if name in SUMS and sums[name]]


def _sizes(lines: list[bytes]) -> list[bytes]:
    """Sizes of items are the server's own; how many there are has to agree."""
    return [b"STAT sizes of %d\r\n" % sum(int(line.split()[2]) for line in lines)]


def _connections(lines: list[bytes]) -> list[bytes]:
    """Connections come and go: which fields there are at all."""
    return [b"STAT #:%s\r\n" % name for name in sorted({line.split()[1].split(b":")[1] for line in lines})]


def _cached(lines: list[bytes]) -> list[bytes]:
    """Of a cachedump, the classes of which come one after the other, the items together."""
    items = [match for line in lines if (match := _CACHED.fullmatch(line))]
    shown = [b"ITEM %s %s %s\r\n" % (m[1], m[2], b"0" if m[3] == b"0" else ahead(m[3])) for m in items]
    return sorted(shown) + [b"END\r\n"] * (len(lines) - len(items))
