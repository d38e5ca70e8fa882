"""The layout that a file of items keeps from one process to the next, and the number that stands for it.

A server takes up the file of an older one (``-e``) when the two have the same SNAPSHOT_FORMAT. Whoever changes what
is written here raises that number, and then records the new digest.
"""

from __future__ import annotations

import hashlib
import re

from tests.house.sources import ROOT

STORAGE = ROOT / "cachecore_ext" / "storage"

#: SNAPSHOT_FORMAT and the digest of what it stands for.
RECORDED = (1, "f13f09ddf1812bce")


def declarations(room: str, *names: str) -> str:
    """The structures and enums of these names, without comments; "" is the unnamed enums."""
    text = re.sub(r"\s*#.*", "", (STORAGE / f"{room}.pxd").read_text())
    found = re.findall(r"^cdef (?:struct|enum) ?(\w*):\n((?: +.*\n|\n(?= ))+)", text, re.MULTILINE)
    chosen = [body for name, body in found if name in names]
    assert len(chosen) >= len(names)
    return "".join(chosen)


def layout() -> str:
    """All that a file's bytes are read by."""
    return (
        declarations("item", "Item", "ItemLarge", "Piece", "")
        + declarations("lru", "Segment", "LruSegment")
        + declarations("snapshot", "SnapshotHead", "SnapshotClass", "SnapshotPage")
    )


def test_the_format_s_number_follows_the_layout():
    number = int(re.search(r"SNAPSHOT_FORMAT = (\d+)", declarations("snapshot", ""))[1])
    assert (number, hashlib.sha256(layout().encode()).hexdigest()[:16]) == RECORDED


def test_the_layout_is_found():
    assert "uint32_t exptime" in layout()
    assert "ITEM_CHAINED = 1 << 22" in layout()
    assert "uint32_t tail" in layout()
    assert "flush_pending" in layout()
