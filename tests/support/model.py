"""What a memcached does, in two hundred lines: each command's effect, and its reply as bytes.

A reply names a cas number as ``<cas:N>``: N counts the changes of items, and a server may number them as it likes as
long as a later one is higher. Moments are in ticks; an item whose ``end`` has come is gone, and 0 never comes.
"""

from __future__ import annotations

import dataclasses

LARGEST = 1 << 20  # bytes, with what an item needs beside its value
COUNTABLE = 1 << 19  # likewise: what lies in several pieces is no number
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
NON_NUMERIC = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"


@dataclasses.dataclass
class Item:
    """A key's value and what a server knows of it."""

    value: bytes
    flags: int = 0
    end: int = 0
    version: int = 0  # what stands for its cas
    made: int = 0  # the tick
    fetched: bool = False
    stale: bool = False
    token: bool = False  # somebody was told to fetch it anew


class Model:
    """A server. Ends are what :meth:`end` makes of an exptime; ``compare`` is a version."""

    def __init__(self) -> None:
        self.now = 100
        self.items: dict[bytes, Item] = {}
        self.version = 0
        self.pending = self.fired = 0  # a flush_all that is to come, and the last that came

    def end(self, exptime: int) -> int:
        """The tick at which an item ends that has so many seconds; at once if they are negative."""
        return 0 if exptime == 0 else self.now + exptime if exptime > 0 else 1

    def find(self, key: bytes) -> Item | None:
        """The item, unless it is absent, ended or flushed."""
        if self.pending and self.pending <= self.now:
            self.fired, self.pending = self.pending, 0
        item = self.items.get(key)
        if item and ((item.end and item.end <= self.now) or item.made <= self.fired):
            del self.items[key]
            return None
        return item

    def renew(self, key: bytes, item: Item) -> None:
        """Put the item there with a cas of its own."""
        self.version += 1
        item.version = self.version
        self.items[key] = item

    # ---- what the commands have in common

    def store(self, mode: str, key: bytes, value: bytes, flags: int, end: int, compare: int | None = None,
              invalidate: bool = False) -> str:  # fmt: skip
        """What became of a storage command: STORED, NOT_STORED, EXISTS, NOT_FOUND or TOO_LARGE."""
        old = self.find(key)
        if len(value) >= LARGEST:
            if mode == "set" and compare is None:
                self.items.pop(key, None)
            return "TOO_LARGE"
        if compare is not None:
            if not old:
                return "NOT_FOUND"
            if compare != old.version and not (invalidate and compare < old.version):
                return "EXISTS"
        elif (mode == "add" and old) or (mode in ("replace", "append", "prepend") and not old):
            return "NOT_STORED"
        new = Item(value, flags, end, made=self.now)
        if old and mode in ("append", "prepend"):
            new = Item(old.value + value if mode == "append" else value + old.value, old.flags, old.end, made=self.now)
        elif old and compare is not None and compare < old.version:
            new.stale, new.token, new.end = True, old.token, old.end
        self.renew(key, new)
        return "STORED"

    def add(self, key: bytes, item: Item, delta: int, increment: bool) -> bool:
        """Count up or down; False if it is no number."""
        before = item.value.split(b" ")[0]  # what comes behind a blank does not matter
        digits = before.removeprefix(b"-")  # of negative numbers minus nought is one
        if len(item.value) >= COUNTABLE or not digits.isdigit() or len(before) > 99:
            return False
        if int(digits) >= (1 if before != digits else 1 << 64):
            return False
        number = (int(digits) + delta) % (1 << 64) if increment else max(0, int(digits) - delta)
        shown = b"%d" % number
        if len(shown) > len(item.value):
            item = Item(shown, item.flags, item.end, made=self.now)
        item.value = shown.ljust(len(item.value))
        self.renew(key, item)
        return True

    # ---- the classic commands

    def get(self, keys: list[bytes], cas: bool, end: int | None = None) -> bytes:
        """Get, gets; gat and gats with the new ``end``."""
        reply = b""
        for key in keys:
            if item := self.find(key):
                item.fetched = True
                if end is not None:
                    item.end = end
                shown = b" <cas:%d>" % item.version if cas else b""
                reply += b"VALUE %b %d %d%b\r\n%b\r\n" % (key, item.flags, len(item.value), shown, item.value)
        return reply + b"END\r\n"

    def storage(self, mode: str, key: bytes, value: bytes, flags: int, end: int, compare: int | None = None) -> bytes:
        """Set, add, replace, append, prepend; cas with ``compare``."""
        word = self.store(mode, key, value, flags, end, compare)
        return TOO_LARGE if word == "TOO_LARGE" else word.encode() + b"\r\n"

    def delete(self, key: bytes) -> bytes:
        """Delete."""
        found = self.find(key)
        self.items.pop(key, None)
        return b"DELETED\r\n" if found else b"NOT_FOUND\r\n"

    def arithmetic(self, key: bytes, delta: int, increment: bool) -> bytes:
        """Incr and decr."""
        if not (item := self.find(key)):
            return b"NOT_FOUND\r\n"
        if not self.add(key, item, delta, increment):
            return NON_NUMERIC
        return self.items[key].value.rstrip() + b"\r\n"

    def touch(self, key: bytes, end: int) -> bytes:
        """Touch."""
        if item := self.find(key):
            item.end, item.fetched = end, True
        return b"TOUCHED\r\n" if item else b"NOT_FOUND\r\n"

    def flush(self, delay: int = 0) -> bytes:
        """A flush_all at once or with a delay."""
        if delay:
            self.find(b"")
            self.pending = self.now + delay - 1
        else:
            self.items.clear()
            self.pending = self.fired = 0
        return b"OK\r\n"

    # ---- the meta commands; ``flags`` as they stand in the request

    def shown(self, item: Item, key: bytes, flags: list[bytes], fetched: bool = False) -> bytes:
        """The flags that come back, without Z, X, W."""
        left = b"%d" % (item.end - self.now) if item.end else b"-1"
        known = {
            b"c": b" c<cas:%d>" % item.version,
            b"f": b" f%d" % item.flags,
            b"h": b" h%d" % fetched,
            b"k": b" k%b" % key,
            b"s": b" s%d" % len(item.value),
            b"t": b" t%b" % left,
        }
        return b"".join(b" " + flag if flag[:1] == b"O" else known.get(flag, b"") for flag in flags)

    def answer(self, head: bytes, key: bytes, flags: list[bytes]) -> bytes:
        """A reply that shows no item: key and opaque only."""
        back = {b"k": b" k" + key}
        return head + b"".join(b" " + f if f[:1] == b"O" else back.get(f, b"") for f in flags) + b"\r\n"

    def meta_get(self, key: bytes, flags: list[bytes], end: int | None = None, vivify: int | None = None,
                 recache: int | None = None) -> bytes:  # fmt: skip
        """Mg with T, N and R as ends and seconds."""
        item, won, sent = self.find(key), False, False
        if item is None:
            if vivify is None:
                return self.answer(b"EN", key, flags)
            self.renew(key, item := Item(b"", 0, vivify, made=self.now, fetched=True))
            won = item.token = True
            fetched = False
        else:
            fetched, item.fetched = item.fetched, True
            sent = item.token
            if end is not None:
                item.end = end
            if not sent and (item.stale or (recache is not None and item.end and item.end - self.now < recache)):
                won = item.token = True
        head = b"VA %d" % len(item.value) if b"v" in flags else b"HD"
        marks = b" Z" * sent + b" X" * item.stale + b" W" * won
        body = item.value + b"\r\n" if b"v" in flags else b""
        return head + self.shown(item, key, flags, fetched) + marks + b"\r\n" + body

    def meta_set(self, mode: str, key: bytes, value: bytes, flags: list[bytes], client_flags: int, end: int,
                 compare: int | None = None, invalidate: bool = False) -> bytes:  # fmt: skip
        """Ms."""
        word = self.store(mode, key, value, client_flags, end, compare, invalidate)
        if word == "TOO_LARGE":
            self.items.pop(key, None)  # whatever the mode
            return TOO_LARGE
        head = {"STORED": b"HD", "NOT_STORED": b"NS", "EXISTS": b"EX", "NOT_FOUND": b"NF"}[word]
        return self.answer(head, key, flags)

    def meta_delete(
        self, key: bytes, flags: list[bytes], compare: int | None, invalidate: bool, end: int | None
    ) -> bytes:
        """Md; with I the item becomes stale."""
        item = self.find(key)
        if item is None:
            return self.answer(b"NF", key, flags)
        if compare not in (None, item.version):
            return self.answer(b"EX", key, flags)
        if invalidate:
            item.stale, item.token = True, False
            item.end = item.end if end is None else end
            self.renew(key, item)
        else:
            del self.items[key]
        return self.answer(b"HD", key, flags)

    def meta_arithmetic(self, key: bytes, flags: list[bytes], delta: int, increment: bool, vivify: int | None,
                        initial: int) -> bytes:  # fmt: skip
        """Ma with N as an end, and J."""
        item = self.find(key)
        if item is None:
            if vivify is None:
                return self.answer(b"NF", key, flags)
            self.renew(key, Item(b"%d" % initial, 0, vivify, made=self.now))
        elif not self.add(key, item, delta, increment):
            return NON_NUMERIC
        item = self.items[key]
        shown = self.shown(item, key, flags)
        number = item.value.rstrip()
        return b"VA %d%b\r\n%b\r\n" % (len(number), shown, number) if b"v" in flags else b"HD" + shown + b"\r\n"
