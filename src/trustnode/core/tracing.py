"""Whose copy is this: the secrets behind the mark of a copy, the commitment to them, and the judgement on a leak.

Decides: how codeword and keys follow from one secret of the node, what is committed to before the first delivery, how
bits that were seen speak for a recipient and from which chance on somebody is accused (privacy 4). Leaves to others:
putting marks into rows and counting them again (``engine.fingerprint``), reading files (``tracing``).

The rows that are marked are the same in every copy of a product; what differs is a codeword of 64 bits. Two recipients
who compare their copies therefore see only the bits in which they differ, and the others still name both. A recipient
has one codeword for a product, however many agreements: nobody learns from copies that he alone has bought.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from itertools import combinations
from math import comb
from typing import Final, Literal, NamedTuple

import msgspec

BITS: Final = 64
ONE_ROW_IN: Final = 50
"""One row in so many is marked."""
KEY_BYTES: Final = 16
"""As text before the key of a row, it leaves that row's hash in one block of SHA-256: half the work of the engine."""
MAX_CHANCE: Final = 1e-9
"""Somebody is accused when the chance that an innocent agrees as well, times their number, is at most this."""

_SURE_SHARE: Final = 0.75
"""A bit is seen when so large a share of its votes say the same."""
_TORN_VOTES: Final = 8
"""From so many votes on, a bit without a clear majority is torn, and not just rarely seen."""
_USUAL_VOTES: Final = 5
"""Where most bits have so many votes, one with next to none was removed."""
_TORN_SHARE: Final = 4
"""A bit with less than this part of the votes that others have was removed."""

Bit = Literal[0, 1, "torn", "unseen"]


class MarkSecret(msgspec.Struct, frozen=True):
    """What a worker needs to mark the copy of one recipient, and nothing else knows."""

    key: bytes
    """Of the product: chooses the rows."""
    codeword: bytes
    """Of the recipient, 64 bits."""
    seed: bytes
    """Of the recipient: what his marker rows are made from."""

    def bit(self, number: int) -> int:
        """One bit of the codeword."""
        return int.from_bytes(self.codeword, "big") >> number & 1


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What opens the commitment of one agreement: shown to whoever has to believe an accusation."""

    agreement: str
    salt: bytes
    secret: MarkSecret

    @property
    def commitment(self) -> str:
        """Salted digest over codeword, key and seed."""
        digest = hashlib.sha256(b"trustnode mark v1\n" + self.salt + self.agreement.encode() + b"\n")
        for part in (self.secret.key, self.secret.codeword, self.secret.seed):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()


def hash_key(home_secret: bytes, agreement: str) -> bytes:
    """The key of masks that hash: one per agreement, so that two consumers cannot join on a value (governed-sql 10)."""
    return hashlib.sha256(home_secret + agreement.encode()).digest()


class Recipient(NamedTuple):
    """Somebody who holds a copy, and what is behind its mark."""

    name: str
    """SPIFFE id of the consumer."""
    secret: MarkSecret


def recipient(home_secret: bytes, product: str, consumer: str) -> Recipient:
    """What is behind the mark of a recipient's copies of a product; it follows from one secret, and is kept nowhere.

    Args:
        home_secret: The node's secret for masks and marks.
        product: Handle of the product.
        consumer: Who holds the copies.
    """
    holder = f"{product}\n{consumer}"
    secret = MarkSecret(
        _derived(home_secret, "mark key", product)[:KEY_BYTES],
        _derived(home_secret, "mark codeword", holder)[: BITS // 8],
        _derived(home_secret, "marker rows", holder),
    )
    return Recipient(consumer, secret)


def opening(home_secret: bytes, product: str, consumer: str, agreement: str) -> Opening:
    """What opens the commitment of one agreement to the mark of its copies."""
    return Opening(
        agreement=agreement,
        salt=_derived(home_secret, "mark salt", agreement),
        secret=recipient(home_secret, product, consumer).secret,
    )


def _derived(home_secret: bytes, purpose: str, name: str) -> bytes:
    return hmac.digest(home_secret, f"trustnode {purpose} v1\n{name}".encode(), "sha256")


# --- judging a leak


class Votes(NamedTuple):
    """Marked rows of a suspect file that speak for one bit."""

    zeros: int
    ones: int

    @property
    def all(self) -> int:
        """How many."""
        return self.zeros + self.ones


def observed(votes: Sequence[Votes]) -> tuple[Bit, ...]:
    """What each bit of the codeword in a file seems to be; decided without looking at any recipient's."""
    usual = sorted(vote.all for vote in votes)[len(votes) * 3 // 4] if votes else 0
    return tuple(_bit(vote, usual) for vote in votes)


def _bit(vote: Votes, usual: int) -> Bit:
    if usual >= _USUAL_VOTES and vote.all * _TORN_SHARE < usual:
        return "torn"
    if vote.all and max(vote) >= _SURE_SHARE * vote.all:
        return 1 if vote.ones > vote.zeros else 0
    return "torn" if vote.all >= _TORN_VOTES else "unseen"


def chance(bits: int, agreeing: int) -> float:
    """How likely an innocent agrees in at least so many of the bits seen: each agrees by tossing a coin."""
    return sum(comb(bits, number) for number in range(agreeing, bits + 1)) / (1 << bits)


class Suspect(NamedTuple):
    """What a file says about one recipient."""

    name: str
    seen: int
    agreeing: int
    chance: float
    """That any innocent recipient would agree as well: for one of them, times how many there are."""

    @property
    def is_accused(self) -> bool:
        """Whether this is enough to name somebody."""
        return self.chance <= MAX_CHANCE


class Pair(NamedTuple):
    """What a file says about two recipients who put their copies together."""

    names: tuple[str, str]
    seen: int
    agreeing: int
    chance: float
    """That an innocent is one of any two who agree as well."""

    @property
    def is_accused(self) -> bool:
        """Whether this is enough to name both."""
        return self.chance <= MAX_CHANCE


def suspects(bits: Sequence[Bit], recipients: Sequence[Recipient], *, in_all: int = 0) -> tuple[Suspect, ...]:
    """Every recipient, the most suspicious first.

    Args:
        bits: From ``observed``.
        recipients: Those whose copies are marked in the rows that were counted.
        in_all: How many there are, where others are counted apart.
    """
    found = [_suspect(bits, one, max(in_all, len(recipients))) for one in recipients]
    return tuple(sorted(found, key=lambda one: (one.chance, one.name)))


def _suspect(bits: Sequence[Bit], one: Recipient, in_all: int) -> Suspect:
    clear = [(number, bit) for number, bit in enumerate(bits) if bit in (0, 1)]
    agreeing = sum(one.secret.bit(number) == bit for number, bit in clear)
    return Suspect(one.name, len(clear), agreeing, min(1.0, in_all * chance(len(clear), agreeing)))


def pairs(bits: Sequence[Bit], recipients: Sequence[Recipient], *, in_all: int = 0) -> tuple[Pair, ...]:
    """Any two who may have merged their copies: they agree in what is clear and differ in what is torn.

    Whoever of the two is innocent has a codeword that nothing in the file depends on: each of its bits fits with one
    half at most, so the same coin tells the chance. Only those come back who are accused, the strongest first.
    """
    torn = sum(bit == "torn" for bit in bits)
    if not torn:
        return ()
    number = comb(max(in_all, len(recipients)), 2)
    found = (_pair(bits, one, other, number) for one, other in combinations(recipients, 2))
    return tuple(sorted((pair for pair in found if pair.is_accused), key=lambda pair: pair.chance))


def _pair(bits: Sequence[Bit], one: Recipient, other: Recipient, pairs_in_all: int) -> Pair:
    told = [(number, bit) for number, bit in enumerate(bits) if bit != "unseen"]
    agreeing = sum(_fits(bit, (one.secret.bit(number), other.secret.bit(number))) for number, bit in told)
    total = min(1.0, pairs_in_all * chance(len(told), agreeing))
    return Pair((one.name, other.name), len(told), agreeing, total)


def _fits(bit: Bit, two: tuple[int, int]) -> bool:
    return two[0] != two[1] if bit == "torn" else two[0] == two[1] == bit


def tally(rows: Iterable[tuple[int, int, int]]) -> tuple[Votes, ...]:
    """Votes of all bits from (bit, value, how many)."""
    found = [[0, 0] for _ in range(BITS)]
    for bit, value, number in rows:
        found[bit][value] += number
    return tuple(Votes(*one) for one in found)
