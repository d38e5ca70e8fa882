"""What the fuzzers are made of, what they found before, and a short run of the one that needs no other compiler."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachecore_ext.probe import Parser
from tests.fuzz import engine, parser, seeds, streams
from tests.fuzz.streams import DifferenceError, Mutator, Pair


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with streams.pair() as found:
        yield found


def name(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("case", seeds.cases("parser"), ids=name)
def test_a_parser_s_case(case: Path) -> None:
    stream = case.read_bytes()[1:]
    whole, pieces = Parser(), Parser()
    expected = whole.feed(stream)
    assert [request for n in range(len(stream)) for request in pieces.feed(stream[n : n + 1])] == expected
    assert expected


@pytest.mark.parametrize("case", seeds.cases("engine"), ids=name)
def test_an_engine_s_case(both: Pair, case: Path) -> None:
    stream = case.read_bytes()
    step = 1 + len(stream) // 2000
    both.compare(stream, list(range(1, len(stream), step)))
    both.compare(stream, [len(stream) // 2])
    both.compare_all()


def test_a_short_run(tmp_path: Path) -> None:
    compared, sent, rough = streams.fuzz(1, 1, tmp_path / "current", [])
    assert min(compared, sent, rough) > 0


def test_the_same_seed_makes_the_same_streams() -> None:
    one, other = Mutator(7, []), Mutator(7, [])
    made = [one.stream() for _ in range(50)]
    assert [other.stream() for _ in range(50)] == made
    assert len(set(made)) > 45


def test_a_difference_in_a_reply_is_found() -> None:
    with streams.pair(max_item_size=1 << 19) as different, pytest.raises(DifferenceError, match="at byte"):
        different.compare(b"set a 0 0 600000\r\n" + b"v" * 600_000 + b"\r\n", [3])


def test_replies_that_a_reset_may_have_lost_are_no_difference(both: Pair) -> None:
    """What a browser sends makes the server close, the rest unread; the kernel drops what the client has not read."""
    stream = b"x\r\n" * 20_000 + b"GET / HTTP/1.1\r\n" + b"x\r\n" * 50_000
    for _ in range(10):
        both.compare(stream, [30_000])


@pytest.mark.parametrize(
    ("one", "other", "lost", "at"),
    [
        (b"END\r\n", b"END\r\n", False, None),
        (b"END\r\nE", b"END\r\n", False, 5),
        (b"END\r\nE", b"END\r\n", True, None),
        (b"", b"END\r\n", True, None),
        (b"EN\r\n", b"END\r\n", True, 2),
    ],
)
def test_where_answers_differ(one: bytes, other: bytes, lost: bool, at: int | None) -> None:
    assert streams.differ_at(one, other, lost) == at


def test_a_difference_in_what_is_held_is_found(both: Pair) -> None:
    both.compare_all()
    with both.peers[1].connect() as client:
        client.ask(b"set only-here 0 0 1\r\na\r\n", b"STORED\r\n")
    with pytest.raises(DifferenceError, match="only-here"):
        both.compare_all()
    with both.peers[0].connect() as client:
        client.ask(b"set only-here 0 0 1\r\na\r\n", b"STORED\r\n")


@pytest.mark.parametrize(
    ("status", "said", "found"),
    [
        (77, "==1==ERROR: AddressSanitizer: heap-buffer-overflow on address", True),
        (2, "ModuleNotFoundError: No module named 'cachecore_ext'", False),
        (77, "==1== ERROR: libFuzzer: timeout after 10 seconds", False),
        (0, "INFO: Loaded 1 modules. ERROR: AddressSanitizer is what it looks for", False),
    ],
)
def test_only_a_report_counts_as_a_planted_bug_found(status: int, said: str, found: bool) -> None:
    done = subprocess.CompletedProcess([], status, "", said)
    assert parser.is_report(done) == found


@pytest.mark.parametrize("streams_written", [True, False])
def test_an_end_before_the_first_stream_is_told_too(
    streams_written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "FINDINGS", tmp_path / "findings")
    current = tmp_path / "current"
    if streams_written:
        current.write_bytes(b"mn\r\n")
    assert engine.tell(7, 1, "Traceback: no port", "ERROR: AddressSanitizer", current) == 1
    told = capsys.readouterr().out
    assert told.index("no port") < told.index("AddressSanitizer") < told.index("status 1")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "findings").iterdir()}
    assert kept.pop("engine-7.report") == b"Traceback: no port\nERROR: AddressSanitizer"
    assert kept == ({"engine-7": b"mn\r\n"} if streams_written else {})
