"""Options: their defaults, ranges and messages, the command line's manners, and the tables of the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cachecore import Cache, Server, Settings, SettingsError
from cachecore.settings import OPTIONS, ROWS
from cachecore.usage import EXTENDED, REFUSED, Action, help_text, markdown_tables, parse_argv, version_text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "options.md"

#: memcached's long options and defaults, written down a second time on purpose.
DEFAULTS = {
    "port": 11211,
    "udp_port": 0,
    "unix_socket": None,
    "unix_mask": 0o700,
    "listen": (),
    "user": None,
    "memory_limit": 64,
    "disable_evictions": False,
    "conn_limit": 1024,
    "verbose": 0,
    "pidfile": None,
    "slab_growth_factor": None,
    "slab_min_size": 48,
    "threads": 4,
    "max_reqs_per_event": 20,
    "disable_cas": False,
    "listen_backlog": 1024,
    "max_item_size": 1 << 20,
    "debug_commands": False,
    "enable_shutdown": False,
    "daemon": False,
    "enable_coredumps": False,
    "lock_memory": False,
    "enable_largepages": False,
    "prefix_delimiter": None,
    "protocol": "auto",
    "disable_flush_all": False,
    "disable_dumping": False,
    "disable_watch": False,
    "auth_file": None,
    "memory_file": None,
    "napi_ids": None,
    # of -o
    "maxconns_fast": True,
    "hashpower": None,
    "hashexpand": True,
    "tail_repair_time": None,
    "hash_algorithm": None,
    "lru_crawler": True,
    "lru_crawler_sleep": 100,
    "lru_crawler_tocrawl": 0,
    "lru_maintainer": True,
    "lru_policy": "s3fifo",
    "hot_lru_pct": 20,
    "warm_lru_pct": 40,
    "hot_max_factor": 0.2,
    "warm_max_factor": 2.0,
    "temporary_ttl": None,
    "idle_timeout": 0,
    "slab_reassign": True,
    "slab_automove": 1,
    "slab_automove_ratio": 0.8,
    "slab_automove_window": 10,
    "slab_sizes": (),
    "slab_chunk_max": 512,
    "watcher_logbuf_size": 256,
    "worker_logbuf_size": 64,
    "track_sizes": False,
    "read_buf_mem_limit": 0,
    "inline_ascii_resp": False,
    "drop_privileges": False,
    "sock_cookie_id": 0,
}


def read(line: str) -> Settings:
    return parse_argv(line.split(" ")).settings


def test_the_defaults():
    assert {row.name: getattr(Settings(), row.name) for row in ROWS} == DEFAULTS
    assert parse_argv([]) == (Settings(), None, ())


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("-p 11212", "port", 11212),
        ("-p11212", "port", 11212),
        ("-p-1", "port", -1),
        ("-p -1", "port", -1),
        ("-p 0", "port", 0),
        ("-p 65535", "port", 65535),
        ("--port=11212", "port", 11212),
        ("--port 11212", "port", 11212),
        ("--por 11212", "port", 11212),
        ("-U 0", "udp_port", 0),
        ("-s /x", "unix_socket", "/x"),
        ("--unix-socket=/x", "unix_socket", "/x"),
        ("-a 777", "unix_mask", 0o777),
        ("-l h", "listen", ("h",)),
        ("-l a,b;c", "listen", ("a", "b", "c")),
        ("-l a -l b,a", "listen", ("a", "b")),
        ("-u nobody", "user", "nobody"),
        ("-m 1024", "memory_limit", 1024),
        ("-M", "disable_evictions", True),
        ("-c 1", "conn_limit", 1),
        ("-v", "verbose", 1),
        ("-vv", "verbose", 2),
        ("-v --verbose -v", "verbose", 3),
        ("-vvp 11212", "port", 11212),
        ("-vvp 11212", "verbose", 2),
        ("-Mvp11212", "disable_evictions", True),
        ("-P /p", "pidfile", "/p"),
        ("-f 1.08", "slab_growth_factor", 1.08),
        ("-n 1", "slab_min_size", 1),
        ("-t 1", "threads", 1),
        ("-R 1", "max_reqs_per_event", 1),
        ("-C", "disable_cas", True),
        ("-b 0", "listen_backlog", 0),
        ("-I 512k", "max_item_size", 512 << 10),
        ("-I 2M", "max_item_size", 2 << 20),
        ("-I 1048576", "max_item_size", 1 << 20),
        ("-m 2048 -I 1024m", "max_item_size", 1 << 30),
        ("--debug-commands", "debug_commands", True),
        ("-A", "enable_shutdown", True),
        ("-B ascii", "protocol", "ascii"),
        ("--protocol=auto", "protocol", "auto"),
        ("-d", "daemon", True),
        ("-r", "enable_coredumps", True),
        ("-k", "lock_memory", True),
        ("-L", "enable_largepages", True),
        ("-D /", "prefix_delimiter", "/"),
        ("-D\udce9", "prefix_delimiter", "\udce9"),
        ("-F", "disable_flush_all", True),
        ("-X", "disable_dumping", True),
        ("-W", "disable_watch", True),
        ("-Y /y", "auth_file", "/y"),
        ("-e /e", "memory_file", "/e"),
        ("-N 3", "napi_ids", 3),
        ("-dAvk", "lock_memory", True),
    ],
)
def test_an_option_is_read(line, name, value):
    assert getattr(read(line), name) == value


def test_a_value_may_begin_with_a_blank():
    settings = parse_argv(["-p 11212", "-l 127.0.0.1", "-I 2m"]).settings
    assert (settings.port, settings.listen, settings.max_item_size) == (11212, ("127.0.0.1",), 2 << 20)


def test_the_last_value_counts():
    assert read("-p 1 -m 65 -p 2").port == 2


@pytest.mark.parametrize(
    ("line", "message", "status"),
    [
        ("-p 65536", "ERROR: Invalid port number (-p 65536)", 64),
        ("--port=65536", "ERROR: Invalid port number (--port 65536)", 64),
        ("-p -2", "ERROR: Invalid port number (-p -2)", 64),
        ("-p x", "ERROR: Invalid port number (-p x)", 64),
        ("-p 1_0", "ERROR: Invalid port number (-p 1_0)", 64),
        ("-p ٣", "ERROR: Invalid port number (-p ٣)", 64),
        ("-p +-3", "ERROR: Invalid port number (-p +-3)", 64),
        ("-U 5", "UDP is not available in this version, only -U 0 (off) is (-U 5)", 64),
        ("-a 778", "The access mask must be an octal number from 0 to 777 (-a 778)", 64),
        ("-a 1000", "The access mask must be an octal number from 0 to 777 (-a 1000)", 64),
        ("-l ,", "The address to listen on must not be empty (-l ,)", 64),
        ("--unix-socket=", "The path of the UNIX socket must not be empty (--unix-socket)", 64),
        ("-m 0", "The memory limit must be a whole number of megabytes, from 1 to 16777216 (-m 0)", 64),
        ("-m 64m", "The memory limit must be a whole number of megabytes, from 1 to 16777216 (-m 64m)", 64),
        ("-m 16777217", "The memory limit must be a whole number of megabytes, from 1 to 16777216 (-m 16777217)", 64),
        (
            "-m 1 -I 1000k",
            "Cannot set item size limit higher than 1/2 of memory max. (-I 1000k, -m 1): "
            "make memory_limit, or -m, 2 at least",
            64,
        ),
        ("-c 0", "Maximum connections must be greater than 0 (-c 0)", 1),
        ("-c x", "Maximum connections must be greater than 0 (-c x)", 1),
        ("-f 1", "Factor must be greater than 1 (-f 1)", 1),
        ("-f nan", "Factor must be greater than 1 (-f nan)", 1),
        ("-f inf", "Factor must be greater than 1 (-f inf)", 1),
        ("-f x", "Factor must be greater than 1 (-f x)", 1),
        ("-n 0", "Chunk size must be greater than 0 (-n 0)", 1),
        ("-t 0", "Number of threads must be greater than 0 (-t 0)", 1),
        ("-t 5x", "Number of threads must be greater than 0 (-t 5x)", 1),
        ("-R 0", "Number of requests per event must be greater than 0 (-R 0)", 1),
        ("-b -1", "The backlog must be a number from 0 on (-b -1)", 64),
        ("-I 1023", "Item max size must be from 1024 bytes to 1024m (-I 1023)", 64),
        ("-I 1025m", "Item max size must be from 1024 bytes to 1024m (-I 1025m)", 64),
        ("-I m", "Item max size must be from 1024 bytes to 1024m (-I m)", 64),
        ("-I 1g", "Item max size must be from 1024 bytes to 1024m (-I 1g)", 64),
        (
            "-m 1",
            "Cannot set item size limit higher than 1/2 of memory max. (-I 1m, -m 1): "
            "make memory_limit, or -m, 2 at least",
            64,
        ),
        (
            "-I 33m",
            "Cannot set item size limit higher than 1/2 of memory max. (-I 33m, -m 64): "
            "make memory_limit, or -m, 66 at least",
            64,
        ),
        ("stats", '"stats" belongs to no option, and there are no commands; see cachecore -h', 64),
        ("-p 5 11211", '"11211" belongs to no option, and there are no commands; see cachecore -h', 64),
        (
            "-I 600k",
            "-I (item_size_max: 614400) must be evenly divisible by slab_chunk_max (bytes: 524288)",
            64,
        ),
        ("-B binary", "This server does not speak the binary protocol (-B binary)", 64),
        (
            "-B foo",
            "Invalid value for binding protocol: foo -- should be one of auto or ascii (-B foo)",
            64,
        ),
        ("-D ab", "No delimiter specified: it is one character, no blank (-D ab)", 1),
        ("-D é", "No delimiter specified: it is one character, no blank (-D é)", 1),
        ("-D \x7f", "No delimiter specified: it is one character, no blank (-D \x7f)", 1),
        ("-N 0", "Maximum number of NAPI IDs must be greater than 0 (-N 0)", 1),
        ("-S", "This server is not built with SASL support.", 64),
        ("--enable-sasl", "This server is not built with SASL support.", 64),
        ("-Z", "This server is not built with TLS support.", 64),
        ("--enable-ssl", "This server is not built with TLS support.", 64),
        ("-q", 'Illegal argument "-q": option -q not recognized; see cachecore -h', 1),
        ("-p", 'Illegal argument "-p": option -p requires argument; see cachecore -h', 1),
        (
            "--nonsense=1",
            'Illegal argument "--nonsense": option --nonsense not recognized; see cachecore -h',
            1,
        ),
        ("--v", 'Illegal argument "--v": option --v not a unique prefix of --verbose, --version', 1),
        (
            "--memory-limt=5",
            'Illegal argument "--memory-limt": option --memory-limt not recognized; '
            "is it --memory-limit or --memory-file?",
            1,
        ),
    ],
)
def test_a_wrong_option_is_refused_as_memcached_does(line, message, status):
    with pytest.raises(SettingsError) as caught:
        read(line)
    assert (str(caught.value), caught.value.exit_status) == (message, status)


def test_no_flag_means_two_things():
    flags = [(row.short, row.long) for row in OPTIONS] + [action.value[:2] for action in Action]
    flags += [(letter, long) for letter, long, _ in REFUSED] + [EXTENDED[:2]]
    for names in zip(*flags, strict=True):
        given = [name for name in names if name]
        assert len(given) == len(set(given))


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("-h", Action.HELP),
        ("--help", Action.HELP),
        ("-p 5 -V -q5", Action.VERSION),
        ("--version", Action.VERSION),
        ("-i", Action.LICENSE),
        ("--license", Action.LICENSE),
    ],
)
def test_an_action_comes_before_all_else(line, action):
    line = line.replace("-q5", "-t0")
    assert parse_argv(line.split()).action is action


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": "x"}, "ERROR: Invalid port number (port='x')"),
        ({"port": True}, "ERROR: Invalid port number (port=True)"),
        ({"threads": 0}, "Number of threads must be greater than 0 (threads=0)"),
        ({"disable_cas": 1}, "This option is either on or off (disable_cas=1)"),
        ({"unix_socket": ""}, "The path of the UNIX socket must not be empty (unix_socket='')"),
        ({"unix_socket": "a\0b"}, "The path of the UNIX socket must have no NUL in it (unix_socket='a\\x00b')"),
        ({"listen": ""}, "The address to listen on must not be empty (listen='')"),
        ({"listen": [""]}, "The address to listen on must not be empty (listen=[''])"),
        ({"listen": 5}, "The address to listen on must be text (listen=5)"),
        ({"listen": ["a", 5]}, "The address to listen on must be text (listen=['a', 5])"),
        ({"user": 5}, "The user must be text (user=5)"),
        (
            {"memory_limit": 16.5},
            "The memory limit must be a whole number of megabytes, from 1 to 16777216 (memory_limit=16.5)",
        ),
        (
            {"memory_limit": 64 << 20},
            "The memory limit must be a whole number of megabytes, from 1 to 16777216 (memory_limit=67108864)",
        ),
        ({"verbose": -1}, "The verbosity must be a number from 0 on (verbose=-1)"),
        ({"slab_growth_factor": "2"}, "Factor must be greater than 1 (slab_growth_factor='2')"),
        (
            {"max_item_size": 64 << 20},
            "Cannot set item size limit higher than 1/2 of memory max. (-I 64m, -m 64): "
            "make memory_limit, or -m, 128 at least",
        ),
    ],
)
def test_a_wrong_keyword_is_refused(options, message):
    with pytest.raises(SettingsError) as caught:
        Settings(**options)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


def test_an_unknown_keyword():
    with pytest.raises(TypeError, match="nonsense"):
        Settings(nonsense=1)


@pytest.mark.parametrize("listen", ["a,b", ["a", "b"], ("a", "b")])
def test_ways_to_say_listen(listen):
    assert Settings(listen=listen).listen == ("a", "b")


def test_settings_are_read_only():
    with pytest.raises(AttributeError):
        Settings().port = 5


def test_help_names_every_option_and_its_default():
    text = help_text()
    assert text.splitlines()[0] == "memcached 1.6.45"
    assert text.splitlines()[1].startswith("cachecore ")
    for row in OPTIONS:
        begins = (f"-{row.short}, --{row.long}", f"--{row.long}")
        assert any(line.startswith(begins) for line in text.splitlines()) is not row.hidden
    assert "--port=<num> " in text
    assert "(default: 11211)" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 110


def test_version_text():
    first, second = version_text().splitlines()
    assert first == "memcached 1.6.45"
    assert second.startswith("cachecore ")


@pytest.mark.parametrize(
    "word", ["udp", "binary", "sasl", "ssl", "tls", "ext_path", "freeratio", "proxy", "relaxed_privileges"]
)
def test_help_is_silent_about_what_is_absent(word):
    """Tools ask the help text what a server can do."""
    assert word not in help_text().lower()


@pytest.mark.parametrize("name", ["options", "extended", "keywords"])
def test_the_tables_of_the_page_are_fresh(name):
    text = PAGE.read_text(encoding="utf-8")
    found = text.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0].strip()
    assert found == markdown_tables()[name], "python -m cachecore.usage prints the tables"


@pytest.mark.parametrize(
    ("owner", "name", "advice"),
    [
        (Server, "prot", "is it port?"),
        (Cache, "treads", "is it threads?"),
        (Server, "qqq", "see help(cachecore.Settings)"),
    ],
)
def test_a_keyword_that_is_no_option_is_refused_in_the_name_of_who_was_called(owner, name, advice):
    with pytest.raises(TypeError, match=re.escape(f"{owner.__name__} has no option {name}; {advice}")):
        owner(**{name: 5})
