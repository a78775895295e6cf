"""Who must cosign a log (C2SP tlog-policy): one text, read strictly, and whether given witnesses meet it.

Decides: the grammar and the arithmetic of groups. Leaves to others: whose keys these are (cards), which signatures
verify (``checkpoint``). Distinct raw keys count, each once, whatever they are called.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from trustnode.core.evidence.checkpoint import parse_decimal
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey, parse_vkey
from trustnode.core.identity.card import parse_log_origin
from trustnode.errors import TrustnodeError, error

MAX_POLICY_BYTES: Final = 64 * 1024
NONE: Final = "none"
MAX_WITNESSES: Final = 32
SMALL: Final = 3
"""Number of witnesses up to which every one has to cosign."""
OUTSIDERS: Final = "OUTSIDERS"
QUORUM: Final = "QUORUM"
"""Names of groups; no trust domain has upper-case letters."""


class Group(NamedTuple):
    """Members of which ``threshold`` must be met."""

    threshold: int
    members: tuple[str, ...]


class WitnessPolicy(NamedTuple):
    """A policy that was read."""

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, VerifierKey]
    groups: Mapping[str, Group]
    quorum: str

    def met_by(self, cosigned: Collection[bytes]) -> bool:
        """Whether the witnesses with these raw public keys suffice."""
        return self.quorum == NONE or self._holds(self.quorum, cosigned)

    @property
    def asks(self) -> bool:
        """Whether anybody must cosign at all."""
        return self.quorum != NONE

    def met_at(self, times: Mapping[bytes, int]) -> int | None:
        """The earliest time at which the cosignatures made until then meet the quorum (protocol 1.4).

        Args:
            times: Raw public key of a witness -> Unix seconds of its cosignature on one checkpoint.

        Returns:
            Unix seconds; None where the quorum is not met, or nobody is asked: then nothing is sealed.
        """
        if not self.asks:
            return None
        return next((at for at in sorted(set(times.values())) if self.met_by(_until(times, at))), None)

    def by_names(self, times: Mapping[str, int]) -> dict[bytes, int]:
        """Cosignatures by key name, as the keys that this policy lists.

        A venue that changed its witness key since the policy was written counts by its name; whose keys these are was
        checked with its cards. A name that is listed twice counts once.
        """
        first = {key.name: key.public for key in reversed(list(self.witnesses.values()))}
        return {first[name]: at for name, at in times.items() if name in first}

    def covers(self, origin: str) -> bool:
        """Whether it speaks of the log with this origin."""
        return any(log.name == origin for log in self.logs)

    def covers_log_of(self, domain: str) -> bool:
        """Whether it speaks of the log of a venue: the one that it names, or one that follows it."""
        return self.log_of(domain) > 0

    def log_of(self, domain: str) -> int:
        """Number of the newest log of a venue that it names; 0: none."""
        found = (parse_log_origin(log.name) for log in self.logs)
        return max((number for of, number in found if of == domain), default=0)

    @property
    def words(self) -> str:
        """The quorum as a person reads it: ``all of: zj.example/witness, (2 of: c/witness, d/witness, e/witness)``."""
        return self._said(self.quorum) if self.asks else "nobody has to cosign"

    def _said(self, name: str) -> str:
        if name in self.witnesses:
            return self.witnesses[name].name
        group = self.groups[name]
        count = "all" if group.threshold == len(group.members) else str(group.threshold)
        said = (self._said(one) if one in self.witnesses else f"({self._said(one)})" for one in group.members)
        return f"{count} of: {', '.join(said)}"

    def _holds(self, name: str, cosigned: Collection[bytes]) -> bool:
        witness = self.witnesses.get(name)
        if witness is not None:
            return witness.public in cosigned
        group = self.groups[name]
        return sum(self._holds(member, cosigned) for member in group.members) >= group.threshold


def _until(times: Mapping[bytes, int], at: int) -> set[bytes]:
    return {key for key, time in times.items() if time <= at}


class _Reader:
    """Lines taken in so far; a name must be defined above the line that uses it, so there are no cycles."""

    def __init__(self) -> None:
        self.logs: list[VerifierKey] = []
        self.witnesses: dict[str, VerifierKey] = {}
        self.groups: dict[str, Group] = {}
        self.quorum = ""
        self._grouped: set[str] = set()

    def line(self, words: list[str]) -> None:
        kind, rest = words[0], words[1:]
        count = {"log": (1, 2), "witness": (2, 3), "group": (3, 64), "quorum": (1, 1)}.get(kind, (99, 0))
        if not count[0] <= len(rest) <= count[1]:
            raise _malformed(f"not a line of a witness policy: {' '.join(words)[:128]}")
        {"log": self._log, "witness": self._witness, "group": self._group, "quorum": self._quorum}[kind](rest)

    def _log(self, rest: list[str]) -> None:
        key = parse_vkey(rest[0])
        if key.algorithm != ED25519 or any(key.public == other.public for other in self.logs):
            raise _malformed("a log has an Ed25519 key of its own")
        self.logs.append(key)

    def _witness(self, rest: list[str]) -> None:
        self._new(rest[0])
        key = parse_vkey(rest[1])
        if key.algorithm != COSIGNATURE_V1 or any(key.public == other.public for other in self.witnesses.values()):
            raise _malformed("a witness has a cosigning key of its own")
        self.witnesses[rest[0]] = key

    def _group(self, rest: list[str]) -> None:
        name, wanted, *members = rest
        self._new(name)
        for member in members:
            self._known(member)
            if member in self._grouped:
                raise _malformed(f"{member} is a member twice")
            self._grouped.add(member)
        threshold = {"any": 1, "all": len(members)}.get(wanted, parse_decimal(wanted) or 0)
        if not 1 <= threshold <= len(members):
            raise _malformed(f"group {name} can never be met, or always is")
        self.groups[name] = Group(threshold, tuple(members))

    def _quorum(self, rest: list[str]) -> None:
        if self.quorum:
            raise _malformed("a policy has one quorum")
        if rest[0] != NONE:
            self._known(rest[0])
        self.quorum = rest[0]

    def _new(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise _malformed(f"the name {name} is taken")

    def _known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise _malformed(f"{name} is not defined above")


def threshold(count: int) -> int:
    """How many of ``count`` witnesses have to cosign, so that two histories need a colluding majority (evidence-log 8).

    Up to three, all of them: with fewer there would be room for one bad witness, or for none at all.
    """
    return count if count <= SMALL else (2 * count + 3) // 3


def policy_text(log: VerifierKey, parties: Mapping[str, VerifierKey], outsiders: Mapping[str, VerifierKey]) -> str:
    """Write the policy of one log: every party cosigns, and a majority of the others (evidence-log 8).

    Args:
        log: Key of the log.
        parties: Witness keys of the parties that do not run this log, by a name for each; empty where one venue is
            both.
        outsiders: Witness keys of venues that are no party.

    Returns:
        A tlog-policy; ``quorum none`` where there is nobody.
    """
    names = sorted(outsiders)[: MAX_WITNESSES - len(parties)]
    members = {**parties, **{name: outsiders[name] for name in names}}
    lines = [f"log {log.text}", *(f"witness {name} {key.text}" for name, key in sorted(members.items()))]
    asked = [*sorted(parties), *([OUTSIDERS] if len(names) > 1 else names)]
    if len(names) > 1:
        lines.append(f"group {OUTSIDERS} {threshold(len(names))} {' '.join(names)}")
    if len(asked) > 1:
        lines.append(f"group {QUORUM} all {' '.join(asked)}")
    lines.append(f"quorum {QUORUM if len(asked) > 1 else (asked[0] if asked else NONE)}")
    return "\n".join(lines) + "\n"


def parse_policy(text: str) -> WitnessPolicy:
    """Read a policy.

    Raises:
        InvalidRequest: FIELD_FORMAT, it is malformed.
    """
    if len(text.encode()) > MAX_POLICY_BYTES or any(c < " " and c not in "\t\n" for c in text):
        raise _malformed("too long, or control characters")
    reader = _Reader()
    for line in text.split("\n"):
        words = line.partition("#")[0].split()
        if words:
            reader.line(words)
    if not reader.quorum:
        raise _malformed("a policy has a quorum line")
    return WitnessPolicy(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)


def _malformed(message: str) -> TrustnodeError:
    return error("FIELD_FORMAT", message, field="witness policy")
