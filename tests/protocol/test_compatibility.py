"""docs/compatibility.md says what is so: all that it lists is held against live servers, and it is up to date."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.protocol import evidence
from tests.protocol.compatibility import CHECKS, COMMAND, PAGE, page
from tests.protocol.evidence import ROWS, command_lines, counting, owners, summed
from tests.support import compatibility as inventory
from tests.support.compatibility import BETTER, Command
from tests.support.peers import KINDS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_the_page_says_of_cachecore(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_that_are_counted(kind: str) -> None:
    evidence.check_rows(kind)


def test_the_options_are_memcached_s() -> None:
    evidence.check_options_of_memcached()


@pytest.mark.parametrize("suboptions", [evidence.ALL_SHOWN, *evidence.FEWER_SHOWN])
def test_the_statistics_are_memcached_s(suboptions: str) -> None:
    evidence.check_statistics_of_memcached(suboptions)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), f"make it again: {COMMAND} > docs/{PAGE.name}"


def test_features_that_notes_name_are_explained() -> None:
    """A note of one or two words is an absent feature's name."""
    features = {entry.name for entry in inventory.FEATURES}
    absent = (*inventory.NO_COMMANDS, *inventory.NO_OPTIONS, *inventory.NO_SUBOPTIONS, *inventory.NO_LINES)
    notes = {entry.note for entry in (*absent, *inventory.QUIET_WORDS, *inventory.ENVIRONMENT)}
    notes |= {note for fields in inventory.NO_FIELDS.values() for _, note in fields}
    assert {note for note in notes if 0 < len(note.split()) <= 2} == features


# ---- how rows are counted


@pytest.mark.parametrize(
    ("request_bytes", "lines"),
    [
        (b"get a\r\nmn\n", [b"get a", b"mn"]),
        (b"set a 0 0 4\r\nquit\r\nmn\r\n", [b"set a 0 0 4", b"mn"]),
        (b"ms a 6 q\r\nget a\n\r\nversion\r\n", [b"ms a 6 q", b"version"]),
        (b"set a 0 0 1\r\nxyzversion\r\n", [b"set a 0 0 1", b"version"]),
        (b"set a 0 0\r\nversion\r\n", [b"set a 0 0", b"version"]),
        (b"set a 0 0 -1\r\nversion\r\n", [b"set a 0 0 -1", b"version"]),
        (b"get a", [b"get a"]),
    ],
)
def test_data_blocks_are_no_commands(request_bytes: bytes, lines: list[bytes]) -> None:
    assert list(command_lines(request_bytes)) == lines


def test_a_command_is_a_whole_word() -> None:
    command = Command("stats detail")
    assert command.matches(b"stats detail")
    assert command.matches(b"stats detail on")
    assert not command.matches(b"stats details")
    assert not command.matches(b"get stats detail")


def test_a_departure_counts_for_what_it_is_about() -> None:
    """Also one without an id, of which 1.6.18 knows nothing as it answers like cachecore."""
    named = {one.row.name: {command.name for command in owners(one)} for one in ROWS if owners(one)}
    assert named["meta_rest-ma-time-when-growing"] == {"ma"}
    assert named["stats-sections-match-whole-words-reset"] == {"words behind a command"}
    mn = next(command for command in inventory.META if command.name == "mn")
    assert any(b"mn" in one.lines for one in ROWS if owners(one))
    assert not any(owners(one) for one in counting(mn))


def test_only_the_better_depart() -> None:
    departing = {command.name for command in inventory.COMMANDS if len(set(summed(counting(command))[:2])) > 1}
    assert departing <= {command.name for command in inventory.COMMANDS if command.verdict is BETTER}
    assert len(departing) > 8
