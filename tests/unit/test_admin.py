"""The commands that Python answers: which row a line fits, what is a number, what the engine is told."""

from __future__ import annotations

import pytest

from cachecore import Settings, stats
from cachecore.admin import Admin
from tests.unit.fake_engine import EveryNumber, FakeEngine, FakeOptions

OK = b"OK\r\n"
ERROR = b"ERROR\r\n"
FORMAT = b"CLIENT_ERROR bad command line format\r\n"
EVERYTHING = {"enable_shutdown": True, "slab_reassign": True, "lru_maintainer": True}


class Bench:
    """A dispatcher on a fake engine; ``shutdowns`` are those that were asked for."""

    def __init__(self, engine: FakeEngine, **options: bool) -> None:
        self.engine = engine
        self.options = FakeOptions(**options)
        self.shutdowns: list[bool] = []
        self.admin = Admin(engine, self.options, self.shutdowns.append)

    def state(self) -> dict[str, object]:
        return {name: value for name, value in vars(self.engine).items() if name.islower()} | {
            "shutdowns": list(self.shutdowns),
            "calls": list(self.engine.calls),
        }


@pytest.fixture
def bench(engine) -> Bench:
    engine.crawler_enabled = True
    return Bench(engine, **EVERYTHING)


#: Lines, and what the engine is like behind them.
ACCEPTED = [
    (b"slabs automove 0", {"automove": 0}),
    (b"slabs automove 1", {"automove": 1}),
    (b"slabs automove 00000000002", {"automove": 2}),
    (b"slabs  automove  2  x y ", {"automove": 2}),
    (b"slabs automove ratio .5", {"automove_ratio": 0.5}),
    (b"slabs automove ratio -1.25e0 x", {"automove_ratio": -1.25}),
    (b"slabs automove ratio 1." + b"0" * 29, {"automove_ratio": 1.0}),
    (b"slabs automove freeratio 0.01", {}),
    (b"slabs automove freeratio 0.01 x", {}),
    (b"slabs automove window 3", {"automove_window": 3}),
    (b"slabs automove window 1800 x", {"automove_window": 1800}),
    (b"slabs reassign 1 2", {"calls": [("reassign", 1, 2)]}),
    (b"slabs reassign -1 0", {"calls": [("reassign", -1, 0)]}),
    (b"slabs reassign - 2147483647", {"calls": [("reassign", 0, 2147483647)]}),
    (b"lru mode segmented", {"lru_policy": "segmented"}),
    (b"lru mode segmented x", {"lru_policy": "segmented"}),
    (b"lru mode flat", {"lru_policy": "flat"}),
    (b"lru mode flat x", {"lru_policy": "flat"}),
    (b"lru temp_ttl 0", {"temporary_ttl": 0}),
    (b"lru temp_ttl 61 x", {"temporary_ttl": 61}),
    (
        b"lru tune 80 0 1. 1e-1",
        {"hot_lru_pct": 80, "warm_lru_pct": 0, "hot_max_factor": 1.0, "warm_max_factor": 0.1},
    ),
    (b"lru tune 21 41 1 2 x", {"hot_lru_pct": 21, "warm_lru_pct": 41, "hot_max_factor": 1.0, "warm_max_factor": 2.0}),
    (b"lru_crawler disable", {"crawler_enabled": False}),
    (b"lru_crawler sleep 1000000", {"crawler_sleep": 1_000_000}),
    (b"lru_crawler tocrawl 4294967295", {"crawler_tocrawl": 4294967295}),
    (b"lru_crawler crawl all", {"calls": [("crawl", None)]}),
    (b"lru_crawler crawl 1", {"calls": [("crawl", [1])]}),
    (b"lru_crawler crawl ,63,,1,1,", {"calls": [("crawl", [1, 63])]}),
    (b"cache_memlimit 8", {"memory_limit": 8 << 20}),
    (b"cache_memlimit 1000000000 x y", {"memory_limit": 1_000_000_000 << 20}),
    (b"stats detail on", {"detail": True}),
    (b"stats detail on x", {"detail": True}),
]


@pytest.mark.parametrize(("line", "changes"), ACCEPTED, ids=[line.decode() for line, _ in ACCEPTED])
def test_what_the_engine_is_told(bench, line, changes):
    before = bench.state()
    assert bench.admin.answer(line) == OK
    assert bench.state() == before | changes


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (b"lru temp_ttl -1", "temporary_ttl", 5),
        (b"lru_crawler enable", "crawler_enabled", False),
        (b"stats detail off", "detail", True),
        (b"stats detail off x", "detail", True),
    ],
)
def test_what_is_switched_back(bench, line, name, value):
    setattr(bench.engine, name, value)
    before = bench.state()
    assert bench.admin.answer(line) == OK
    assert bench.state() == before | {name: {"temporary_ttl": None}.get(name, not value)}


#: Lines that change nothing, and what is said to them.
REFUSED = [
    (b"slabs", ERROR),
    (b"slabs x", ERROR),
    (b"slabs a 1", ERROR),
    (b"slabs reassign", ERROR),
    (b"slabs reassign 1", ERROR),
    (b"slabs reassign 1 2 3", ERROR),
    (b"slabs reassign x 2", FORMAT),
    (b"slabs reassign 1 +2", FORMAT),
    (b"slabs reassign 1 -x", FORMAT),
    (b"slabs reassign 1 -1_0", FORMAT),
    (b"slabs reassign 1 2147483648", FORMAT),
    (b"slabs reassign 000000000001 2", FORMAT),
    (b"slabs reassign -2147483649 2", FORMAT),
    (b"slabs automove", ERROR),
    (b"slabs automove 3", ERROR),
    (b"slabs automove -1", FORMAT),
    (b"slabs automove -", FORMAT),
    (b"slabs automove 000000000002", FORMAT),
    (b"slabs automove 4294967296", FORMAT),
    (b"slabs automove \xd9\xa1", FORMAT),
    (b"slabs automove 1_0", FORMAT),
    (b"slabs automove ratio", ERROR),
    (b"slabs automove ratio x", ERROR),
    (b"slabs automove ratio nan", ERROR),
    (b"slabs automove ratio inf", ERROR),
    (b"slabs automove ratio 1e999", ERROR),
    (b"slabs automove ratio 1_0", ERROR),
    (b"slabs automove ratio .", ERROR),
    (b"slabs automove ratio " + b"0" * 32, ERROR),
    (b"slabs automove freeratio", ERROR),
    (b"slabs automove freeratio x", ERROR),
    (b"slabs automove window", FORMAT),
    (b"slabs automove window x", FORMAT),
    (b"slabs automove window 2", b"CLIENT_ERROR automove window too low or too high\r\n"),
    (b"slabs automove window 1801", b"CLIENT_ERROR automove window too low or too high\r\n"),
    (b"lru", ERROR),
    (b"lru x", ERROR),
    (b"lru mode", ERROR),
    (b"lru mode x", ERROR),
    (b"lru mode f", ERROR),
    (b"lru tune 10 10 1", ERROR),
    (b"lru tune x 10 1 1", ERROR),
    (b"lru tune 10 -1 1 1", ERROR),
    (b"lru tune 10 10 x 1", ERROR),
    (b"lru tune 10 10 1 nan", ERROR),
    (b"lru tune 40 41 1 1", b"ERROR hot and warm pcts must not exceed 80\r\n"),
    (b"lru tune 4294967295 1 1 1", b"ERROR hot and warm pcts must not exceed 80\r\n"),
    (b"lru tune 10 10 0 1", b"ERROR hot/warm age factors must be greater than 0\r\n"),
    (b"lru tune 10 10 1 -1", b"ERROR hot/warm age factors must be greater than 0\r\n"),
    (b"lru temp_ttl", ERROR),
    (b"lru temp_ttl x", ERROR),
    (b"lru temp_ttl 2147483648", ERROR),
    (b"lru_crawler", ERROR),
    (b"lru_crawler x", ERROR),
    (b"lru_crawler enable", b"ERROR failed to start lru crawler thread\r\n"),
    (b"lru_crawler enable x", ERROR),
    (b"lru_crawler disable x", ERROR),
    (b"lru_crawler sleep", ERROR),
    (b"lru_crawler sleep 1 2", ERROR),
    (b"lru_crawler sleep x", FORMAT),
    (b"lru_crawler sleep 1000001", b"CLIENT_ERROR sleep must be one second or less\r\n"),
    (b"lru_crawler tocrawl", ERROR),
    (b"lru_crawler tocrawl 1 2", ERROR),
    (b"lru_crawler tocrawl -1", FORMAT),
    (b"lru_crawler crawl", ERROR),
    (b"lru_crawler crawl 1 2", ERROR),
    (b"lru_crawler crawl 0", b"BADCLASS invalid class id\r\n"),
    (b"lru_crawler crawl 64", b"BADCLASS invalid class id\r\n"),
    (b"lru_crawler crawl 000000000001", b"BADCLASS invalid class id\r\n"),
    (b"lru_crawler crawl 1,x", b"BADCLASS invalid class id\r\n"),
    (b"lru_crawler crawl ,", b"NOTSTARTED no items to crawl\r\n"),
    (b"lru_crawler crawl hash", b"ERROR an unknown error happened\r\n"),
    (b"cache_memlimit", ERROR),
    (b"cache_memlimit x", ERROR),
    (b"cache_memlimit -8", ERROR),
    (b"cache_memlimit 4294967296", ERROR),
    (b"cache_memlimit 7", b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"),
    (b"cache_memlimit 1000000001", b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"),
    (b"shutdown x", b"CLIENT_ERROR invalid shutdown mode\r\n"),
    (b"shutdown graceful x", b"CLIENT_ERROR invalid shutdown mode\r\n"),
    (b"stats x", ERROR),
    (b"stats r", ERROR),
    (b"stats noreply", ERROR),
    (b"stats\tsettings", ERROR),
    (b"stats Items", ERROR),
    (b"stats \xff", ERROR),
    (b"statsx", ERROR),
    (b"stats sizes_enable", ERROR),
    (b"stats extstore", b"END\r\n"),
    (b"stats extstore x", b"END\r\n"),
    (b"stats detail", b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"),
    (b"stats detail d", b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"),
    (b"stats detail noreply", b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"),
    (b"stats cachedump", b"CLIENT_ERROR bad command line\r\n"),
    (b"stats cachedump 1", b"CLIENT_ERROR bad command line\r\n"),
    (b"stats cachedump 1 x", FORMAT),
    (b"stats cachedump -1 1", FORMAT),
    (b"stats cachedump 64 1", b"CLIENT_ERROR Illegal slab id\r\n"),
]


@pytest.mark.parametrize(("line", "reply"), REFUSED, ids=[line.decode("latin-1") for line, _ in REFUSED])
def test_what_is_refused_changes_nothing(bench, line, reply):
    before = bench.state()
    assert bench.admin.answer(line) == reply
    assert bench.state() == before


@pytest.mark.parametrize(
    ("option", "line", "reply"),
    [
        ({"slab_reassign": False}, b"slabs reassign 1 2", b"CLIENT_ERROR slab reassignment disabled\r\n"),
        ({"slab_reassign": False}, b"slabs reassign x 2", b"CLIENT_ERROR slab reassignment disabled\r\n"),
        ({"slab_reassign": False}, b"slabs reassign 1", ERROR),
        ({"lru_maintainer": False}, b"lru mode flat", ERROR),
        ({"lru_maintainer": False}, b"lru mode segmented", ERROR),
        ({"lru_maintainer": False}, b"lru temp_ttl 5", ERROR),
        ({"enable_shutdown": False}, b"shutdown", b"SERVER_ERROR: shutdown not enabled\r\n"),
        ({"enable_shutdown": False}, b"shutdown graceful", b"SERVER_ERROR: shutdown not enabled\r\n"),
        ({"enable_shutdown": False}, b"shutdown x", b"SERVER_ERROR: shutdown not enabled\r\n"),
        ({"disable_dumping": True}, b"stats detail on", b"CLIENT_ERROR stats detail not allowed\r\n"),
        ({"disable_dumping": True}, b"stats detail off", b"CLIENT_ERROR stats detail not allowed\r\n"),
        ({"disable_dumping": True}, b"stats detail dump", b"CLIENT_ERROR stats detail not allowed\r\n"),
        ({"disable_dumping": True}, b"stats detail", b"CLIENT_ERROR stats detail not allowed\r\n"),
        ({"disable_dumping": True}, b"stats cachedump 1 1", b"CLIENT_ERROR stats cachedump not allowed\r\n"),
        ({"disable_dumping": True}, b"stats cachedump", b"CLIENT_ERROR stats cachedump not allowed\r\n"),
    ],
)
def test_what_an_option_forbids(engine, option, line, reply):
    bench = Bench(engine, **EVERYTHING | option)
    before = bench.state()
    assert bench.admin.answer(line) == reply
    assert bench.state() == before


def test_the_crawler_has_to_be_enabled(bench):
    bench.engine.crawler_enabled = False
    for which in (b"all", b"x"):
        assert bench.admin.answer(b"lru_crawler crawl " + which) == b"CLIENT_ERROR lru crawler disabled\r\n"
    assert bench.engine.calls == []


@pytest.mark.parametrize(
    ("line", "verdict", "reply"),
    [
        (b"slabs reassign 1 2", "BUSY", b"BUSY currently processing reassign request\r\n"),
        (b"slabs reassign 1 2", "BADCLASS", b"BADCLASS invalid src or dst class id\r\n"),
        (b"slabs reassign 1 2", "NOSPARE", b"NOSPARE source class has no spare pages\r\n"),
        (b"slabs reassign 1 2", "SAME", b"SAME src and dst class are identical\r\n"),
        (b"lru_crawler crawl all", "BUSY", b"BUSY currently processing crawler request\r\n"),
        (b"lru_crawler crawl 1", "BADCLASS", b"BADCLASS invalid class id\r\n"),
    ],
)
def test_what_the_engine_says_to_it(bench, line, verdict, reply):
    bench.engine.verdict = verdict
    assert bench.admin.answer(line) == reply


def test_a_memory_limit_that_cannot_be_had(bench):
    bench.engine.memory_limit = None
    reply = b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"
    assert bench.admin.answer(b"cache_memlimit 64") == reply


@pytest.mark.parametrize(("line", "graceful"), [(b"shutdown", False), (b"shutdown graceful ", True)])
def test_shutdown_closes_the_connection(bench, line, graceful):
    assert bench.admin.answer(line) is None
    assert bench.shutdowns == [graceful]


@pytest.mark.parametrize(
    "line",
    [
        b"slabs automove 1 noreply",
        b"slabs automove x noreply",
        b"slabs noreply",
        b"lru mode segmented noreply",
        b"lru x noreply",
        b"lru_crawler sleep x noreply",
        b"cache_memlimit 64 noreply ",
        b"cache_memlimit noreply",
        b"shutdown x noreply",
        b"cache_memlimit 64" + b" x" * 20 + b" noreply",
    ],
)
def test_noreply(bench, line):
    assert bench.admin.answer(line) == b""


def test_noreply_is_a_word_like_any_other(bench):
    """A command with a fixed number of words does not have one more."""
    for line in (b"lru_crawler disable noreply", b"slabs reassign 1 2 noreply", b"shutdown noreply"):
        before = bench.state()
        assert bench.admin.answer(line) == b""
        assert bench.state() == before
    assert bench.admin.answer(b"slabs automove 2 noreply") == b""
    assert bench.engine.automove == 2


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"cache_memlimit 64 noreply x", OK),
        (b"cache_memlimit 64" + b" x" * 21 + b" noreply", OK),
        (b"cache_memlimit 64 NOREPLY", OK),
        (b"stats reset noreply", b"RESET\r\n"),
        (b"stats x noreply", ERROR),
        (b"stats detail on noreply", OK),
    ],
)
def test_what_is_not_silenced(bench, line, reply):
    assert bench.admin.answer(line) == reply


def test_words_beyond_the_limit_are_not_seen(bench):
    assert bench.admin.answer(b"shutdown" + b" x" * 40) == b"CLIENT_ERROR invalid shutdown mode\r\n"


@pytest.mark.parametrize("line", [b"stats reset", b"stats  reset ", b"stats reset now"])
def test_reset(bench, line):
    assert bench.admin.answer(line) == b"RESET\r\n"
    assert bench.engine.calls == ["reset"]


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b"stats settings", stats.settings),
        (b"stats  settings  detail", stats.settings),
        (b"stats items x", stats.items),
        (b"stats slabs noreply", stats.slabs),
        (b"stats sizes", stats.sizes),
        (b"stats sizes x", stats.sizes),
        (b"stats conns x", stats.connections),
    ],
)
def test_lists(bench, line, fields):
    bench.engine.classes = {3: EveryNumber(number=1, total_pages=1)}
    bench.engine.clients = [(7, "a", "b", "c", 1)]
    expected = stats.encode(fields(bench.engine, bench.options))
    assert expected.count(b"\r\n") > 1
    assert bench.admin.answer(line) == expected


@pytest.mark.parametrize("line", [b"stats", b"stats ", b"stats   "])
def test_stats_alone(bench, line):
    names = [field.split(b" ")[1] for field in bench.admin.answer(line).split(b"\r\n")[:-2]]
    assert names == [name.encode() for name in stats.general(bench.engine, bench.options)]


def test_dumps(bench):
    bench.engine.dumped = [(b"k", 5, 0)]
    bench.engine.prefixes = [(b"p", 1, 2, 3, 4)]
    assert bench.admin.answer(b"stats cachedump 63 0 x") == b"ITEM k [5 b; 0 s]\r\nEND\r\n"
    assert bench.engine.calls == [("cachedump", 63, 0)]
    assert bench.admin.answer(b"stats detail dump x") == b"PREFIX p get 1 hit 2 set 3 del 4\r\nEND\r\n"


def test_no_prefix_breaks_a_line(bench):
    bench.engine.prefixes = [(b"a\r\nEND\r\nb%20 \x00\x7f\xff~", 0, 0, 1, 0)]
    reply = b"PREFIX a%0D%0AEND%0D%0Ab%2520%20%00%7F\xff~ get 0 hit 0 set 1 del 0\r\nEND\r\n"
    assert bench.admin.answer(b"stats detail dump") == reply


def test_what_is_changed_shows_in_the_settings(bench):
    for line in (b"slabs automove 2", b"lru tune 11 22 0.33 4.4", b"lru_crawler sleep 55", b"stats detail on"):
        assert bench.admin.answer(line) == OK
    lines = bench.admin.answer(b"stats settings").split(b"\r\n")
    assert lines[0] == b"STAT maxbytes %d" % (Settings().memory_limit << 20)
    assert {
        b"STAT slab_automove 2",
        b"STAT hot_lru_pct 11",
        b"STAT warm_lru_pct 22",
        b"STAT hot_max_factor 0.33",
        b"STAT warm_max_factor 4.40",
        b"STAT lru_crawler_sleep 55",
        b"STAT detail_enabled yes",
    } <= set(lines)
