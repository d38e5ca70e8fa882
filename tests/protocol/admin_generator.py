"""Seeded random commands that tell about the server or change it, among those of :mod:`tests.protocol.generator`.

What they do is compared where it does not depend on slab classes, of which each server has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from tests.protocol.generator import KEYS, WORDS, Generator

#: Further differences of tests/support/differences.py that are steered around.
AVOIDED_ADMIN = (
    "automove-arguments",
    "admin-noreply",  # noreply only where the words are right
    "shutdown-text",
    "sizes-switch",
    "mgdump",  # its keys are compared with those of a metadump
    "dump-lines",
    "dump-without-crawler",
    "behind-a-dump",
    "infinite-numbers",
    "prefix-of-every-command",  # keys with a prefix are the classic commands' only
    "percents-wrap",
)

#: Stand in a stream for what takes several requests.
DUMP = b"<dump>"  # a metadump, as a set of lines
MGDUMP = b"<mgdump>"  # our mgdump against memcached's metadump, as a set of keys
CRAWL = b"<crawl>"  # a crawl of all classes, and its end
QUESTIONS = (DUMP, MGDUMP, CRAWL)

#: Every setting as it is at the start, and nothing stored or counted.
RESTORE = (
    b"slabs automove 1\r\nslabs automove ratio 0.8\r\nlru tune 20 40 0.2 2\r\nlru mode segmented\r\nlru temp_ttl -1\r\n"
    b"lru_crawler sleep 100\r\nlru_crawler tocrawl 0\r\ncache_memlimit 64\r\nverbosity 0\r\n"
    b"stats detail off\r\n"
)

PREFIXED = [b"p:1", b"p:2", b"q:x:y", b":", b"longer-prefix:", b"%s:z" % (b"P" * 248)]
LOOK_UP = b"get %s\r\n" % b" ".join([*KEYS, *PREFIXED])  # what has ended goes when it is looked for
FORGET = LOOK_UP + b"stats reset\r\n"

UINT32 = b"0 1 2 3 7 8 9 10 63 64 80 81 99 007 1000 1000000 1000001 2147483647 2147483648 4294967295".split()
INT32 = [*(b"-1 -2 -63 -2147483648".split()), *UINT32[:-2]]
NO_NUMBER = [*b"x 1x 0x1 1.5 1,2 99999999999999999999 18446744073709551616 one".split(), b"9" * 300]
DECIMALS = b"0 0.0 .5 5. 0.8 1 1e-1 1E1 2.0 0.333 1e5 -1 -0.5 00.5 12345.67890123456789".split()
RATIOS = [number for number in DECIMALS if not number.startswith(b"-")]
NO_DECIMAL = b"x 1x 1e 0.5.5 , . 1e999 -1e999 e5 --1 1_0 1e-400".split()
PERCENTS = [
    (b"20", b"40"),
    (b"0", b"0"),
    (b"80", b"0"),
    (b"0", b"80"),
    (b"40", b"40"),
    (b"40", b"41"),
    (b"4294967295", b"0"),
    (b"81", b"1"),
    (b"2147483648", b"1"),
]
CLASSES = b"0 1 2 3 4 5".split()
FREE = b"61 62 63 64 65 1000 4294967295".split()  # classes that nothing is in
NO_CLASSES = b"-2 64 65 1000 2147483647 -2147483648".split()
SECTIONS = [b"", b"", b"", b"items", b"slabs", b"settings", b"sizes", b"conns", b"extstore", b"detail dump"]


class AdminGenerator(Generator):
    """For servers without threads that maintain something: what is counted is compared, too."""

    keys: ClassVar = [key for key in KEYS if b":" not in key]
    classic_keys = keys + PREFIXED

    def weighted(self) -> list[tuple[int, Callable[[], bytes]]]:
        return super().weighted() + self.administration()

    def administration(self) -> list[tuple[int, Callable[[], bytes]]]:
        """Half as many as of the others."""
        return [
            (6, self.reassign),
            (8, self.automove),
            (12, self.lru),
            (14, self.crawler),
            (8, self.memory_limit),
            (3, self.verbosity),
            (3, self.shutdown),
            (16, self.stats),
            (10, self.detail),
            (6, self.cachedump),
            (7, self.question),
        ]

    def question(self) -> bytes:
        return self.random.choice(QUESTIONS)

    def one_of(self, right: list[bytes], wrong: list[bytes]) -> bytes:
        return self.random.choice(right if self.chance(0.8) else wrong)

    def words(self, *words: bytes, exact: bool = False, surplus: bool = True) -> bytes:
        """A line of the words; with noreply, or more words, or one spoilt, or too few of them.

        ``exact``: noreply is a word too many. ``surplus``: more words are no difference.
        """
        shape = self.random.random()
        if shape < 0.08 and not exact:
            return self.line(*words, b"noreply")
        if shape < 0.12 and surplus:
            return self.line(*words, *self.some([b"x", b"1", b"y" * 300], 3))
        if shape < 0.16 and len(words) > 1:
            return self.line(*words[: self.random.randrange(1, len(words))])
        if shape < 0.22:
            which = self.random.randrange(len(words))
            word = words[which]
            spoilt = [
                word.upper() + b"X",
                word[:-1] + b"_",
                word + b"s",
                b"x" * 300,
                b"\xff\x01",
                word + b"\x7f",
            ]
            return self.line(*words[:which], self.random.choice(spoilt), *words[which + 1 :])
        return self.line(*words)

    # Commands

    def reassign(self) -> bytes:
        """Between classes that have nothing to spare, or that are none."""
        if self.chance(0.05):
            return self.line(b"slabs", b"reassign", *self.some(CLASSES, 4)[1:], *self.some(CLASSES, 4)[3:], b"0", b"0")
        source, target = (self.random.choice(CLASSES) for _ in range(2))
        shape = self.random.random()
        if shape < 0.3:
            source = target
        elif shape < 0.6:
            source, target = self.random.choice(NO_CLASSES), self.random.choice([*CLASSES, *NO_CLASSES])
        elif shape < 0.75:
            target = self.random.choice([b"-1", *NO_CLASSES])
        elif shape < 0.85:
            source, target = self.random.choice(NO_NUMBER), self.random.choice([*CLASSES, *NO_NUMBER])
        elif shape < 0.95:
            target = self.random.choice(NO_NUMBER)
        return self.words(b"slabs", b"reassign", source, target, exact=True)

    def automove(self) -> bytes:
        if self.chance(0.5):
            return self.words(b"slabs", b"automove", self.one_of(UINT32[:4], [*UINT32, *NO_NUMBER, b"-1"]))
        return self.words(b"slabs", b"automove", b"ratio", self.one_of(RATIOS, NO_DECIMAL))

    def lru(self) -> bytes:
        shape = self.random.random()
        if shape < 0.3:
            return self.words(b"lru", b"mode", self.one_of([b"flat", b"segmented"], [b"x", b"Flat", b"1"]))
        if shape < 0.5:
            return self.words(b"lru", b"temp_ttl", self.one_of(INT32, NO_NUMBER))
        percents = list(self.random.choice(PERCENTS))
        if self.chance(0.1):
            percents[self.random.randrange(2)] = self.random.choice([*NO_NUMBER, b"-1"])
        factors = [self.one_of(DECIMALS, NO_DECIMAL) for _ in range(2)]
        return self.words(b"lru", b"tune", *percents, *factors)

    def crawler(self) -> bytes:
        """It is on, and stays so: memcached's goes on and off with a delay, and misses what it is asked meanwhile."""
        shape = self.random.random()
        if shape < 0.3:
            return self.words(b"lru_crawler", b"enable", exact=True)
        if shape < 0.5:
            return self.words(b"lru_crawler", b"sleep", self.one_of(UINT32, [*NO_NUMBER, b"-1"]), exact=True)
        if shape < 0.7:
            return self.words(b"lru_crawler", b"tocrawl", self.one_of(UINT32, [*NO_NUMBER, b"-1"]), exact=True)
        which = self.random.choice([b"0", b"64", b"x", b"1,x", b"hash", b",,", b"-1", b"1,64", b"ALL", b"all,1"])
        return self.line(b"lru_crawler", b"crawl", which)

    def memory_limit(self) -> bytes:
        """For so long as it is asked for."""
        megabytes = self.one_of([b"8", b"64", b"65", b"100", b"1024"], [*UINT32[:7], b"1000000001", b"-64", *NO_NUMBER])
        line = self.words(b"cache_memlimit", megabytes, surplus=False)
        return line + b"stats settings\r\ncache_memlimit 64\r\n"

    def verbosity(self) -> bytes:
        line = self.line(b"verbosity", self.one_of(UINT32, [*NO_NUMBER, b"-1"]), *self.noreply())
        return line + b"stats settings\r\nverbosity 0\r\n"

    def shutdown(self) -> bytes:
        """It is not enabled."""
        return self.line(
            self.random.choice([b"shutdown", b"shutdown", b"Shutdown", b"shutdow", b"shutdown_"]),
            *self.random.choice([[], [b"graceful"], [b"x"], [b"graceful", b"x"], [b"y" * 300]]),
        )

    def stats(self) -> bytes:
        if self.chance(0.2):
            return LOOK_UP + self.random.choice(
                [
                    b"stats x\r\n",
                    b"stats item\r\n",
                    b"stats itemss\r\n",
                    b"STATS\r\n",
                    b"stats settings x y\r\n",
                    b"stats %s\r\n" % (b"x" * 300),
                    b"stats\n",
                    b"stats \n",
                    b"stats reset\r\n",
                    b"stats reset x\r\n",
                    b"stats noreply\r\n",
                    b"stats conns x\r\n",
                    b"stats items x\r\n",
                    b"stats slabs noreply\r\n",
                    b"stats sizes x\r\n",
                    b"stats  sizes \r\n",
                ]
            )
        return LOOK_UP + self.line(b"stats", *self.random.choice(SECTIONS).split())

    def detail(self) -> bytes:
        word = self.random.choice([b"on", b"on", b"off", b"dump", b"dump", b"x", b"", b"ON", b"d", b"o" * 300])
        more = [b"x"] if self.chance(0.1) else [b"noreply"] if self.chance(0.1) else []
        return self.line(*filter(None, [b"stats", b"detail", word]), *(more if word else []))

    def cachedump(self) -> bytes:
        """Of all classes; or with wrong words."""
        if self.chance(0.4):
            return self.words(b"stats", b"cachedump", self.one_of(FREE, NO_NUMBER), self.one_of(UINT32, NO_NUMBER))
        return LOOK_UP + b"".join(b"stats cachedump %d 0\r\n" % number for number in range(64))


class MaintainedGenerator(AdminGenerator):
    """For servers with all their threads: these may look at an item that is to change in place at any time, and take
    away what has ended.
    """

    keys: ClassVar = [key for key in WORDS if b":" not in key]
    classic_keys = keys

    def weighted(self) -> list[tuple[int, Callable[[], bytes]]]:
        left_out = (self.arithmetic, self.meta_arithmetic, self.meta_debug)
        return [(weight, maker) for weight, maker in super().weighted() if maker not in left_out]

    def administration(self) -> list[tuple[int, Callable[[], bytes]]]:
        left_out = (self.cachedump, self.question)  # memcached's crawler passes by what is moved meanwhile
        return [(weight, maker) for weight, maker in super().administration() if maker not in left_out]
