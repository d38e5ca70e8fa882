"""slabs, lru, lru_crawler, cache_memlimit, shutdown and the rarer stats: what is refused before anything is done."""

from __future__ import annotations

from tests.support.cases import END, ERROR, FORMAT, MN, OK, Case, case, check, recorded, rows
from tests.support.peers import Peer

TOO_SMALL = b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"
TOO_LARGE = b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"
PERCENT = b"ERROR hot and warm pcts must not exceed 80\r\n"
FACTORS = b"ERROR hot/warm age factors must be greater than 0\r\n"
SLEEP = b"CLIENT_ERROR sleep must be one second or less\r\n"
WINDOW = b"CLIENT_ERROR automove window too low or too high\r\n"
NO_SHUTDOWN = b"SERVER_ERROR: shutdown not enabled\r\n"
OLD_NO_SHUTDOWN = b"ERROR: shutdown not enabled\r\n"
USAGE = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"
CACHEDUMP = b"CLIENT_ERROR bad command line\r\n"

SLABS = [
    case("slabs", b"slabs\r\n", ERROR),
    case("slabs-unknown", b"slabs x\r\n", ERROR),
    case("slabs-upper-case", b"slabs AUTOMOVE 1\r\n", ERROR),
    case("slabs-part-of-a-word", b"slabs auto 1\r\n", ERROR),
    case("reassign", b"slabs reassign\r\n", ERROR),
    case("reassign-one-class", b"slabs reassign 1\r\n", ERROR),
    case("reassign-three-classes", b"slabs reassign 1 2 3\r\n", ERROR),
    case("reassign-with-noreply-is-too-long", b"slabs reassign 1 1 noreply\r\nmn\r\n", MN),
    case("automove", b"slabs automove\r\n", ERROR),
    case("automove-3", b"slabs automove 3\r\n", ERROR),
    case("automove-word", b"slabs automove x\r\n", FORMAT),
    case("automove-negative", b"slabs automove -1\r\n", FORMAT),
    case("automove-plus", b"slabs automove +1\r\n", FORMAT),
    case("automove-hex", b"slabs automove 0x1\r\n", FORMAT),
    case("automove-long-zero", b"slabs automove 000000000000\r\n", FORMAT),
    case("automove-beyond-32-bits", b"slabs automove 4294967296\r\n", FORMAT),
    case("automove-noreply-is-no-number", b"slabs automove noreply\r\nmn\r\n", MN),
    case("automove-3-noreply", b"slabs automove 3 noreply\r\nmn\r\n", MN),
    case("automove-ratio", b"slabs automove ratio\r\n", ERROR),
    case("automove-ratio-word", b"slabs automove ratio x\r\n", ERROR),
    case("automove-ratio-nan", b"slabs automove ratio nan\r\n", ERROR),
    case("automove-ratio-beyond-a-double", b"slabs automove ratio 1e999\r\n", ERROR),
    case("automove-ratio-below-a-double", b"slabs automove ratio 1e-400\r\n", ERROR),
    case("automove-freeratio", b"slabs automove freeratio\r\n", ERROR),
    case("automove-freeratio-word", b"slabs automove freeratio x\r\n", ERROR),
    case("automove-window", b"slabs automove window\r\n", FORMAT),
    case("automove-window-word", b"slabs automove window x\r\n", FORMAT),
    case("automove-window-2", b"slabs automove window 2\r\n", WINDOW),
    case("automove-window-1801", b"slabs automove window 1801\r\n", WINDOW),
]

LRU = [
    case("lru", b"lru\r\n", ERROR),
    case("lru-unknown", b"lru x\r\n", ERROR),
    case("lru-mode", b"lru mode\r\n", ERROR),
    case("lru-mode-unknown", b"lru mode x\r\n", ERROR),
    case("lru-mode-unknown-noreply", b"lru mode x noreply\r\nmn\r\n", MN),
    case("lru-mode-part-of-a-word", b"lru mode segment\r\n", ERROR),
    case("lru-tune", b"lru tune\r\n", ERROR),
    case("lru-tune-three-numbers", b"lru tune 20 40 0.2\r\n", ERROR),
    case("lru-tune-noreply-is-no-number", b"lru tune 20 40 0.2 noreply\r\nmn\r\n", MN),
    case("lru-tune-word-1", b"lru tune x 40 0.2 2\r\n", ERROR),
    case("lru-tune-word-2", b"lru tune 20 x 0.2 2\r\n", ERROR),
    case("lru-tune-word-3", b"lru tune 20 40 x 2\r\n", ERROR),
    case("lru-tune-word-4", b"lru tune 20 40 0.2 x\r\n", ERROR),
    case("lru-tune-negative", b"lru tune -1 40 0.2 2\r\n", ERROR),
    case("lru-tune-81-percent", b"lru tune 40 41 0.2 2\r\n", PERCENT),
    case("lru-tune-81-percent-noreply", b"lru tune 40 41 0.2 2 noreply\r\nmn\r\n", MN),
    case("lru-tune-percent-first", b"lru tune 40 41 0 0\r\n", PERCENT),
    case("lru-tune-percents-do-not-wrap", b"lru tune 4294967295 1 0 0\r\n", PERCENT),
    case("lru-tune-factor-0", b"lru tune 20 40 0 2\r\n", FACTORS),
    case("lru-tune-factor-negative", b"lru tune 20 40 0.2 -2\r\n", FACTORS),
    case("lru-temp-ttl", b"lru temp_ttl\r\n", ERROR),
    case("lru-temp-ttl-word", b"lru temp_ttl x\r\n", ERROR),
]

CRAWLER = [
    case("crawler", b"lru_crawler\r\n", ERROR),
    case("crawler-unknown", b"lru_crawler x\r\n", ERROR),
    case("crawler-unknown-noreply", b"lru_crawler x noreply\r\nmn\r\n", MN),
    case("crawler-enable-and-more", b"lru_crawler enable x\r\n", ERROR),
    case("crawler-disable-and-more", b"lru_crawler disable x\r\n", ERROR),
    case("crawler-disable-with-noreply-is-too-long", b"lru_crawler disable noreply\r\nmn\r\n", MN),
    case("crawler-sleep", b"lru_crawler sleep\r\n", ERROR),
    case("crawler-sleep-two-numbers", b"lru_crawler sleep 100 100\r\n", ERROR),
    case("crawler-sleep-word", b"lru_crawler sleep x\r\n", FORMAT),
    case("crawler-sleep-negative", b"lru_crawler sleep -1\r\n", FORMAT),
    case("crawler-sleep-too-long", b"lru_crawler sleep 1000001\r\n", SLEEP),
    case("crawler-tocrawl", b"lru_crawler tocrawl\r\n", ERROR),
    case("crawler-tocrawl-two-numbers", b"lru_crawler tocrawl 0 0\r\n", ERROR),
    case("crawler-tocrawl-word", b"lru_crawler tocrawl x\r\n", FORMAT),
    case("crawler-crawl", b"lru_crawler crawl\r\n", ERROR),
    case("crawler-crawl-two-words", b"lru_crawler crawl 1 2\r\n", ERROR),
]

OTHERS = [
    case("memlimit", b"cache_memlimit\r\n", ERROR),
    case("memlimit-noreply-is-no-number", b"cache_memlimit noreply\r\nmn\r\n", MN),
    case("memlimit-word", b"cache_memlimit x\r\n", ERROR),
    case("memlimit-negative", b"cache_memlimit -64\r\n", ERROR),
    case("memlimit-beyond-32-bits", b"cache_memlimit 4294967296\r\n", ERROR),
    case("memlimit-too-small", b"cache_memlimit 7\r\n", TOO_SMALL),
    case("memlimit-too-small-noreply", b"cache_memlimit 7 noreply\r\nmn\r\n", MN),
    case("memlimit-too-small-noreply-not-last", b"cache_memlimit 7 noreply x\r\n", TOO_SMALL),
    case("memlimit-bytes", b"cache_memlimit 1000000001\r\n", TOO_LARGE),
    case("shutdown", b"shutdown\r\nmn\r\n", NO_SHUTDOWN + MN),
    case("shutdown-graceful", b"shutdown graceful\r\nmn\r\n", NO_SHUTDOWN + MN),
    case("shutdown-mode", b"shutdown x y z\r\nmn\r\n", NO_SHUTDOWN + MN),
    case("shutdown-noreply", b"shutdown noreply\r\nmn\r\n", MN),
    case("a-word-more", b"slabs_ reassign 1 1\r\n", ERROR),
    case("a-leading-blank", b" lru mode x\r\n", ERROR),
    case("a-tab-is-no-blank", b"lru\tmode x\r\n", ERROR),
    case("many-blanks", b"lru   tune   40  41  0.2   2   \r\n", PERCENT),
    case("replies-keep-their-order", b"mn\r\nlru x\r\nmn\r\nslabs x\r\nmn\r\n", MN + (ERROR + MN) * 2),
]

STATS = [
    case("stats-extstore", b"stats extstore\r\n", END),
    case("stats-extstore-and-more", b"stats extstore x\r\n", END),
    case("stats-sizes", b"stats sizes\r\n", b"STAT sizes_status disabled\r\nEND\r\n"),
    case("stats-sizes-and-more", b"stats sizes x\r\n", b"STAT sizes_status disabled\r\nEND\r\n"),
    case("stats-sizes-switch", b"stats sizes_enable\r\nstats sizes_disable\r\n", ERROR * 2),
    case("stats-detail", b"stats detail\r\n", USAGE),
    case("stats-detail-unknown", b"stats detail x\r\n", USAGE),
    case("stats-detail-part-of-a-word", b"stats detail d\r\n", USAGE),
    case("stats-detail-noreply", b"stats detail noreply\r\n", USAGE),
    case("stats-cachedump", b"stats cachedump\r\n", CACHEDUMP),
    case("stats-cachedump-one-number", b"stats cachedump 1\r\n", CACHEDUMP),
    case("stats-cachedump-word-1", b"stats cachedump x 1\r\n", FORMAT),
    case("stats-cachedump-word-2", b"stats cachedump 1 x\r\n", FORMAT),
    case("stats-cachedump-negative", b"stats cachedump -1 1\r\n", FORMAT),
    case("stats-cachedump-no-class", b"stats cachedump 64 1\r\n", b"CLIENT_ERROR Illegal slab id\r\n"),
    case("stats-conns-part-of-a-word", b"stats conn\r\n", ERROR),
    case("stats-proxy", b"stats proxy\r\n", ERROR),
    case("stats-reset-and-more", b"stats reset noreply\r\n", b"RESET\r\n"),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "lenient-numbers": {
        "automove-plus": OK,
        "automove-long-zero": OK,
    },
    "truncated-numbers": {
        "automove-beyond-32-bits": OK,
        "memlimit-beyond-32-bits": TOO_SMALL,
    },
    "surplus-arguments": {
        "memlimit-too-small-noreply-not-last": ERROR,
    },
    "automove-arguments": {
        "automove-freeratio": FORMAT,
        "automove-freeratio-word": FORMAT,
        "automove-window-2": FORMAT,
        "automove-window-1801": FORMAT,
    },
    "infinite-numbers": {
        "automove-ratio-nan": OK,
    },
    "percents-wrap": {
        "lru-tune-percents-do-not-wrap": FACTORS,
    },
    "admin-noreply": {
        "reassign-with-noreply-is-too-long": ERROR + MN,
        "crawler-unknown-noreply": ERROR + MN,
        "crawler-disable-with-noreply-is-too-long": ERROR + MN,
        "shutdown-noreply": OLD_NO_SHUTDOWN + MN,
    },
    "shutdown-text": {
        "shutdown": OLD_NO_SHUTDOWN + MN,
        "shutdown-graceful": OLD_NO_SHUTDOWN + MN,
        "shutdown-mode": OLD_NO_SHUTDOWN + MN,
    },
    "sizes-switch": {
        "stats-sizes-switch": b"STAT sizes_status enabled\r\nSTAT sizes_status disabled\r\n",
    },
}

CASES = recorded(SLABS + LRU + CRAWLER + OTHERS + STATS, MEMCACHED)


@rows(CASES)
def test_admin_errors(peer: Peer, row: Case) -> None:
    check(peer, row)
