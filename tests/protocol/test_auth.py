"""-Y: what a connection hears until it has said who it is. Each row is one exchange on a connection of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cases import CLOSED, DELETED, END, ERROR, MN, STORED, Case, case, explain, hit, put, recorded, rows
from tests.support.peers import CACHECORE, KINDS, Peer, running

USERS = b"""alice:secret
bob:colons:in:it
carol:blanks in it
long:%s
u5:p
u6:p
u7:p
last:one
ninth:ignored
bad line that is not looked at
""" % (b"l" * 240)

STRANGER = b"CLIENT_ERROR unauthenticated\r\n"
FAILURE = b"CLIENT_ERROR authentication failure\r\n"
FORMAT = b"CLIENT_ERROR bad authentication token format\r\n"
TERMINATION = b"CLIENT_ERROR bad command line termination\r\n"
TOO_LONG = b"CLIENT_ERROR auth token too long\r\n"
LINE_TOO_LONG = b"CLIENT_ERROR line too long\r\n"


def token(shown: bytes, line: bytes = b"set key 0 0 %d\r\n") -> bytes:
    """The handshake that shows ``user password``."""
    return line % len(shown) + shown + b"\r\n"


GOOD = token(b"alice secret")

ADMITTED = [
    case("password", GOOD, STORED),
    case("password-with-colons", token(b"bob colons:in:it"), STORED),
    case("password-with-blanks", token(b"carol blanks in it"), STORED),
    case("password-of-240-bytes", token(b"long " + b"l" * 240), STORED),
    case("eighth-user", token(b"last one"), STORED),
    case("line-end-is-a-lf", token(b"alice secret", b"set key 0 0 %d\n"), STORED),
    case("flags-and-exptime-mean-nothing", token(b"alice secret", b"set key x y %d\r\n"), STORED),
    case("noreply-means-nothing", token(b"alice secret", b"set key 0 0 %d noreply\r\n"), STORED),
    case("blanks-in-the-line", token(b"alice secret", b"set   key  0 0  %d  \r\n"), STORED),
    case("word-that-begins-with-set", token(b"alice secret", b"settle key 0 0 %d\r\n"), STORED),
]

REFUSED = [
    case("wrong-password", token(b"alice Secret"), FAILURE),
    case("password-that-goes-on", token(b"alice secrets"), FAILURE),
    case("password-that-ends-early", token(b"alice secre"), FAILURE),
    case("password-with-a-nul", token(b"alice secret\0"), FAILURE),
    case("password-with-a-blank-behind", token(b"alice secret "), FAILURE),
    case("two-blanks", token(b"alice  secret"), FAILURE),
    case("other-user", token(b"alicf secret"), FAILURE),
    case("other-user-s-password", token(b"bob secret"), FAILURE),
    case("user-of-one-letter", token(b"a secret"), FAILURE),
    case("ninth-user", token(b"ninth ignored"), FAILURE),
    case("token-of-300-bytes", token(b"long " + b"l" * 295), FAILURE),
    case("user-of-300-bytes", token(b"l" * 300 + b" p"), FAILURE),
    case("no-blank", token(b"alicesecret"), FORMAT),
    case("no-password", token(b"alice "), FORMAT),
    case("no-user", token(b" secret"), FORMAT),
    case("one-blank", token(b" "), FORMAT),
    case("nothing", token(b""), FORMAT),
    case("block-without-line-end", b"set key 0 0 12\r\nalice secretxx", TERMINATION),
    case("block-with-a-lf", b"set key 0 0 12\r\nalice secretx\n", TERMINATION),
    case("length-missing", b"set key 0 0\r\n", STRANGER),
    case("length-word", b"set key 0 0 abc\r\n", STRANGER),
    case("length-negative", b"set key 0 0 -1\r\n", STRANGER),
    case("length-and-more", b"set key 0 0 5x\r\n", STRANGER),
    case("length-beyond-64-bits", b"set key 0 0 99999999999999999999\r\n", STRANGER),
    case("upper-case", b"SET key 0 0 5\r\n", STRANGER),
    case("add", b"add key 0 0 5\r\n", STRANGER),
    case("get", b"get key\r\n", STRANGER),
    case("version", b"version\r\n", STRANGER),
    case("stats", b"stats\r\n", STRANGER),
    case("flush-all", b"flush_all noreply\r\n", STRANGER),
    case("quit-and-more", b"quit x\r\n", STRANGER),
    case("shortest-line", b"abcde\r\n", STRANGER),
    case("nuls", bytes(8) + b"\r\n", STRANGER),
    case("leading-blank", token(b"alice secret", b" set key 0 0 %d\r\n"), STRANGER * 2),
]

CLOSING = [
    case("short-line", b"mn\r\n", CLOSED),
    case("quit", b"quit\r\n", CLOSED),
    case("empty-line", b"\r\n", CLOSED),
    case("long-line", b"x" * 3000, LINE_TOO_LONG + CLOSED),
    case("long-get-line", b"get " + b"x" * 3000, LINE_TOO_LONG + CLOSED),
    case("long-token", token(b"x" * 20000), TOO_LONG + CLOSED),
]

#: What memcached 1.6.18 answers instead: by difference, then by row.
MEMCACHED: dict[str, dict[str, bytes]] = {
    "auth-password-word": {
        "password-with-blanks": FAILURE,
        "password-with-a-blank-behind": STORED,
        "two-blanks": STORED,
    },
    "auth-nul": {"password-with-a-nul": STORED},
    "auth-set-word": {"word-that-begins-with-set": STRANGER},
    "auth-short-lines": dict.fromkeys(("short-line", "quit", "empty-line"), STRANGER),
    "auth-token-length": {"long-token": CLOSED},
    "line-too-long": {"long-line": CLOSED, "long-get-line": CLOSED},
    "leading-spaces": {"leading-blank": STORED},
}

CASES = recorded([*ADMITTED, *REFUSED, *CLOSING], MEMCACHED)


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("auth") / "users"
    path.write_bytes(USERS)
    return path


@pytest.fixture(scope="module")
def guarded(users: Path) -> Iterator[dict[str, Peer]]:
    """A server of each kind that wants a password."""
    with contextlib.ExitStack() as stack:
        yield {kind: stack.enter_context(running(kind, auth_file=str(users))) for kind in KINDS}


def exchange(peer: Peer, row: Case, cuts: list[int] | None = None) -> None:
    """Fail unless the row is answered as it should be, by nothing more, and the connection is what that says."""
    expected = row.expected(peer)
    with peer.connect() as client:
        client.send(row.request, cuts)
        if expected.endswith(CLOSED):
            reply = client.read_to_close() + CLOSED
        else:
            # One after the other: of several lines of a stranger's memcached 1.6.18 answers the last one only.
            reply = client.read_exact(len(expected)) + client.ask(b"nonsense\r\n", b"\r\n")
            expected += ERROR if expected == STORED else STRANGER
    if reply != expected:
        pytest.fail(explain(peer, row, expected, reply), pytrace=False)


@pytest.mark.parametrize("kind", KINDS)
@rows(CASES)
def test_an_exchange(guarded: dict[str, Peer], kind: str, row: Case) -> None:
    exchange(guarded[kind], row)


@rows([row for row in CASES if len(row.request) < 600])
def test_however_it_is_cut(guarded: dict[str, Peer], row: Case) -> None:
    exchange(guarded[CACHECORE], row, list(range(1, len(row.request))))
    for place in (len(row.request) // 2, len(row.request) - 1, row.request.find(b"\n") + 1):
        exchange(guarded[CACHECORE], row, [place])


@pytest.mark.parametrize("kind", KINDS)
def test_it_may_try_again_and_is_a_client_then(guarded: dict[str, Peer], kind: str) -> None:
    with guarded[kind].connect() as client:
        for _ in range(20):
            assert client.ask(token(b"alice wrong"), b"\r\n") == FAILURE
        assert client.ask(GOOD, b"\r\n") == STORED
        request = b"get new\r\n" + put(b"new", b"1") + b"get new\r\ndelete new\r\n"
        assert client.transcript(request) == END + STORED + hit(b"new", b"1") + DELETED
        assert client.transcript(token(b"alice wrong")) == STORED  # a set like any other


def test_a_pipeline_of_all(guarded: dict[str, Peer]) -> None:
    """Every refusal is answered in its turn, and the commands behind the password are run."""
    refused = [row for row in REFUSED if row.name not in ("leading-blank", "block-without-line-end")]
    stream = b"".join(row.request for row in refused) * 20 + GOOD + b"mn\r\n"
    expected = b"".join(row.reply for row in refused) * 20 + STORED + MN
    with guarded[CACHECORE].connect() as client:
        assert client.ask(stream, MN) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_counted(guarded: dict[str, Peer], kind: str) -> None:
    """Comparisons, and those that failed; neither malformed tokens nor other lines."""

    def counted() -> tuple[int, int]:
        with guarded[kind].connect() as client:
            client.ask(GOOD, STORED)
            stats = dict(line.split(b" ")[1:3] for line in client.ask(b"stats\r\n").splitlines()[:-1])
        return int(stats[b"auth_cmds"]), int(stats[b"auth_errors"])

    before = counted()
    with guarded[kind].connect() as client:
        for shown in (b"alice wrong", b"alice", b"bob x", b"alice secret"):
            client.ask(token(shown), b"\r\n")
    with guarded[kind].connect() as client:
        client.ask(b"version\r\n", b"\r\n")
    assert counted() == (before[0] + 4, before[1] + 2)


@pytest.mark.parametrize("length", [16385, 1 << 31, (1 << 32) - 1])
def test_an_endless_token_is_not_waited_for(guarded: dict[str, Peer], length: int) -> None:
    with guarded[CACHECORE].connect() as client:
        assert client.transcript_to_close(b"set key 0 0 %d\r\n" % length) == TOO_LONG + CLOSED


def test_the_longest_token_is(guarded: dict[str, Peer]) -> None:
    with guarded[CACHECORE].connect() as client:
        assert client.ask(token(b"alice " + b"x" * (16384 - 6)) + GOOD, STORED) == FAILURE + STORED


def test_a_lone_lf_ends_it(guarded: dict[str, Peer]) -> None:
    """Beside the table: memcached 1.6.18 answers nothing, and waits."""
    with guarded[CACHECORE].connect() as client:
        assert client.transcript_to_close(b"\n") == CLOSED


def test_the_binary_protocol_gets_nowhere(guarded: dict[str, Peer]) -> None:
    with guarded[CACHECORE].connect() as client:
        assert client.transcript_to_close(b"\x80" + bytes(23)) == CLOSED


def test_a_stranger_behind_a_unix_socket_is_one_too(users: Path, tmp_path: Path) -> None:
    options = {"unix_socket": str(tmp_path / "socket"), "auth_file": str(users)}
    with running(CACHECORE, **options) as peer, peer.connect() as client:
        assert client.ask(b"get key\r\n", b"\r\n") == STRANGER
