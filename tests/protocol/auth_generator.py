"""Seeded random handshakes and what a stranger may say instead of one."""

from __future__ import annotations

from tests.protocol.generator import BARRIER, Generator

#: Differences of tests/support/differences.py that are steered around.
AVOIDED_AUTH = (
    "auth-set-word",
    "auth-short-lines",
    "auth-token-length",
    "auth-nul",
    "auth-password-word",  # one blank at most
)

USERS = b"alice:secret\nbob:colons:in:it\nlong:%s\n" % (b"l" * 240)
TOKENS = [b"alice secret", b"bob colons:in:it", b"long " + b"l" * 240]
#: After it every connection is admitted, whatever it was before.
GOOD = b"set key 0 0 12\r\nalice secret\r\n"

LINES = [
    b"get key",
    b"version",
    b"stats items",
    b"stats reset",
    b"mg key v",
    b"flush_all noreply",
    b"watch nothing",
    b"quit x",
    b"SET key 0 0 5",
    b"add key 0 0 5",
    b"set key 0 0",
    b"set key",
    b"lru_crawler x",
    b"x" * 300,
    b"\xff\xfe\xfd\xfc\xfb\xfa",
    b"GET / HTTP/1.1",
    b"ms key 2",
    b"shutdown",
    b"abcdef",
    b"slabs automove 1",
]
NO_LENGTHS = [b"abc", b"-1", b"5x", b"99999999999999999999", b"0x5", b"1.5", b"x" * 100]


class AuthGenerator(Generator):
    """Behind a barrier, a connection of its own. Every command is answered by one line."""

    def stream(self, length: int) -> list[bytes]:
        stream: list[bytes] = []
        while len(stream) < length:
            stream += [self.attempt() for _ in range(self.random.randint(1, 8))]
            if self.chance(0.7):
                stream.append(self.handshake(self.random.choice(TOKENS), b"\r\n"))
                stream += self.some(
                    [b"version\r\n", b"touch key 0\r\n", b"set key 0 0 1\r\n1\r\n", b"no command\r\n"], 4
                )
            stream.append(BARRIER)
        return stream

    def attempt(self) -> bytes:
        """What admits nobody."""
        shape = self.random.random()
        if shape < 0.3:
            return self.line(self.random.choice(LINES))
        if shape < 0.4:
            return self.line(b"set", b"key", b"0", b"0", self.random.choice(NO_LENGTHS))
        if shape < 0.5:
            return self.handshake(self.random.choice(TOKENS), self.random.choice([b"\rx", b"xx", b"\n\r", b"\n\n"]))
        return self.handshake(self.wrong(), b"\r\n")

    def handshake(self, token: bytes, ending: bytes) -> bytes:
        words = [b"set", b"key", self.random.choice([b"0", b"x", b"-5"]), self.random.choice([b"0", b"y"])]
        more = self.random.choice([[], [], [b"noreply"]])
        return self.line(*words, b"%d" % len(token), *more) + token + ending

    def wrong(self) -> bytes:
        """A token that is nearly right."""
        token = self.random.choice(TOKENS)
        place = self.random.randrange(len(token))
        return self.random.choice(
            [
                token[:-1],
                token + b"s",
                token.replace(b" ", b""),
                token.upper(),
                b" secret",
                b"alice ",
                b"",
                b" ",
                b"a secret",
                b"bob secret",
                token[:place] + b"\xff" + token[place + 1 :],
                token[:place] + b":" + token[place:],
                b"u" * 300 + b" p",
                b"alice " + b"s" * 1900,
                b"alice " + b"s" * 16000,
            ]
        )
