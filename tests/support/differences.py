"""Where the two peers of the protocol suite are meant to answer differently: the one list.

``peer`` names the one that departs from memcached 1.6.45: Debian's older memcached, or cachecore on purpose.
Rows of the suite refer to an id and give both peers' bytes; a test fails when an id is used nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One difference: who departs from memcached 1.6.45, and how."""

    peer: str
    reason: str


_OLD = "memcached"
_OURS = "cachecore"

DIFFERENCES: dict[str, Difference] = {
    "too-few-arguments": Difference(_OLD, "1.6.18: too few arguments answer ERROR"),
    "surplus-arguments": Difference(_OLD, "1.6.18: surplus arguments answer ERROR"),
    "delete-arguments": Difference(_OLD, "1.6.18: delete takes nothing but 0 and noreply behind its key"),
    "noreply-as-key": Difference(_OLD, "1.6.18: delete of the key noreply answers"),
    "gat-without-keys": Difference(_OLD, "1.6.18: gat with an exptime but no key answers END"),
    "lenient-numbers": Difference(_OLD, "1.6.18: every number may have a plus, blanks, many zeros"),
    "truncated-numbers": Difference(_OLD, "1.6.18: a number beyond 32 bits is truncated, not refused"),
    "lone-minus": Difference(_OLD, "1.6.18: a lone minus is no number, not zero"),
    "short-lines": Difference(_OLD, "1.6.18: a line below 4 bytes is a command like any other"),
    "leading-spaces": Difference(_OLD, "1.6.18: spaces before the command are skipped"),
    "nul-ends-line": Difference(_OLD, "1.6.18: a NUL ends the command line"),
    "block-not-swallowed": Difference(_OLD, "1.6.18: the data block behind a bad header is run as commands"),
    "unknown-noreply": Difference(_OLD, "1.6.18: an unknown word is answered in spite of noreply"),
    "bad-length-noreply": Difference(_OLD, "1.6.18: noreply silences the error about a bad length too"),
    "unknown-meta-flags": Difference(_OLD, "1.6.18: the meta flags E and x are unknown"),
    "any-byte-a-flag": Difference(_OLD, "1.6.18: any byte may be a meta flag"),
    "conditional-get": Difference(_OLD, "1.6.18: mg ignores the flag C"),
    "meta-token-limit": Difference(_OLD, "1.6.18: 19 words at most, another text beyond; ms runs its block"),
    "md-errors": Difference(_OLD, "1.6.18: md names every bad flag 'invalid or duplicate flag'"),
    "ma-overlong-key": Difference(_OLD, "1.6.18: ma with an overlong key says 'bad command line format'"),
    "ma-opaque": Difference(_OLD, "1.6.18: ma is executed in spite of an opaque that is too long"),
    "mode-length": Difference(_OLD, "1.6.18: the argument of the meta flag M must be one character"),
    "append-vivify": Difference(_OLD, "1.6.18: ms ignores the flag N"),
    "ms-size": Difference(_OLD, "1.6.18: ms does not return the flag s"),
    "me-exptime-sign": Difference(_OLD, "1.6.18: me shows the seconds left with the wrong sign"),
    "automove-arguments": Difference(_OLD, "1.6.18: slabs automove knows no window and no freeratio"),
    "admin-noreply": Difference(_OLD, "1.6.18: shutdown, and a line with a word too many, answer in spite of noreply"),
    "shutdown-text": Difference(_OLD, "1.6.18: says ERROR, not SERVER_ERROR, when shutdown is not enabled"),
    "sizes-switch": Difference(_OLD, "1.6.18: stats sizes_enable and sizes_disable are there"),
    "detail-in-spite-of-no-dumps": Difference(_OLD, "1.6.18: -X leaves stats detail alone"),
    "dump-lines": Difference(_OLD, "1.6.18: no OK before a metadump; its lines have no flags and no trailing blank"),
    "mgdump": Difference(_OLD, "1.6.18: there is no mgdump"),
    "auth-set-word": Difference(_OLD, "1.6.18 with -Y: the handshake's word is set, not what begins with it"),
    "auth-short-lines": Difference(_OLD, "1.6.18 with -Y: a stranger's line below 6 bytes is answered"),
    "auth-token-length": Difference(_OLD, "1.6.18 with -Y: a long token closes the connection without a word"),
    "auth-nul": Difference(_OLD, "1.6.18 with -Y: a NUL ends the password"),
    "auth-password-word": Difference(_OURS, "with -Y a password is everything behind the first blank"),
    "before-a-dump": Difference(_OURS, "a dump or a watch may follow commands whose replies are not sent yet"),
    "line-too-long": Difference(_OURS, "the line limit holds however the line arrives; an error comes first"),
    "wide-client-flags": Difference(_OURS, "client flags beyond 32 bits are refused, not truncated"),
    "overlong-key-replies": Difference(_OURS, "an overlong key in get loses no reply to an earlier command"),
    "replies-before-upload": Difference(_OURS, "the last reply does not wait for the upload behind it"),
    "ma-when-growing": Difference(_OURS, "ma with T or E keeps them when the number grows by a digit"),
    "me-binary-anywhere": Difference(_OURS, "me decodes its key wherever the b stands"),
    "infinite-numbers": Difference(_OURS, "NaN and infinity are no numbers for slabs automove and lru tune"),
    "prefix-of-every-command": Difference(_OURS, "statistics by prefix count every command, not the classic ones only"),
    "percents-wrap": Difference(_OURS, "percentages of lru tune are added without an overflow"),
    "behind-a-dump": Difference(_OURS, "commands behind a dump are answered without further bytes"),
    "dump-without-crawler": Difference(_OURS, "a dump needs no crawler"),
    "binary-protocol": Difference(_OURS, "no binary protocol: a connection that opens with it is closed"),
}
