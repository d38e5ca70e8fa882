"""The pages of the site, followed block by block."""

from __future__ import annotations

import pytest

from tests.house.sources import ROOT
from tests.support.pages import Reader, assert_shown, blocks, pages_to_follow, turns

PAGES = list(pages_to_follow())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT / "docs").as_posix())
def test_a_page_can_be_followed(page, tmp_path):
    Reader(tmp_path).follow(page)


def test_the_pages_are_found():
    names = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES}
    assert names >= {"tutorial.md", "howto/stampedes.md", "howto/embedding.md", "reference/protocol.md"}


@pytest.mark.parametrize(
    "page",
    [
        '```python\nprint("one")\n```\n\n```output\ntwo\n```\n',
        "```telnet\nset key 0 0 1\na\nSTORED\nget key\nVALUE key 0 1\nb\nEND\n```\n",
        "```telnet\nset key 0 0 1\na\nSTORED\nget key\n```\n",  # more is answered
        "```sh\nfalse\n```\n",
        "```sh\necho one\n```\n\n```output\none\ntwo\n```\n",
        "```sh\ncachecore -m 16\n```\n\n```output\ncachecore is listening on nothing\n```\n",
    ],
)
def test_a_page_that_is_wrong_is_seen(page, tmp_path):
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(AssertionError):
        Reader(tmp_path).follow(tmp_path / "page.md")


def test_dots_stand_for_anything():
    assert_shown("a ... c\n...\nz\n", "a b c\nx\ny\nz\n", "")
    assert_shown("a\n...\nz\n", "a\nz\n", "")
    with pytest.raises(AssertionError):
        assert_shown("a\n...\nz\n", "a\nb\n", "")


def test_a_session_has_turns():
    assert turns("set a 0 0 1\nx\nSTORED\nmn\nMN\n") == [
        ("set a 0 0 1\r\nx\r\n", "STORED\r\n"),
        ("mn\r\n", "MN\r\n"),
    ]


def test_blocks_have_titles_and_lines():
    assert [tuple(block) for block in blocks('\n```sh title="x"\n1\n```\n')] == [("sh", "x", "1\n", 3)]
