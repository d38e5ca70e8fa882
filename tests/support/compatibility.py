"""What memcached 1.6.45 has, and how cachecore stands to it: the inventory behind docs/compatibility.md.

Nothing here is believed: ``tests.protocol.compatibility`` runs the suite's rows for every command, gives every option
to the parsers, and holds the live statistics, the lines of ``watch``, the signals and the environment against these
tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from tests.support.differences import DIFFERENCES


class Verdict(Enum):
    """How cachecore stands to memcached 1.6.45 in one point; the value is what the legend says of it."""

    SAME = "as in memcached 1.6.45, in bytes, names, order and format; a note says where a value is cachecore's own"
    BETTER = "the same, but where memcached has a bug or a trap: the note says how"
    ACCEPTED = "taken without an error, but without effect here: the note says why"
    ABSENT = "not there: the note says why, or of which absent feature it is a part"


SAME, BETTER, ACCEPTED, ABSENT = Verdict


@dataclass(frozen=True)
class Entry:
    """A line of the page."""

    name: str
    verdict: Verdict = SAME
    note: str = ""


@dataclass(frozen=True)
class Command(Entry):
    """A command, a flag, or a rule for all commands; rows of the suite count for it by the lines that they send."""

    pattern: bytes | None = None  # what such a line begins with; by default the name as a whole word
    differences: tuple[str, ...] = ()  # ids of differences.py by which cachecore departs from 1.6.45 here
    departing: bytes | None = None  # lines by which it does so without an id, as 1.6.18 agrees with cachecore
    tables: tuple[str, ...] = ()  # the tables whose rows count; by default all of them but that of -Y
    lists: str = ""  # the section of statistics that it shows, which is compared field by field instead

    def matches(self, line: bytes) -> bool:
        pattern = re.escape(self.name.encode()) + rb"(?: |$)" if self.pattern is None else self.pattern
        return re.match(pattern, line) is not None

    def departs(self, line: bytes) -> bool:
        return self.departing is not None and re.match(self.departing, line) is not None

    @property
    def how(self) -> str:
        """The note, with the reasons of the differences."""
        return "; ".join([*(DIFFERENCES[name].reason for name in self.differences), *filter(None, [self.note])])


@dataclass(frozen=True)
class Option(Entry):
    """An option, named as it is written, with its letter first, then its long form."""

    value: str = ""  # what it is tried with
    default: bool = False  # the value is 1.6.45's default: giving it changes nothing
    newer: bool = False  # not in 1.6.18, or not as this


@dataclass(frozen=True)
class Field(Entry):
    """A statistic; its value has this format."""

    form: str = r"\d+"
    newer: bool = False  # not in 1.6.18


@dataclass(frozen=True)
class Line(Entry):
    """A line that ``watch`` brings: its type, and the names that follow."""

    watched: str = ""  # the word that is watched
    names: str = ""


# ---- what is absent as a whole

FEATURES = (
    Entry(
        "UDP",
        ABSENT,
        "replies go to whatever address a packet claims to come from, which makes a cache a weapon; "
        "memcached itself has it off unless asked",
    ),
    Entry(
        "binary protocol",
        ABSENT,
        "deprecated in memcached, and the meta commands do what it was for; a connection that opens with it is closed",
    ),
    Entry("SASL", ABSENT, "only the binary protocol has it; -Y asks clients of the text protocol for a password"),
    Entry("TLS", ABSENT, "let a proxy such as stunnel, ghostunnel or envoy end it, beside the server, on the loopback"),
    Entry("extstore", ABSENT, "values on disk are another kind of server; here everything is in memory"),
    Entry("proxy", ABSENT, "routing between caches is the work of a server of its own, such as mcrouter"),
)


# ---- commands

#: Lines with a word that is only begun, which 1.6.45 takes for the whole word.
_PARTS_OF_WORDS = rb"stats (r|se|conn|detail d)$|lru mode segment$|watch f$"

RULES = (
    Command(
        "lines and data blocks",
        BETTER,
        "replies never depend on how the network cut the input",
        pattern=rb"",
        differences=("replies-before-upload",),
        tables=("framing",),
    ),
    Command(
        "limits of lines, keys and values", BETTER, pattern=rb"", differences=("line-too-long",), tables=("limits",)
    ),
    Command(
        "numbers",
        BETTER,
        "they are read with their length, and nothing beyond the value is looked at",
        pattern=rb"",
        differences=("wide-client-flags",),
        tables=("numbers",),
    ),
    Command("noreply", pattern=rb".* noreply *$"),
    Command(
        "words behind a command",
        BETTER,
        "they match as a whole: stats r is an error, not a reset",
        pattern=_PARTS_OF_WORDS,
        departing=_PARTS_OF_WORDS,
    ),
    Command(
        "a first byte of 0x80",
        ABSENT,
        "with -B ascii it is text",
        pattern=rb"(?!)",  # its test is no row
        differences=("binary-protocol",),
    ),
)


def _overlong(command: bytes) -> bytes:
    """Lines of a command with a key over 250 bytes."""
    return command + rb" (?:\S+ +)*[^ ]{251}"


CLASSIC = (
    Command("get", BETTER, "the error is one line", differences=("overlong-key-replies",), departing=_overlong(b"get")),
    Command("gets", BETTER, "overlong keys as in get", departing=_overlong(b"gets")),
    Command("gat", BETTER, "overlong keys as in get", departing=_overlong(b"gat")),
    Command("gats", BETTER, "overlong keys as in get", departing=_overlong(b"gats")),
    Command("set", BETTER, differences=("wide-client-flags",)),
    Command("add", BETTER, "client flags as in set"),
    Command("replace", BETTER, "client flags as in set"),
    Command("append", BETTER, "client flags as in set"),
    Command("prepend", BETTER, "client flags as in set"),
    Command("cas", BETTER, "client flags as in set"),
    Command("delete"),
    Command("incr", BETTER, "a blank value is no number"),
    Command("decr", BETTER, "a number that gets shorter is always padded in place, whoever else reads the item"),
    Command("touch"),
    Command("flush_all"),
    Command("version", SAME, "1.6.45"),
    Command("verbosity"),
    Command("quit"),
)

META = (
    Command("mn"),
    Command("mg"),
    Command("ms"),
    Command("md"),
    Command("ma", BETTER, differences=("ma-when-growing",)),
    Command("me", BETTER, differences=("me-binary-anywhere",), departing=rb"me \S+ b$"),
)


def _flag(letter: str, meaning: str) -> Command:
    """A flag of mg, ms, md and ma, which all take every flag."""
    return Command(letter, SAME, meaning, pattern=rb"m[gsda] \S+(?: \S+)* %s\S*(?: |$)" % letter.encode())


FLAGS = (
    _flag("b", "the key is base64"),
    _flag("c", "return the cas"),
    _flag("f", "return the client flags"),
    _flag("h", "return whether it was fetched before"),
    _flag("k", "return the key"),
    _flag("l", "return the seconds since the last access"),
    _flag("q", "quiet: leave out the nominal reply"),
    _flag("s", "return the value's size"),
    _flag("t", "return the seconds left"),
    _flag("u", "leave the access unmarked"),
    _flag("v", "return the value"),
    _flag("x", "md: remove the value, keep the item"),
    _flag("C", "compare the cas"),
    _flag("D", "ma: the delta"),
    _flag("E", "the new cas"),
    _flag("F", "the client flags"),
    _flag("I", "ms, md: mark as stale"),
    _flag("J", "ma: the initial value"),
    _flag("L", "taken, without a meaning, as in memcached without its proxy"),
    _flag("M", "ms, ma: the mode"),
    _flag("N", "create what is missing, with this TTL"),
    _flag("O", "return this opaque token"),
    _flag("P", "taken, without a meaning, as in memcached without its proxy"),
    _flag("R", "mg: who may refresh, from this TTL on"),
    _flag("T", "the TTL"),
)

#: What a reply to mg says of a lease: these count by the reply.
RETURNED = (
    Command("W", SAME, "you refresh it", pattern=rb"(?:HD|VA \d+)(?: \S+)* W(?: |$)"),
    Command("X", SAME, "it is stale", pattern=rb"(?:HD|VA \d+)(?: \S+)* X(?: |$)"),
    Command("Z", SAME, "somebody else refreshes it", pattern=rb"(?:HD|VA \d+)(?: \S+)* Z(?: |$)"),
)

ADMIN = (
    Command("stats", lists="general"),
    Command("stats settings", lists="settings"),
    Command("stats items", lists="items"),
    Command("stats slabs", lists="slabs"),
    Command("stats conns", lists="conns"),
    Command("stats sizes", lists="sizes"),
    Command("stats reset"),
    Command("stats detail", BETTER, differences=("prefix-of-every-command",)),
    Command("stats cachedump"),
    Command("stats extstore", SAME, "an empty list, as in memcached without a file for it"),
    Command("slabs reassign"),
    Command("slabs automove", pattern=rb"slabs automove(?: \S*\d|$| x| noreply)"),
    Command("slabs automove ratio", BETTER, differences=("infinite-numbers",)),
    Command("slabs automove freeratio", ACCEPTED, "it is about memory for extstore"),
    Command("slabs automove window"),
    Command("lru mode"),
    Command("lru tune", BETTER, differences=("infinite-numbers", "percents-wrap")),
    Command("lru temp_ttl"),
    Command("lru_crawler enable"),
    Command("lru_crawler disable"),
    Command("lru_crawler sleep"),
    Command("lru_crawler tocrawl"),
    Command("lru_crawler crawl"),
    Command(
        "lru_crawler metadump",
        BETTER,
        "it lists each item that is there all the while once, and delays nobody",
        differences=("before-a-dump", "behind-a-dump", "dump-without-crawler"),
    ),
    Command(
        "lru_crawler mgdump",
        BETTER,
        "the rest as with metadump",
        differences=("before-a-dump", "behind-a-dump", "dump-without-crawler"),
    ),
    Command("cache_memlimit"),
    Command("shutdown"),
    Command("shutdown graceful"),
    Command(
        "watch",
        BETTER,
        "who watches and does not read delays nobody",
        differences=("before-a-dump",),
        tables=("watch",),
    ),
    Command(
        "authentication with -Y",
        BETTER,
        "what is too long is told so before the connection is closed",
        pattern=rb"",
        differences=("auth-password-word", "line-too-long"),
        tables=("auth",),
    ),
)

#: All for which rows are counted.
COMMANDS = (*RULES, *CLASSIC, *META, *FLAGS, *RETURNED, *ADMIN)

#: Commands that are not there, each with a line that has to be answered by ERROR.
NO_COMMANDS = (
    Entry("refresh_certs", ABSENT, "TLS"),
    Entry("extstore", ABSENT, "extstore"),
    Entry("stats proxy", ABSENT, "proxy"),
    Entry("stats proxyfuncs", ABSENT, "proxy"),
    Entry("stats proxybe", ABSENT, "proxy"),
    Entry("debugitem", ABSENT, "only in memcached's debug build, for its own tests"),
    Entry("misbehave", ABSENT, "only in memcached's debug build, for its own tests"),
)

#: What memcached does not have.
BEYOND = (
    Entry("--debug-commands", SAME, "offers debugtime, which moves the server's clock, as in memcached's debug build"),
    Entry("-o lru_policy", SAME, "who is evicted: s3fifo, or segmented as in memcached; also by lru mode s3fifo"),
    Entry("--prefix-delimiter", SAME, "the long form of -D, which has none in memcached"),
    Entry("LISTEN_FDS, NOTIFY_SOCKET", SAME, "systemd may open the sockets, and is told when the server serves"),
)


# ---- options

OPTIONS = (
    Option("-p, --port", value="11211", default=True),
    Option("-U, --udp-port", SAME, "only 0, which is off", value="0", default=True),
    Option("-s, --unix-socket", value="/tmp/socket"),
    Option("-a, --unix-mask", value="700", default=True),
    Option("-A, --enable-shutdown"),
    Option(
        "-l, --listen",
        BETTER,
        "without it: the loopback addresses only, not all; the line at the start says so",
        value="127.0.0.1",
    ),
    Option("-d, --daemon"),
    Option("-r, --enable-coredumps"),
    Option("-u, --user", BETTER, "root without it is told so, and served; memcached refuses", value="nobody"),
    Option("-m, --memory-limit", BETTER, "it holds the hash table, too", value="64", default=True),
    Option("-M, --disable-evictions"),
    Option(
        "-c, --conn-limit",
        BETTER,
        "it counts clients, not file descriptors, so no value is too low to start",
        value="1024",
        default=True,
    ),
    Option("-k, --lock-memory", SAME, "memory is locked when it comes into use"),
    Option("-v, --verbose", SAME, "the lines are cachecore's own, but for those that scripts look for"),
    Option("-h, --help"),
    Option("-i, --license"),
    Option("-V, --version", SAME, "the second line says which cachecore it is"),
    Option("-P, --pidfile", value="/tmp/pid"),
    Option("-f, --slab-growth-factor", BETTER, "without it the steps are finer for small items", value="1.25"),
    Option("-n, --slab-min-size", value="48", default=True),
    Option("-L, --enable-largepages"),
    Option("-D", value=":"),
    Option("-t, --threads", value="4", default=True),
    Option(
        "-R, --max-reqs-per-event",
        SAME,
        "more requests than this in one turn, a receive of 32 KiB, are a yield",
        value="20",
        default=True,
    ),
    Option("-C, --disable-cas"),
    Option("-b, --listen-backlog", value="1024", default=True),
    Option("-B, --protocol", SAME, "auto and ascii", value="auto", default=True),
    Option("-I, --max-item-size", value="1m", default=True),
    Option("-F, --disable-flush-all"),
    Option("-X, --disable-dumping"),
    Option("-W, --disable-watch"),
    Option("-Y, --auth-file", value="/tmp/users"),
    Option(
        "-e, --memory-file",
        BETTER,
        "what it finds is checked item by item, and a restart needs no second of "
        "downtime; the files are not memcached's",
        value="/tmp/items",
    ),
    Option("-N, --napi-ids", ACCEPTED, "the kernel spreads the connections; workers take them in turn", value="1"),
    Option("-o, --extended", value="modern"),
)

#: Options, or values of options, that end with one line.
NO_OPTIONS = (
    Option("-U, --udp-port", ABSENT, "UDP", value="11211"),
    Option("-B, --protocol", ABSENT, "binary protocol", value="binary"),
    Option("-S, --enable-sasl", ABSENT, "SASL"),
    Option("-Z, --enable-ssl", ABSENT, "TLS"),
)

SUBOPTIONS = (
    Option("maxconns_fast", default=True),
    Option("no_maxconns_fast"),
    Option("idle_timeout", BETTER, "who sends half a value and then nothing is idle, too", value="0", default=True),
    Option(
        "read_buf_mem_limit",
        BETTER,
        "0 is no limit in memcached; here an eighth of -m, at least 16 MB",
        value="0",
        default=True,
    ),
    Option("lru_crawler", default=True),
    Option("no_lru_crawler"),
    Option("lru_crawler_sleep", value="100", default=True),
    Option("lru_crawler_tocrawl", value="0", default=True),
    Option("lru_maintainer", default=True),
    Option("no_lru_maintainer"),
    Option("hot_lru_pct", value="20", default=True),
    Option("warm_lru_pct", value="40", default=True),
    Option("hot_max_factor", value="0.2", default=True),
    Option("warm_max_factor", value="2.0", default=True),
    Option("temporary_ttl", BETTER, "items below it are evicted before a set is refused", value="61"),
    Option("slab_reassign", default=True),
    Option("no_slab_reassign"),
    Option("slab_automove", value="1", default=True),
    Option("no_slab_automove", newer=True),
    Option("slab_automove_ratio", value="0.8", default=True),
    Option(
        "slab_automove_window",
        SAME,
        "it counts looks, of which there may be several a second while items are evicted",
        value="10",
        default=True,
    ),
    Option("slab_sizes", value="100-200-400"),
    Option("slab_chunk_max", SAME, "kilobytes, which 1.6.18 reads as bytes", value="512", default=True),
    Option("no_chunked_items"),
    Option("track_sizes"),
    Option("watcher_logbuf_size", value="256", default=True),
    Option("worker_logbuf_size", value="64", default=True),
    Option("sock_cookie_id", value="0", default=True),
    Option("modern", default=True),
    Option("no_modern"),
    Option("hashpower", ACCEPTED, "the table grows and fits itself", value="16"),
    Option("no_hashexpand", ACCEPTED, "the table always grows, a bucket at a time"),
    Option("hash_algorithm", ACCEPTED, "the hash is keyed, so that nobody can prepare collisions", value="murmur3"),
    Option("tail_repair_time", ACCEPTED, "no item gets stuck at a list's tail", value="10"),
    Option("inline_ascii_resp", ACCEPTED, "as in memcached"),
    Option("no_inline_ascii_resp", ACCEPTED, "as in memcached"),
    Option("resp_obj_mem_limit", ACCEPTED, "as in memcached, which says that it is deprecated", value="1"),
    Option("drop_privileges", ACCEPTED, "a service manager can see to that"),
    Option("no_drop_privileges", ACCEPTED, "it is the default"),
)

_EXTSTORE = (
    "ext_path=/tmp/x:1g ext_page_size=64 ext_wbuf_size=4 ext_threads=1 ext_io_depth=1 ext_item_size=512 ext_item_age=1 "
    "ext_low_ttl=0 ext_recache_rate=2000 ext_max_frag=0.8 ext_drop_unread ext_compact_under=1 ext_drop_under=1 "
    "ext_max_sleep=1000000 slab_automove_freeratio=0.01"
)
_TLS = (
    "ssl_chain_cert=x ssl_key=x ssl_verify_mode=0 ssl_keyformat=1 ssl_ciphers=x ssl_ca_cert=x ssl_wbuf_size=16 "
    "ssl_session_cache ssl_kernel_tls ssl_min_version=2"
)
_PROXY = "proxy_config=x proxy_arg=x proxy_uring proxy_memprofile"


def _no_suboptions(texts: str, feature: str) -> tuple[Option, ...]:
    pairs = [text.partition("=") for text in texts.split()]
    return tuple(Option(name, ABSENT, feature, value=value) for name, _, value in pairs)


NO_SUBOPTIONS = (
    *_no_suboptions(_EXTSTORE, "extstore"),
    *_no_suboptions(_TLS, "TLS"),
    *_no_suboptions(_PROXY, "proxy"),
    Option("relaxed_privileges", ABSENT, "only in memcached's debug build"),
)

ENVIRONMENT = (
    Entry("MEMCACHED_PORT_FILENAME"),
    Entry("MEMCACHED_HASH_BULK_MOVE", ABSENT, "the table grows a bucket at a time, so there is nothing to set"),
    Entry("MEMCACHED_SASL_PWDB", ABSENT, "SASL"),
    Entry("SASL_CONF_PATH", ABSENT, "SASL"),
    Entry("T_MEMD_INITIAL_MALLOC", ABSENT, "a hook of memcached's own tests"),
)

SIGNALS = (
    Entry("SIGINT", SAME, "ends it at once"),
    Entry("SIGTERM", SAME, "ends it at once"),
    Entry("SIGUSR1", SAME, "ends it gracefully, and says so"),
    Entry("SIGHUP", SAME, "reads the file of -Y again"),
    Entry("SIGPIPE", SAME, "is ignored"),
)


# ---- statistics

_TEXT = r".+"
_YES = r"yes|no"
_FACTOR = r"\d+\.\d\d"
_TIME = r"\d+\.\d{6}"


def _fields(names: str, form: str = r"\d+") -> tuple[Field, ...]:
    return tuple(Field(name, form=form) for name in names.split())


def _zero(name: str, note: str) -> Field:
    """A field that says 0 whatever happens."""
    return Field(name, SAME, f"always 0: {note}", form="0")


_OVERHEAD = "with cachecore's own overhead of an item, which is smaller"

GENERAL = (
    *_fields("pid uptime time"),
    Field("version", form=r"\d+\.\d+\.\d+"),
    Field("libevent", SAME, "names cachecore and its version", form=_TEXT),
    *_fields("pointer_size"),
    *_fields("rusage_user rusage_system", _TIME),
    *_fields(
        "max_connections curr_connections total_connections rejected_connections connection_structures "
        "response_obj_oom response_obj_count response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free "
        "read_buf_oom"
    ),
    Field("reserved_fds", SAME, "what this server needs for itself"),
    *_fields(
        "cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed delete_misses "
        "delete_hits incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits "
        "touch_misses store_too_large store_no_memory auth_cmds auth_errors idle_kicks bytes_read bytes_written "
        "limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us threads conn_yields"
    ),
    Field("hash_power_level", SAME, "of the buckets, which hold twelve items each"),
    *_fields("hash_bytes"),
    _zero("hash_is_expanding", "the table grows a bucket at a time, while it serves"),
    *_fields("slab_reassign_rescues slab_reassign_chunk_rescues slab_reassign_inline_reclaim slab_reassign_busy_items"),
    _zero("slab_reassign_busy_deletes", "what is in use is never deleted for a page"),
    Field("slab_reassign_busy_nomem", newer=True),
    Field("slab_reassign_last_busy_status", form=r"\w+", newer=True),
    *_fields("slab_reassign_running slabs_moved lru_crawler_running lru_crawler_starts lru_maintainer_juggles"),
    *_fields("malloc_fails log_worker_dropped log_worker_written log_watcher_skipped log_watcher_sent log_watchers "),
    _zero("unexpected_napi_ids", "-N has no effect"),
    _zero("round_robin_fallback", "-N has no effect"),
    Field("bytes", SAME, _OVERHEAD),
    *_fields(
        "curr_items total_items slab_global_page_pool expired_unfetched evicted_unfetched evicted_active "
        "evictions reclaimed crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold moves_to_warm "
        "moves_within_lru direct_reclaims"
    ),
    _zero("lru_bumps_dropped", "a fetch queues nothing"),
)

SETTINGS = (
    *_fields("maxbytes maxconns tcpport udpport"),
    Field("inter", SAME, "the addresses; NULL is never the case", form=_TEXT),
    *_fields("verbosity oldest"),
    Field("evictions", form="on|off"),
    Field("domain_socket", form=_TEXT),
    Field("umask", form="[0-7]+"),
    Field("shutdown_command", form=_YES),
    Field("growth_factor", form=_FACTOR),
    *_fields("chunk_size num_threads num_threads_per_udp"),
    Field("stat_key_prefix", form=r"\S"),
    Field("detail_enabled", form=_YES),
    *_fields("reqs_per_event"),
    Field("cas_enabled", form=_YES),
    *_fields("tcp_backlog"),
    Field("binding_protocol", form="ascii|auto-negotiate"),
    Field("auth_enabled_sasl", form="no"),
    Field("auth_enabled_ascii", form=_TEXT),
    *_fields("item_size_max"),
    Field("maxconns_fast", form=_YES),
    *_fields("hashpower_init"),
    Field("slab_reassign", form=_YES),
    *_fields("slab_automove"),
    Field("slab_automove_ratio", form=_FACTOR),
    *_fields("slab_automove_window slab_chunk_max"),
    Field("lru_crawler", form=_YES),
    *_fields("lru_crawler_sleep lru_crawler_tocrawl tail_repair_time"),
    *_fields("flush_enabled dump_enabled", _YES),
    Field("hash_algorithm", SAME, "names cachecore's own", form=r"\w+"),
    *_fields("lru_maintainer_thread lru_segmented", _YES),
    Field("lru_policy", SAME, "cachecore's own: s3fifo, segmented or flat", form="s3fifo|segmented|flat", newer=True),
    *_fields("hot_lru_pct warm_lru_pct"),
    *_fields("hot_max_factor warm_max_factor", _FACTOR),
    Field("temp_lru", form=_YES),
    *_fields("temporary_ttl idle_timeout watcher_logbuf_size worker_logbuf_size read_buf_mem_limit"),
    *_fields("track_sizes inline_ascii_response", _YES),
    Field("num_napi_ids", SAME, "a number; an older memcached has (null)", form=r"\d+|\(null\)"),
    Field("memory_file", form=_TEXT),
    Field("client_flags_size", newer=True),
)

ITEMS = (
    *_fields("number number_hot number_warm number_cold number_temp age_hot age_warm age"),
    Field("mem_requested", SAME, _OVERHEAD),
    *_fields("evicted evicted_nonzero evicted_time outofmemory"),
    _zero("tailrepairs", "no item gets stuck at a list's tail"),
    *_fields(
        "reclaimed expired_unfetched evicted_unfetched evicted_active crawler_reclaimed crawler_items_checked "
        "lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru direct_reclaims hits_to_hot hits_to_warm "
        "hits_to_cold hits_to_temp"
    ),
)

SLABS = (
    Field("chunk_size", SAME, "cachecore's own steps, unless -f is given"),
    *_fields("chunks_per_page total_pages total_chunks used_chunks free_chunks"),
    _zero("free_chunks_end", "as in memcached"),
    *_fields("get_hits cmd_set delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits"),
    *_fields("active_slabs total_malloced"),
)

CONNS = (
    Field("addr", form=r"(tcp|tcp6|unix):.+"),
    Field("listen_addr", form=r"(tcp|tcp6|unix):.+"),
    Field("state", form=r"conn_\w+"),
    *_fields("secs_since_last_cmd"),
)

#: With track_sizes the names are sizes.
SIZES = (Field("sizes_status", form="disabled"),)

#: The sections of the statistics, by what ``lists`` of a command says.
SECTIONS: dict[str, tuple[Field, ...]] = {
    "general": GENERAL,
    "settings": SETTINGS,
    "items": ITEMS,
    "slabs": SLABS,
    "conns": CONNS,
    "sizes": SIZES,
}

#: Statistics that must not appear, by section; the note names the absent feature.
NO_FIELDS: dict[str, tuple[tuple[str, str], ...]] = {
    "general": (
        (
            "get_extstore get_aborted_extstore get_oom_extstore recache_from_extstore miss_from_extstore "
            "badcrc_from_extstore extstore_memory_pressure extstore_compact_lost extstore_compact_rescues "
            "extstore_compact_resc_cold extstore_compact_resc_old extstore_compact_skipped extstore_page_allocs "
            "extstore_page_evictions extstore_page_reclaims extstore_pages_free extstore_pages_used "
            "extstore_objects_evicted extstore_objects_read extstore_objects_written extstore_objects_used "
            "extstore_bytes_evicted extstore_bytes_written extstore_bytes_read extstore_bytes_used "
            "extstore_bytes_fragmented extstore_limit_maxbytes extstore_io_queue",
            "extstore",
        ),
        ("ssl_new_sessions ssl_handshake_errors ssl_proto_errors time_since_server_cert_refresh", "TLS"),
        ("proxy_conn_requests proxy_conn_errors proxy_conn_oom proxy_req_active", "proxy"),
    ),
    "settings": (
        (
            "ext_item_size ext_item_age ext_low_ttl ext_recache_rate ext_wbuf_size ext_compact_under ext_drop_under "
            "ext_max_sleep ext_max_frag slab_automove_freeratio ext_drop_unread",
            "extstore",
        ),
        (
            "ssl_enabled ssl_chain_cert ssl_key ssl_verify_mode ssl_keyformat ssl_ciphers ssl_ca_cert ssl_wbuf_size "
            "ssl_session_cache ssl_kernel_tls ssl_min_version",
            "TLS",
        ),
        ("proxy_enabled proxy_uring_enabled", "proxy"),
        ("drop_privileges", "only in builds of memcached that can give up system calls"),
    ),
    "conns": (
        ("UDP", "UDP"),
        ("resps_waiting", "no reply waits for a disk or another server"),
    ),
}

#: What 1.6.18 shows and 1.6.45 does not.
FORMER_FIELDS = frozenset({"slab_reassign_evictions_nomem"})


# ---- watch

LINES = (
    Line("item_get", watched="fetchers", names="key status clsid cfd size"),
    Line("item_store", watched="mutations", names="key status cmd ttl clsid cfd size"),
    Line("eviction", watched="evictions", names="key fetch ttl la clsid size"),
    Line("deleted", watched="deletions", names="key cmd clsid size"),
    Line("conn_new", watched="connevents", names="rip rport transport cfd"),
    Line("conn_close", watched="connevents", names="rip rport transport reason cfd"),
    Line(
        "lru_crawler",
        SAME,
        "lru=all: one line for a class, as the crawler walks pages, not lists",
        watched="sysevents",
        names="crawler lru low_mark next_reclaims since_run next_run elapsed examined reclaimed",
    ),
    Line("slab_move", watched="sysevents", names="src dst state"),
)

#: Words that are granted and bring no line.
QUIET_WORDS = (
    Line("rawcmds", SAME, "no lines, as in memcached", watched="rawcmds"),
    Line("proxyreqs", ACCEPTED, "proxy", watched="proxyreqs"),
    Line("proxyevents", ACCEPTED, "proxy", watched="proxyevents"),
    Line("proxyuser", ACCEPTED, "proxy", watched="proxyuser"),
)

#: Lines that never come.
NO_LINES = (
    Line("extwrite", ABSENT, "extstore", watched="evictions"),
    Line(
        "compact_start, compact_abort, compact_read_start, compact_read_end, compact_end, compact_fraginfo",
        ABSENT,
        "extstore",
        watched="sysevents",
    ),
    Line("conntlserr", ABSENT, "TLS", watched="connevents"),
)
