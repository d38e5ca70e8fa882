"""Seeded random commands, well-formed and malformed, on few keys so that they meet each other.

Left out is what the two peers are known to answer differently (:data:`AVOIDED`, and each place that avoids it
says so) and what memcached itself leaves undefined: arithmetic on blank values, where it reads stale memory
(as it does in search of a minus when the number is beyond 63 bits: no stored value has one),
and a delayed flush_all, which brings back what an earlier one removed if nobody has looked for it since.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable

#: Differences of tests/support/differences.py that the generator steers around.
AVOIDED = (
    "too-few-arguments",  # commands always have their arguments; what may lack is a key of get
    "surplus-arguments",  # at most one surplus token, and only where 1.6.18 takes it
    "delete-arguments",
    "noreply-as-key",
    "gat-without-keys",
    "lenient-numbers",
    "truncated-numbers",
    "lone-minus",
    "short-lines",  # no line below 4 bytes: what a wrong length leaves behind is longer
    "leading-spaces",
    "nul-ends-line",
    "block-not-swallowed",  # header errors only in ms, where both swallow
    "unknown-noreply",
    "bad-length-noreply",
    "unknown-meta-flags",
    "any-byte-a-flag",
    "conditional-get",
    "meta-token-limit",
    "md-errors",
    "ma-overlong-key",
    "ma-opaque",
    "mode-length",
    "append-vivify",
    "ms-size",
    "line-too-long",
    "wide-client-flags",
    "overlong-key-replies",  # an overlong key in get comes after mn, when nothing is unsent
    "ma-when-growing",  # ma has T only with a delta of zero
    "me-binary-anywhere",
    "binary-protocol",
)

#: Where a stream waits for all replies; cas numbers of the commands behind it are looked up here.
BARRIER = b"<barrier>"

WORDS = [b"a", b"b", b"c", b"a:b", b"L" * 250]
NUMBERS = [b"n", b"m"]
KEYS = WORDS + NUMBERS
NO_KEY = b"K" * 251
#: Nothing is sent that would be unsent when the next command is executed.
SETTLE = b"mn\r\nmn\r\n"
TIMES = [b"0"] * 6 + [b"1000", b"100000", b"-1", b"2592001"]
NUMERALS = [
    *(b"0", b"1", b"5", b"9", b"10", b"99", b"100", b"18446744073709551615", b"18446744073709551614"),
    *(b" 7", b"7 ", b"7  ", b"007", b"+3", b"1 2"),
    *(b"abc", b"12x", b"99999999999999999999", b"0x1"),
]
DELTAS = [b"0", b"1", b"1", b"2", b"9", b"10", b"1000", b"18446744073709551615", b"007"]
BAD_DELTAS = [b"x", b"-1", b"1x", b"18446744073709551616"]
STORES = [b"set", b"set", b"set", b"add", b"replace", b"append", b"prepend"]
RESYNC = b"version\r\n"


class Generator:
    """Streams of commands from one seed."""

    keys = KEYS
    classic_keys = KEYS  # of get, gat, the set family and delete

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        weighted = self.weighted()
        self.weights = [weight for weight, _ in weighted]
        self.makers = [maker for _, maker in weighted]

    def weighted(self) -> list[tuple[int, Callable[[], bytes]]]:
        """What makes commands, and how often."""
        return [
            (16, self.get),
            (6, self.gat),
            (22, self.store),
            (6, self.cas),
            (7, self.delete),
            (14, self.arithmetic),
            (6, self.touch),
            (2, self.flush),
            (22, self.meta_get),
            (18, self.meta_set),
            (9, self.meta_delete),
            (14, self.meta_arithmetic),
            (4, self.meta_debug),
            (5, self.misc),
            (6, self.wrong_length),
            (5, self.garbage),
            (3, self.overlong_key),
        ]

    def stream(self, length: int) -> list[bytes]:
        """A list of commands, each whole in itself, with barriers between some of them."""
        stream = []
        for maker in self.random.choices(self.makers, self.weights, k=length):
            if self.random.random() < 0.06:
                stream.append(BARRIER)
            stream.append(maker())
        if self.chance(0.02):
            stream.append(SETTLE + self.random.choice([b"quit\r\n", b"GET / HTTP/1.1\r\n", b"quit now\r\n"]))
        return stream

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def some(self, choices: list[bytes], most: int) -> list[bytes]:
        return [self.random.choice(choices) for _ in range(self.random.randint(1, most))]

    def line(self, *tokens: bytes) -> bytes:
        """The tokens with one space between them, or several; with CRLF, or only LF."""
        text = b"   ".join(tokens) + b"  " if self.chance(0.03) else b" ".join(tokens)
        return text + (b"\n" if self.chance(0.05) else b"\r\n")

    def value(self, key: bytes) -> bytes:
        """For a key of numbers never blank; otherwise anything."""
        if key in NUMBERS:
            return self.random.choice(NUMERALS)
        size = self.random.choice([0, 1, 2, 5, 20, 100, self.random.randrange(300), self.random.randrange(3000)])
        if self.chance(0.002):
            size = self.random.choice([20_000, 600_000, 1_048_600])
        if self.chance(0.1):
            return self.random.choice([b"\r\n", b"END\r\n", b"VALUE a 0 1", b"a\r\nb", b"\0\x80\xff", b"HD t5 c9"])
        return bytes([self.random.choice(b"abcdefgh")]) * size

    def noreply(self) -> list[bytes]:
        return [b"noreply"] if self.chance(0.1) else []

    # Classic commands

    def get(self) -> bytes:
        word = self.random.choice([b"get", b"get", b"gets"])
        return self.line(word, *self.some(self.classic_keys, 5))

    def gat(self) -> bytes:
        time = self.random.choice(TIMES) if self.chance(0.9) else b"x"
        return self.line(self.random.choice([b"gat", b"gats"]), time, *self.some(self.classic_keys, 3))

    def store(self) -> bytes:
        key = self.random.choice(self.classic_keys)
        word = self.random.choice(STORES)
        data = self.value(key)
        surplus = [b"surplus"] if self.chance(0.02) else self.noreply()
        flags = self.random.choice([b"0", b"0", b"5", b"4294967295", b"+7"])
        return self.line(word, key, flags, self.random.choice(TIMES), b"%d" % len(data), *surplus) + data + b"\r\n"

    def cas(self) -> bytes:
        key = self.random.choice(self.keys)
        data = self.value(key)
        number = self.cas_number(key)
        return self.line(b"cas", key, b"0", b"0", b"%d" % len(data), number, *self.noreply()) + data + b"\r\n"

    def cas_number(self, key: bytes) -> bytes:
        """Mostly the number the key had at the last barrier."""
        relations = [b"<cas:%s>", b"<cas:%s>", b"<cas:%s>", b"<cas:%s+1000000>", b"<cas:%s-1>"]
        return self.random.choice(relations) % key

    def delete(self) -> bytes:
        more = self.random.choice([[], [], [], [b"0"], [b"noreply"]])
        return self.line(b"delete", self.random.choice(self.classic_keys), *more)

    def arithmetic(self) -> bytes:
        delta = self.random.choice(DELTAS) if self.chance(0.92) else self.random.choice(BAD_DELTAS)
        word = self.random.choice([b"incr", b"decr"])
        return SETTLE + self.line(word, self.random.choice(NUMBERS), delta, *self.noreply())

    def touch(self) -> bytes:
        time = self.random.choice(TIMES) if self.chance(0.9) else self.random.choice([b"x", b"5x"])
        return self.line(b"touch", self.random.choice(self.keys), time, *self.noreply())

    def flush(self) -> bytes:
        return self.line(b"flush_all", *self.random.choice([[], [b"0"], [b"-1"], [b"noreply"], [b"x"]]))

    def misc(self) -> bytes:
        return self.random.choice(
            [
                b"version\r\n",
                b"mn\r\n",
                b"mn and more\r\n",
                b"verbosity 0\r\n",
                b"verbosity 0 noreply\r\n",
                b"verbosity x\r\n",
                b"stats foo\r\n",
                b"version noreply\r\n",
                b"stats reset\r\n",
            ]
        )

    # Malformed

    def wrong_length(self) -> bytes:
        """A length that is garbled, too short or too long, and a line that makes up for it."""
        key = self.random.choice(self.keys)
        data = self.random.choice([b"pqrstuvw", b"p" * 50, b"pqrs" * 200])
        shape = self.random.random()
        if shape < 0.4:
            length = b"%d" % (len(data) - self.random.randint(4, 8))
        elif shape < 0.8:
            length = b"%d" % (len(data) + self.random.randint(1, 5))
        else:
            length = self.random.choice([b"abc", b"-1", b"1x", b"2147483646", b"9223372036854775807", b"0x5"])
        if self.chance(0.4):
            return self.line(b"ms", key, length, *self.set_flags(key, wrong=False)) + data + b"\r\n" + RESYNC
        quiet = self.noreply() if shape < 0.8 else []
        return self.line(self.random.choice(STORES), key, b"0", b"0", length, *quiet) + data + b"\r\n" + RESYNC

    def garbage(self) -> bytes:
        return self.random.choice(
            [
                b"get_ a\r\n",
                b"GET a\r\n",
                b"Set a 0 0 1\r\n",
                b"bogus\r\n",
                b"foo bar baz\r\n",
                b"\xff\xfe\xfd\r\n",
                b"get\ta\r\n",
                b"x" * 500 + b"\r\n",
                b"foo HTTP/1.1 x\r\n",
                b"mx a v\r\n",
                b"mgg a\r\n",
                b"ms a\r\n",
                b"ms a T30\r\n",
                b"quitt\r\n",
                b'{"json": 1}\r\n',
                b"*1\r\n$4\r\nPING\r\n",
            ]
        )

    def overlong_key(self) -> bytes:
        line = self.random.choice(
            [
                b"get %s b",
                b"gets %s",
                b"gat 0 %s",
                b"touch %s 0",
                b"delete %s",
                b"incr %s 1",
                b"mg %s v",
                b"mg %s q",
                b"md %s",
                b"me %s",
            ]
        )
        return SETTLE + line % NO_KEY + b"\r\n"

    # Meta commands

    def meta_key(self, keys: list[bytes]) -> tuple[bytes, bytes, list[bytes]]:
        """The key, how it is written, and the flag that says so."""
        key = self.random.choice(keys)
        if len(key) < 100 and self.chance(0.15):
            return key, base64.b64encode(key), [b"b"]
        return key, key, []

    def flags(self, plain: bytes, *, wrong: list[bytes], more: list[bytes]) -> list[bytes]:
        """Some of the plain flags, of those with an argument, an opaque; seldom one that is an error."""
        chosen = [bytes([flag]) for flag in plain if self.chance(0.25)]
        chosen += [flag for flag in more if self.chance(0.2)]
        if self.chance(0.2):
            chosen.append(b"O" + self.random.choice([b"", b"1", b"abc", b"x" * 31]))
        if wrong and self.chance(0.06):
            chosen.append(self.random.choice(wrong))
        self.random.shuffle(chosen)
        return chosen[:14]

    def meta_get(self) -> bytes:
        key, written, binary = self.meta_key(self.keys)
        more = [b"T" + self.random.choice(TIMES), b"R" + self.random.choice([b"30", b"5000"])]
        if key not in NUMBERS:  # a vivified item is blank
            more.append(b"N" + self.random.choice([b"0", b"1000", b"100000"]))
        flags = self.flags(
            b"vvtsfhlkcqu"[1:], wrong=[b"S", b"y", b"5", b"Tx", b"T", b"Rx", b"Nx", b"Fx", b"Jx"], more=more
        )
        if self.chance(0.02):
            flags += [b"v", b"v"]
        return self.line(b"mg", written, *flags, *binary)

    def set_flags(self, key: bytes, wrong: bool = True) -> list[bytes]:
        more = [
            b"T" + self.random.choice(TIMES),
            b"F" + self.random.choice([b"0", b"9", b"4294967295"]),
            b"M" + self.random.choice([b"S", b"E", b"A", b"P", b"R"]),
            b"C" + self.cas_number(key),
            b"I",
        ]
        mistakes = [b"S1", b"y", b"5", b"Tx", b"T", b"Cx", b"C", b"Fx", b"F", b"Mx", b"Ma", b"O" + b"x" * 32]
        return self.flags(b"kcqqvthu", wrong=mistakes if wrong else [], more=more)

    def meta_set(self) -> bytes:
        key, written, binary = self.meta_key(self.keys)
        data = self.value(key)
        return self.line(b"ms", written, b"%d" % len(data), *self.set_flags(key), *binary) + data + b"\r\n"

    def meta_delete(self) -> bytes:
        key, written, binary = self.meta_key(self.keys)
        more = [b"C" + self.cas_number(key), b"I", b"T" + self.random.choice(TIMES)]
        return self.line(b"md", written, *self.flags(b"qkvt", wrong=[], more=more), *binary)

    def meta_arithmetic(self) -> bytes:
        key, written, binary = self.meta_key(NUMBERS)
        more = [
            b"N" + self.random.choice([b"0", b"1000"]),
            b"J" + self.random.choice([b"0", b"13", b"18446744073709551615"]),
            b"M" + self.random.choice([b"I", b"D", b"+", b"-"]),
            b"C" + self.cas_number(key),
        ]
        flags = self.flags(b"tcvkq", wrong=[b"y", b"Nx", b"N", b"Dx", b"D-1", b"Jx", b"Mx", b"Mi", b"Tx"], more=more)
        if not any(flag.startswith(b"D") for flag in flags):
            if self.chance(0.1):
                flags += [b"D0", b"T" + self.random.choice(TIMES)] if b"Tx" not in flags else [b"D0"]
            elif self.chance(0.6):
                flags.append(b"D" + self.random.choice(DELTAS))
        return SETTLE + self.line(b"ma", written, *flags, *binary)

    def meta_debug(self) -> bytes:
        return self.line(b"me", self.random.choice(self.keys))


class WatchedGenerator(Generator):
    """What is heard of it is compared, too. A number that ma vivifies lives on ("watched-vivify")."""

    def meta_arithmetic(self) -> bytes:
        while b" N" in (line := super().meta_arithmetic()) and (b" N1000" in line or b" T" in line):
            pass
        return line
