"""Requests and replies of a workload as bytes: templates with a fixed-width key, so every length is known.

A request is a template whose key digits are overwritten; a reply is a sequence of *tokens*, each recognised
by its first four bytes and of known length. The load generator and the null server work from these alone and
know no protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

#: Every key is this prefix and eight decimal digits: 12 bytes, room for 100 million keys.
KEY_PREFIX = b"key_"
KEY = KEY_PREFIX + b"0" * 8
KEYS_MAX = 10**8

#: A set with a value up to this many bytes is rendered whole; a larger value is sent from one shared copy.
INLINE_VALUE_MAX = 4096
#: A value begins with its own key, so that a reply with another key's value is noticed.
VALUE_MIN = len(KEY)
FILLER = b"."
NO_MEMORY = b"SERVER_ERROR out of memory storing object\r\n"

KINDS = ("get", "set", "mix", "metaget", "multiget")


class Does(IntEnum):
    """What a token of a reply means. The load generator has the same numbers."""

    HIT = 0  # one key's value
    MISS = 1  # one key's absence, spelled out
    OPEN = 2  # first token of a reply to many keys
    CLOSE = 3  # last token of a reply: what was not a hit before it was a miss
    STORED = 4  # the reply to a set
    REFUSED = 5  # the reply to a set that found no memory, which a full memcached gives now and then


@dataclass(frozen=True)
class Token:
    """One part of a reply: ``length`` bytes that begin with ``head`` and end with CRLF."""

    head: bytes
    length: int
    does: Does
    key_at: tuple[int, ...] = ()  # where the key stands in it, in bytes from its start


@dataclass(frozen=True)
class Request:
    """A request template: ``text``, then ``tail`` (the shared part of a large value, or empty)."""

    text: bytes
    keys: int  # distinct keys in it
    tail: bytes = b""
    tokens: tuple[Token, ...] = ()
    reply: bytes = b""  # the reply when every key is there

    @property
    def key_at(self) -> list[int]:
        """Offsets of every key in ``text``, in bytes."""
        found, at = [], self.text.find(KEY)
        while at >= 0:
            found.append(at)
            at = self.text.find(KEY, at + len(KEY))
        return found

    @property
    def size(self) -> int:
        """Bytes of the whole request."""
        return len(self.text) + len(self.tail)


@dataclass(frozen=True)
class Wire:
    """A workload on the wire: what is read, what is written, and how many of 100 requests write."""

    read: Request
    write: Request
    write_percent: int
    mark_at: int = field(default=0)  # the offset of the byte that tells a read request from a write request


def make(kind: str, value: int, keys_per_request: int = 1, protocol: str = "memcached") -> Wire:
    """The wire format of a workload kind with ``value`` bytes a value; ValueError when there is none."""
    if kind not in KINDS:
        raise ValueError(f"unknown workload kind {kind!r}: known are {', '.join(KINDS)}")
    if value < VALUE_MIN:
        raise ValueError(f"value = {value}: at least {VALUE_MIN} bytes, for the key in it")
    keys = keys_per_request if kind == "multiget" else 1
    write_percent = {"set": 100, "mix": 10}.get(kind, 0)
    if protocol == "memcached":
        read = _meta_get(value) if kind == "metaget" else _classic_get(value, keys)
        return Wire(read, _classic_set(value), write_percent)
    if kind == "metaget":
        raise ValueError("redis has no meta get")
    read = _redis_mget(value, keys) if kind == "multiget" else _redis_get(value)
    return Wire(read, _redis_set(value), write_percent, mark_at=1)


def preload(value: int, protocol: str) -> Wire:
    """Sets only: what fills a server before a run."""
    return make("set", value, 1, protocol)


def _data(value: int) -> bytes:
    """A value of ``value`` bytes: its key, then filler."""
    return KEY + FILLER * (value - len(KEY))


def _split_value(head: bytes, value: int) -> tuple[bytes, bytes]:
    """The text and tail of a set request: a large value's filler goes to the tail, which is shared."""
    data = _data(value) + b"\r\n"
    if value <= INLINE_VALUE_MAX:
        return head + data, b""
    return head + data[: len(KEY)], data[len(KEY) :]


def _hit(head: bytes, value: int) -> tuple[Token, bytes]:
    """The token and the bytes of one value that ``head`` announces."""
    text = head + _data(value) + b"\r\n"
    key_at = [len(head)] if KEY not in head else [head.index(KEY), len(head)]
    return Token(text[:4], len(text), Does.HIT, tuple(key_at)), text


def _classic_get(value: int, keys: int) -> Request:
    hit, text = _hit(b"VALUE %s 0 %d\r\n" % (KEY, value), value)
    close = Token(b"END\r", 5, Does.CLOSE)
    request = b"get " + b" ".join([KEY] * keys) + b"\r\n"
    return Request(request, keys, tokens=(hit, close), reply=text * keys + b"END\r\n")


def _meta_get(value: int) -> Request:
    hit, text = _hit(b"VA %d\r\n" % value, value)
    miss = Token(b"EN\r\n", 4, Does.MISS)
    return Request(b"mg %s v\r\n" % KEY, 1, tokens=(hit, miss), reply=text)


def _classic_set(value: int) -> Request:
    text, tail = _split_value(b"set %s 0 0 %d\r\n" % (KEY, value), value)
    tokens = (Token(b"STOR", 8, Does.STORED), Token(NO_MEMORY[:4], len(NO_MEMORY), Does.REFUSED))
    return Request(text, 1, tail, tokens, b"STORED\r\n")


def _redis_get(value: int) -> Request:
    hit, text = _hit(b"$%d\r\n" % value, value)
    miss = Token(b"$-1\r", 5, Does.MISS)
    return Request(b"*2\r\n$3\r\nGET\r\n$12\r\n%s\r\n" % KEY, 1, tokens=(hit, miss), reply=text)


def _redis_mget(value: int, keys: int) -> Request:
    hit, text = _hit(b"$%d\r\n" % value, value)
    miss = Token(b"$-1\r", 5, Does.MISS)
    head = b"*%d\r\n" % keys
    opening = Token(head[:4], len(head), Does.OPEN)
    request = b"*%d\r\n$4\r\nMGET\r\n" % (keys + 1) + b"$12\r\n%s\r\n" % KEY * keys
    return Request(request, keys, tokens=(hit, miss, opening), reply=head + text * keys)


def _redis_set(value: int) -> Request:
    text, tail = _split_value(b"*3\r\n$3\r\nSET\r\n$12\r\n%s\r\n$%d\r\n" % (KEY, value), value)
    return Request(text, 1, tail, (Token(b"+OK\r", 5, Does.STORED),), b"+OK\r\n")
