"""SPIFFE names, read more strictly than gRPC reads them, and what their paths mean in this network.

Decides: which text is a SPIFFE id, and which kind of caller a path names. Leaves to others: whether a certificate with
that name is genuine (``chain``). Sources: SPIFFE-ID standard 2, identity 1 and 4 step 4, protocol 1.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from trustnode.errors import error

MAX_SPIFFE_ID_BYTES: Final = 2048
_ID: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)\Z")
_DOTS: Final = frozenset({".", ".."})

CallerKind = Literal["CLIENT", "PEER", "INVITEE", "APPLICANT", "OPERATOR"]
KINDS: Final[dict[str, tuple[CallerKind, int, int]]] = {
    "node": ("PEER", 2, 2),
    "participant": ("CLIENT", 2, 3),
    "invite": ("INVITEE", 2, 2),
    "apply": ("APPLICANT", 2, 2),
}
"""First path segment -> kind of caller, fewest and most segments. A path outside this table is nobody."""


class SpiffeId(NamedTuple):
    """A SPIFFE id that was read strictly."""

    trust_domain: str
    segments: tuple[str, ...]

    def __str__(self) -> str:
        """The id as it stands in a certificate."""
        return f"spiffe://{self.trust_domain}/{'/'.join(self.segments)}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as far as this node verified it itself."""

    kind: CallerKind
    spiffe_id: str
    trust_domain: str
    participant: str
    """``spiffe://<td>/participant/<name>``, without the segment of a client below it; empty for other kinds."""
    name: str
    """Second path segment: node id, participant name, invitation id."""
    leaf_sha256: str
    """Lower-case hex SHA-256 of the DER leaf; empty on the local socket."""
    serial: str
    """Lower-case hex serial number of the leaf."""
    spki_sha256: str
    """Lower-case hex SHA-256 of the leaf's SubjectPublicKeyInfo."""


def parse_spiffe_id(text: str) -> SpiffeId:
    """Read a SPIFFE id of a workload: lower-case domain, non-empty path, no escapes, no dots segments.

    Raises:
        TrustnodeError: CERTIFICATE_NAME.
    """
    found = _ID.match(text) if len(text.encode()) <= MAX_SPIFFE_ID_BYTES else None
    segments = tuple(found[2][1:].split("/")) if found else ()
    if found is None or not _DOTS.isdisjoint(segments):
        raise error("CERTIFICATE_NAME", "not a SPIFFE id: spiffe://<lower-case domain>/<path> of plain segments")
    return SpiffeId(found[1], segments)


def participant_of(spiffe: SpiffeId) -> str:
    """The participant a client acts for: the first two path segments; empty if it is none (protocol 1.2)."""
    if spiffe.segments[0] != "participant":
        return ""
    return str(SpiffeId(spiffe.trust_domain, spiffe.segments[:2]))


def caller_of(spiffe: SpiffeId, *, leaf_sha256: str, serial: str, spki_sha256: str) -> Caller:
    """Say which kind of caller a SPIFFE id names.

    Raises:
        TrustnodeError: CERTIFICATE_NAME when the path is none of ours.
    """
    kind, fewest, most = KINDS.get(spiffe.segments[0], ("CLIENT", 0, 0))
    if not fewest <= len(spiffe.segments) <= most:
        raise error("CERTIFICATE_NAME", f"no caller has this path; paths begin with {', '.join(sorted(KINDS))}")
    return Caller(
        kind=kind,
        spiffe_id=str(spiffe),
        trust_domain=spiffe.trust_domain,
        participant=participant_of(spiffe),
        name=spiffe.segments[1],
        leaf_sha256=leaf_sha256,
        serial=serial,
        spki_sha256=spki_sha256,
    )
