"""The suboptions of ``-o``: how they are read, what is refused, and how memcached refuses the same."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from cachecore import Settings, SettingsError
from cachecore.settings import SUBOPTIONS
from cachecore.usage import help_text, parse_argv


def read(text: str, *words: str) -> Settings:
    return parse_argv([*words, "-o", text]).settings


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("no_maxconns_fast", {"maxconns_fast": False}),
        ("no_maxconns_fast,maxconns_fast", {"maxconns_fast": True}),
        ("no_maxconns_fast=1", {"maxconns_fast": False}),
        ("hashpower=12", {"hashpower": 12}),
        ("hashpower=32", {"hashpower": 32}),
        ("no_hashexpand", {"hashexpand": False}),
        ("tail_repair_time=10", {"tail_repair_time": 10}),
        ("hash_algorithm=xxh3", {"hash_algorithm": "xxh3"}),
        ("no_lru_crawler", {"lru_crawler": False}),
        ("lru_crawler_sleep=1000000", {"lru_crawler_sleep": 1_000_000}),
        ("lru_crawler_tocrawl=5", {"lru_crawler_tocrawl": 5}),
        ("no_lru_maintainer", {"lru_maintainer": False}),
        ("hot_lru_pct=79,warm_lru_pct=1", {"hot_lru_pct": 79, "warm_lru_pct": 1}),
        ("hot_max_factor=.5,warm_max_factor=3", {"hot_max_factor": 0.5, "warm_max_factor": 3.0}),
        ("temporary_ttl=0", {"temporary_ttl": 0}),
        ("idle_timeout=5", {"idle_timeout": 5}),
        ("no_slab_reassign", {"slab_reassign": False}),
        ("slab_automove=2", {"slab_automove": 2}),
        ("slab_automove=2,slab_automove", {"slab_automove": 1}),
        ("no_slab_automove", {"slab_automove": 0}),
        ("slab_automove_ratio=1", {"slab_automove_ratio": 1.0}),
        ("slab_automove_window=3", {"slab_automove_window": 3}),
        ("slab_automove_window=1800", {"slab_automove_window": 1800}),
        ("slab_sizes=48-100-109-524288", {"slab_sizes": (48, 100, 109, 524288)}),
        ("slab_chunk_max=1", {"slab_chunk_max": 1}),
        ("slab_chunk_max=1024", {"slab_chunk_max": 1024}),
        ("no_chunked_items", {"slab_chunk_max": 1024}),
        ("watcher_logbuf_size=1,worker_logbuf_size=2", {"watcher_logbuf_size": 1, "worker_logbuf_size": 2}),
        ("track_sizes", {"track_sizes": True}),
        ("read_buf_mem_limit=3", {"read_buf_mem_limit": 3}),
        ("inline_ascii_resp,no_inline_ascii_resp", {"inline_ascii_resp": False}),
        ("drop_privileges", {"drop_privileges": True}),
        ("sock_cookie_id=4294967295", {"sock_cookie_id": 4294967295}),
        ("modern", {}),
        (
            "no_modern",
            {
                "slab_chunk_max": 1024,
                "slab_reassign": False,
                "slab_automove": 0,
                "maxconns_fast": False,
                "lru_maintainer": False,
                "lru_crawler": False,
                "hash_algorithm": "jenkins",
            },
        ),
    ],
)
def test_a_suboption_is_a_keyword(text, values):
    assert read(text) == Settings(**values)


def test_a_later_word_counts():
    found = read("no_modern,lru_crawler", "-o", "slab_reassign,idle_timeout=1", "-o", "idle_timeout=2")
    assert (found.lru_crawler, found.slab_reassign, found.idle_timeout) == (True, False, 2)


def test_what_memcached_forgets_is_only_remarked_upon():
    for text in ("resp_obj_mem_limit", "resp_obj_mem_limit=x"):
        settings, _, remarks = parse_argv(["-o", text])
        assert settings == Settings()
        assert remarks == ("DEPRECATED: resp_obj_mem_limit no longer used. See read_buf_mem_limit",)


#: Wrong in both: the text of -o, the message's first line, the status of the process.
WRONG = [
    ("foo", 'Illegal suboption "foo"', 1),
    ("foo=1", 'Illegal suboption "foo=1"', 1),
    (",", 'Illegal suboption ""', 1),
    ("lru_crawler,,lru_crawler", 'Illegal suboption ""', 1),
    ("lru_crawler, lru_crawler", 'Illegal suboption " lru_crawler"', 1),
    ("lru_crawler,foo=bar=1", 'Illegal suboption "foo=bar=1"', 1),
    ("hashexpand", 'Illegal suboption "hashexpand"', 1),
    ("no_track_sizes", 'Illegal suboption "no_track_sizes"', 1),
    ("no_idle_timeout", 'Illegal suboption "no_idle_timeout"', 1),
    ("relaxed_privileges", 'Illegal suboption "relaxed_privileges"', 1),
    ("proxy_config=x", 'Illegal suboption "proxy_config=x"', 1),
    ("hashpower", "Missing numeric argument for hashpower", 1),
    ("hashpower=11", "Initial hashtable multiplier of 11 is too low", 1),
    ("hashpower=0", "Initial hashtable multiplier of 0 is too low", 1),
    ("hashpower=33", "Initial hashtable multiplier of 33 is too high", 1),
    ("tail_repair_time", "Missing numeric argument for tail_repair_time", 1),
    ("tail_repair_time=9", "Cannot set tail_repair_time to less than 10 seconds", 1),
    ("hash_algorithm", "Missing hash_algorithm argument", 1),
    ("hash_algorithm=foo", "Unknown hash_algorithm option (jenkins, murmur3, xxh3)", 1),
    ("lru_crawler_sleep", "Missing lru_crawler_sleep value", 1),
    ("lru_crawler_sleep=-1", "LRU crawler sleep must be between 0 and 1 second", 1),
    ("lru_crawler_sleep=1000001", "LRU crawler sleep must be between 0 and 1 second", 1),
    ("lru_crawler_tocrawl", "Missing lru_crawler_tocrawl value", 1),
    ("lru_crawler_tocrawl=x", "lru_crawler_tocrawl takes a numeric 32bit value", 1),
    ("lru_crawler_tocrawl=-1", "lru_crawler_tocrawl takes a numeric 32bit value", 1),
    ("hot_lru_pct", "Missing hot_lru_pct argument", 1),
    ("hot_lru_pct=0", "hot_lru_pct must be > 1 and < 80", 1),
    ("hot_lru_pct=80", "hot_lru_pct must be > 1 and < 80", 1),
    ("hot_lru_pct=x", "hot_lru_pct must be > 1 and < 80", 1),
    ("warm_lru_pct", "Missing warm_lru_pct argument", 1),
    ("warm_lru_pct=0", "warm_lru_pct must be > 1 and < 80", 1),
    ("hot_lru_pct=79,warm_lru_pct=2", "hot_lru_pct + warm_lru_pct cannot be more than 80% combined", 64),
    ("hot_max_factor", "Missing hot_max_factor argument", 1),
    ("hot_max_factor=0", "hot_max_factor must be > 0", 1),
    ("hot_max_factor=x", "hot_max_factor must be > 0", 1),
    ("warm_max_factor", "Missing warm_max_factor argument", 1),
    ("warm_max_factor=-1", "warm_max_factor must be > 0", 1),
    ("temporary_ttl", "Missing temporary_ttl argument", 1),
    ("temporary_ttl=5,no_lru_maintainer", "temporary_ttl requires lru_maintainer to be enabled", 64),
    ("idle_timeout", "Missing numeric argument for idle_timeout", 1),
    ("slab_automove=3", "slab_automove must be between 0 and 2", 1),
    ("slab_automove=-1", "slab_automove must be between 0 and 2", 1),
    ("slab_automove_ratio", "Missing slab_automove_ratio argument", 1),
    ("slab_automove_ratio=0", "slab_automove_ratio must be > 0 and < 1", 1),
    ("slab_automove_ratio=1.1", "slab_automove_ratio must be > 0 and < 1", 1),
    ("slab_automove_window", "Missing slab_automove_window argument", 1),
    ("slab_automove_window=2", "slab_automove_window must be > 2", 1),
    ("slab_sizes=47", "slab size 47 is out of valid range", 64),
    ("slab_sizes=100-524289", "slab size 524289 is out of valid range", 64),
    ("slab_sizes=100-50", "slab size 50 cannot be lower than or equal to a previous class size", 64),
    ("slab_sizes=100-108", "slab size 108 must be at least 8 bytes larger than previous class", 64),
    ("watcher_logbuf_size", "Missing watcher_logbuf_size argument", 1),
    ("watcher_logbuf_size=x", "could not parse argument to watcher_logbuf_size", 1),
    ("worker_logbuf_size", "Missing worker_logbuf_size argument", 1),
    ("worker_logbuf_size=x", "could not parse argument to worker_logbuf_size", 1),
    ("read_buf_mem_limit", "Missing read_buf_mem_limit argument", 1),
    ("read_buf_mem_limit=x", "could not parse argument to read_buf_mem_limit", 1),
]


@pytest.mark.parametrize(("text", "message", "status"), WRONG)
def test_a_wrong_suboption_is_refused_with_memcached_s_words(text, message, status):
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_status == status


def refusal_of_memcached(*words: str) -> tuple[str, int]:
    """The first line that memcached says, and its exit status."""
    binary = os.environ.get("MEMCACHED") or shutil.which("memcached")
    assert binary is not None, "install Debian's memcached: apt-get install memcached"
    user = ["-u", "root"] if os.geteuid() == 0 else []
    done = subprocess.run([binary, *user, "-p", "0", *words], capture_output=True, text=True, timeout=10, check=False)
    return done.stderr.splitlines()[0], done.returncode


@pytest.mark.parametrize(("text", "message", "status"), WRONG)
def test_memcached_refuses_the_same(text, message, status):
    assert refusal_of_memcached("-o", text) == (message, status)


@pytest.mark.parametrize(
    "words",
    [
        ["-B", "foo"],
        ["-N", "0"],
        ["-N", "x"],
        ["-D", ""],
        ["-f", "1"],
        ["-m", "1"],
        ["-I", "600k"],
        ["-n", "100", "-o", "slab_sizes=50-100"],
    ],
    ids=" ".join,
)
def test_other_options_are_refused_as_memcached_does(words):
    with pytest.raises(SettingsError) as caught:
        parse_argv(words)
    message, status = refusal_of_memcached(*words)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_status == status


@pytest.mark.parametrize(
    ("text", "message", "status"),
    [
        (
            "ext_path=/x:1G",
            'Illegal suboption "ext_path=/x:1G": this server is without storage on disk (extstore)',
            1,
        ),
        (
            "slab_automove_freeratio=1",
            'Illegal suboption "slab_automove_freeratio=1": this server is without storage on disk (extstore)',
            1,
        ),
        ("idletimeout=5", 'Illegal suboption "idletimeout=5"; is it idle_timeout?', 1),
        ("ssl_key=x", 'Illegal suboption "ssl_key=x": this server is without TLS', 1),
        ("proxy_uring", 'Illegal suboption "proxy_uring": this server is without the proxy', 1),
        ("idle_timeout=x", "idle_timeout must be a number of seconds from 0 on (-o idle_timeout=x)", 1),
        ("idle_timeout=", "idle_timeout must be a number of seconds from 0 on (-o idle_timeout=)", 1),
        ("temporary_ttl=-1", "temporary_ttl must be a number of seconds from 0 on (-o temporary_ttl=-1)", 1),
        ("slab_automove=x", "slab_automove must be between 0 and 2 (-o slab_automove=x)", 1),
        (
            "slab_automove_window=1801",
            "slab_automove_window must be > 2 and <= 1800 (-o slab_automove_window=1801)",
            1,
        ),
        ("slab_sizes", "Missing slab_sizes argument", 1),
        ("slab_sizes=x", "slab_sizes must be numbers with a - between them (-o slab_sizes=x)", 64),
        ("slab_sizes=" + "-".join(map(str, range(100, 2000, 20))), "too many slab classes specified", 64),
        ("slab_chunk_max", "Missing slab_chunk_max argument", 1),
        ("slab_chunk_max=0", "slab_chunk_max must be from 1 to 1024 kilobytes (-o slab_chunk_max=0)", 64),
        ("slab_chunk_max=1025", "slab_chunk_max must be from 1 to 1024 kilobytes (-o slab_chunk_max=1025)", 64),
        (
            "slab_chunk_max=3",
            "-I (item_size_max: 1048576) must be evenly divisible by slab_chunk_max (bytes: 3072)",
            64,
        ),
        ("sock_cookie_id", "Missing sock_cookie_id argument", 1),
        ("sock_cookie_id=x", "sock_cookie_id takes a numeric 32bit value (-o sock_cookie_id=x)", 1),
    ],
)
def test_what_is_refused_here_only(text, message, status):
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert (str(caught.value), caught.value.exit_status) == (message, status)


def test_a_chunk_that_divides_the_largest_item_but_no_page():
    with pytest.raises(SettingsError) as caught:
        read("slab_chunk_max=600", "-I", "600k")
    assert str(caught.value) == "slab_chunk_max (bytes: 614400) must divide evenly into 1048576 (slab_page_size)"


@pytest.mark.parametrize("options", [{"slab_sizes": "60-100"}, {"slab_sizes": [60, 100]}, {"slab_sizes": (60, 100)}])
def test_ways_to_say_slab_sizes(options):
    assert Settings(**options).slab_sizes == (60, 100)


@pytest.mark.parametrize(
    "options",
    [
        {"slab_sizes": (60, "100")},
        {"hot_max_factor": True},
        {"hot_max_factor": None},
        {"idle_timeout": None},
        {"lru_crawler": "no"},
        {"hash_algorithm": 5},
    ],
)
def test_a_keyword_of_the_wrong_type(options):
    with pytest.raises(SettingsError):
        Settings(**options)


def test_help_names_every_suboption():
    text = help_text()
    for row in SUBOPTIONS:
        for word in (*row.words, *([row.name] if row.metavar else [])):
            assert word in text or f"[no_]{word.removeprefix('no_')}" in text
    assert "   - [no_]lru_crawler: " in text
    assert "   - no_modern: " in text
