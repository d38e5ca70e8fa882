"""What can go wrong on demand, as a client meets it."""

from __future__ import annotations

import contextlib
import gc
import math
import re
import socket
import time
from functools import partial

import pytest

from cachecore.testing import CacheServer
from tests.support.wire import Client

STORED, END = b"STORED\r\n", b"END\r\n"
HIT = b"VALUE a 0 3\r\nabc\r\nEND\r\n"
ERROR = b"SERVER_ERROR injected by the test\r\n"
FULL = b"SERVER_ERROR out of memory storing object\r\n"


@pytest.fixture
def client(proxied):
    with Client(proxied.address) as connected:
        connected.ask(b"set a 0 0 3\r\nabc\r\n", STORED)
        yield connected


def received(address, request: bytes, size: int | None = None) -> bytes:
    """What the server says until it closes the connection, or until ``size`` bytes have come."""
    with socket.create_connection(address, 10) as connection:
        connection.sendall(request)
        found = b""
        while (size is None or len(found) < size) and (more := connection.recv(4096)):
            found += more
        return found


def refused(server: CacheServer) -> bool:
    try:
        socket.create_connection(server.address, 10).close()
    except ConnectionRefusedError:
        return True
    return False


def ended(client: Client) -> bool:
    client.socket.setblocking(True)
    client.socket.settimeout(10)
    return client.socket.recv(1) == b""


def test_refused_connections(proxied, client):
    address = proxied.address
    with proxied.faults.refuse():
        assert refused(proxied)
        assert ended(client)
        with proxied.faults.refuse():
            assert refused(proxied)
        assert refused(proxied), "the outer one is still in force"
    assert proxied.address == address
    assert received(address, b"get a\r\nquit\r\n") == HIT, "the items are kept"


def test_refused_connections_that_leave_the_others(proxied, client):
    with proxied.faults.refuse(drop=False):
        assert refused(proxied)
        assert client.ask(b"get a\r\n", END) == HIT


def test_a_restart_is_empty(proxied, client):
    with proxied.faults.restart():
        assert refused(proxied)
        assert ended(client)
    assert received(proxied.address, b"get a\r\nquit\r\n") == END


def test_connections_end_at_once(proxied, client):
    proxied.faults.drop_connections()
    assert ended(client)
    assert not refused(proxied)


def test_a_reply_ends_in_the_middle(proxied, client):
    with proxied.faults.drop():
        assert received(proxied.address, b"get a\r\n") == HIT[: len(HIT) // 2]
    with proxied.faults.drop(after=3, commands="set"):
        assert received(proxied.address, b"set b 0 0 1\r\nx\r\n") == STORED[:3]
    assert proxied.items()[b"b"].size == 1, "it was done"


def test_a_reply_that_is_cut_off_and_a_connection_that_stays(proxied, client):
    with proxied.faults.truncate(5) as fault, socket.create_connection(proxied.address, 10) as connection:
        connection.sendall(b"get a\r\n")
        assert connection.recv(100) == HIT[:5]
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        assert fault.hits == 1
        assert received(proxied.address, b"get none\r\n", 5) == END, "which is no longer than that"
        proxied.faults.drop_connections()
        connection.settimeout(10)
        assert connection.recv(100) == b""


def test_a_truncated_connection_ends_with_the_fault(proxied, client):
    with socket.create_connection(proxied.address, 10) as connection:
        with proxied.faults.truncate(5):
            connection.sendall(b"get a\r\n")
            assert connection.recv(100) == HIT[:5]
        assert connection.recv(100) == b""


def test_a_late_reply(proxied, client):
    with proxied.faults.delay(0.05):
        begin = time.monotonic()
        assert client.ask(b"get a\r\n", END) == HIT
        assert time.monotonic() - begin >= 0.05


def test_a_late_reply_comes_when_the_fault_is_over(proxied, client):
    with proxied.faults.delay(3600) as fault:
        client.send(b"delete a\r\n")
        while fault.hits == 0 or proxied.items():
            pass
    assert client.ask(b"", b"\r\n") == b"DELETED\r\n"


def test_a_late_reply_does_not_hold_up_the_end(proxied, client):
    with proxied.faults.delay(3600) as fault:
        client.send(b"get a\r\n")
        while fault.hits == 0:
            pass
        proxied.stop()


def test_an_error_instead(proxied, client):
    with proxied.faults.server_error():
        assert client.ask(b"delete a\r\n", b"\r\n") == ERROR
        client.send(b"delete a noreply\r\n")
        assert client.ask(b"mg a\r\n", b"\r\n") == ERROR
    with proxied.faults.server_error("too busy"):
        assert client.ask(b"set a 0 0 1\r\nx\r\n", b"\r\n") == b"SERVER_ERROR too busy\r\n"
    assert client.ask(b"get a\r\n", END) == HIT, "nothing was done"


def test_an_error_is_one_line(proxied):
    with pytest.raises(ValueError, match="one line"):
        proxied.faults.server_error("a\r\nb")


def test_a_full_server(proxied, client):
    with proxied.faults.full() as fault:
        assert client.ask(b"add b 0 0 1\r\nx\r\n", b"\r\n") == FULL
        assert client.ask(b"append a 0 0 1\r\nx\r\n", b"\r\n") == FULL
        assert client.ask(b"get a\r\n", END) == HIT
        assert client.ask(b"set a 0 0 1\r\nx\r\n", b"\r\n") == FULL
        assert client.ask(b"get a\r\n", END) == END, "what was to be replaced is gone"
        assert client.ask(b"ms YQ== 1 b\r\nx\r\n", b"\r\n") == FULL
        client.send(b"set a 0 0 1 noreply\r\nx\r\n")
        assert client.ask(b"get a\r\n", END) == END
    assert fault.hits == 5
    assert client.ask(b"set a 0 0 3\r\nabc\r\nget a\r\n", END) == STORED + HIT


def test_a_full_server_knows_keys_with_white_space(proxied, client):
    key = b"a\tb\x0bc"
    client.ask(b"set %s 0 0 1\r\nx\r\n" % key, b"STORED\r\n")
    with proxied.faults.full():
        client.ask(b"set %s 0 0 1\r\nx\r\n" % key, b"\r\n")
    assert client.ask(b"get %s\r\n" % key, b"END\r\n") == b"END\r\n"


def test_a_full_server_replies_as_one_that_is_full(proxied):
    """The real thing, of 1 MiB without evictions, loses the old value and says the same."""
    with (
        CacheServer(memory_limit=2, disable_evictions=True, slab_chunk_max=1024 // 2) as server,
        Client(server.address) as client,
    ):
        value = b"x" * 500_000
        client.ask(b"set old 0 0 1\r\nx\r\n", STORED)
        for i in range(20):
            reply = client.ask(b"set k%d 0 0 %d\r\n%s\r\n" % (i, len(value), value), b"\r\n")
        assert reply == FULL
        assert client.ask(b"set old 0 0 %d\r\n%s\r\n" % (len(value), value), b"\r\n") == FULL
        assert client.ask(b"get old\r\n", END) == END


@pytest.mark.parametrize(
    ("where", "struck"),
    [
        ({"commands": "get"}, [True, True, False]),
        ({"commands": {"get", "set"}}, [True, True, True]),
        ({"keys": "a"}, [True, False, True]),
        ({"keys": b"b"}, [True, True, False]),
        ({"keys": ["x", b"b"]}, [True, True, False]),
        ({"keys": re.compile("^[bc]$")}, [True, True, False]),
        ({"keys": re.compile(b"x")}, [False, False, False]),
        ({"keys": "a", "commands": "set"}, [False, False, True]),
        ({"times": 2}, [True, True, False]),
        ({"times": 0}, [False, False, False]),
    ],
)
def test_chosen_commands_and_keys(proxied, client, where, struck):
    with proxied.faults.server_error(**where) as fault:
        requests = [
            (b"get none b a\r\n", END),
            (b"get b\r\n", END),
            (b"set a 0 0 3\r\nabc\r\n", STORED),
        ]
        replies = [
            client.ask(request, ERROR if hit else good) for (request, good), hit in zip(requests, struck, strict=True)
        ]
    assert [reply == ERROR for reply in replies] == struck
    assert fault.hits == sum(struck)


def test_the_inner_one_is_done(proxied, client):
    with proxied.faults.server_error("outer"):
        with proxied.faults.server_error("inner", times=1):
            assert client.ask(b"get a\r\n", b"\r\n") == b"SERVER_ERROR inner\r\n"
            assert client.ask(b"get a\r\n", b"\r\n") == b"SERVER_ERROR outer\r\n"
        assert client.ask(b"get a\r\n", b"\r\n") == b"SERVER_ERROR outer\r\n"
    assert client.ask(b"get a\r\n", END) == HIT


def test_a_slip_of_the_pen_is_no_fault(cachecore_faults, cachecore_commands):
    """It would never strike, and the test that orders it would pass."""
    for order, options in (
        (cachecore_faults.server_error, {"commands": "gett"}),
        (cachecore_faults.drop, {"commands": {"get", "GET"}}),
        (cachecore_faults.full, {"times": -1}),
        (cachecore_faults.drop, {"after": -1}),
        (cachecore_faults.truncate, {"after": -1}),
        (cachecore_faults.delay, {"seconds": -1}),
        (cachecore_faults.delay, {"seconds": math.nan}),
    ):
        with pytest.raises(ValueError, match=r"no command|or more"), order(**options):
            pass
    with pytest.raises(TypeError, match="not 5"), cachecore_faults.full(keys=5):
        pass
    with pytest.raises(TypeError, match=r"commands are a command's name or several, not re\.compile"):
        cachecore_faults.drop(commands=re.compile("get"))
    with pytest.raises(ValueError, match="no command gett"):
        cachecore_commands.named("gett")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *((name, ()) for name in ("refuse", "restart", "drop", "server_error", "full")),
        *((name, (1,)) for name in ("delay", "truncate")),
    ],
)
def test_a_fault_without_its_block_is_told(proxied, client, name, given):
    with pytest.warns(RuntimeWarning, match=f"the fault {name} was never in force: write `with") as told:
        getattr(proxied.faults, name)(*given)
        gc.collect()
    assert told[0].filename == __file__
    assert client.ask(b"get a\r\n", END) == HIT


@pytest.mark.filterwarnings("error")
def test_a_fault_with_its_block_is_not(proxied, client):
    later = proxied.faults.server_error()
    with contextlib.ExitStack() as stack:
        stack.enter_context(later)
        assert client.ask(b"get a\r\n", b"\r\n") == ERROR
    with contextlib.suppress(ZeroDivisionError), proxied.faults.refuse():
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="no command"):
        proxied.faults.drop(commands="gett")
    gc.collect()


def test_a_fault_that_has_to_hit(proxied, client):
    for fault in (
        partial(proxied.faults.drop),
        partial(proxied.faults.truncate, 1),
        partial(proxied.faults.delay, 1),
        partial(proxied.faults.server_error),
        partial(proxied.faults.full),
    ):
        with (
            pytest.raises(AssertionError, match=r"keys=.typo.\) has struck no command"),
            fault(keys="typo", must_hit=True),
        ):
            client.ask(b"get a\r\n", END)
        with pytest.raises(ZeroDivisionError), fault(keys="typo", must_hit=True):
            raise ZeroDivisionError
    with proxied.faults.server_error(keys="a", must_hit=True):
        assert client.ask(b"get a\r\n", b"\r\n") == ERROR
