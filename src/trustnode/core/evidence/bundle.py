"""The evidence bundle: one deterministic zip that shows one agreement to a stranger (protocol 10).

Decides: the bytes of the file, its members and their form, what one venue's part is and how two parts make a whole.
Leaves to others: what a bundle proves (``verify``), what goes into it (``app.evidence``).

A bundle is read, written again and compared: one comparison refuses another order, compressed members, surplus bytes,
comments, a second spelling of a member, and a manifest or a story that does not say what the rest says.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from trustnode.core import documents as _types  # noqa: F401 (closes the table of document types)
from trustnode.core.contract import Agreement
from trustnode.core.document import Count, Digest, Document, Salt, Signature, canonical, decode
from trustnode.core.evidence.checkpoint import parse_checkpoint
from trustnode.core.evidence.proof import MAX_PROOF_BYTES, TlogProof, parse_proof
from trustnode.core.evidence.story import tell
from trustnode.errors import TrustnodeError, error

MAX_MEMBERS: Final = 200_000
MAX_BYTES: Final = 1 << 30
ALL_PROVEN_UP_TO: Final = 10_000
"""Entries of one chain up to which each is proven; beyond, those that name documents, the first and the last."""

_TIME: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o644 << 16
_UNIX: Final = 3
_NAME: Final = re.compile(r"[a-z0-9._/-]{1,128}")
_DOMAIN: Final = "[a-z0-9._-]+"
_CARD: Final = re.compile(rf"cards/({_DOMAIN})/([1-9][0-9]{{0,6}})\.json")
_DOCUMENT: Final = re.compile(r"documents/([0-9a-f]{64})\.json")
_CHAIN: Final = re.compile(rf"chains/({_DOMAIN})\.jsonl")
_PROOF: Final = re.compile(rf"proofs/({_DOMAIN})/(0|[1-9][0-9]{{0,18}})\.tlog-proof")
_SEAL: Final = re.compile(rf"seals/({_DOMAIN})/(0|[1-9][0-9]{{0,18}})\.tlog-proof")
_PUBLISHED: Final = re.compile(rf"published/({_DOMAIN})\.jsonl")
_HEAD: Final = re.compile(rf"heads/({_DOMAIN})\.json")
_STATUS: Final = re.compile(rf"status/({_DOMAIN})\.json")
T = TypeVar("T")
MANIFEST: Final = "manifest.json"
STORY: Final = "story.txt"


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of a chain. Without salt and statement it is withheld or erased; the chain verifies all the same."""

    seq: Annotated[int, msgspec.Meta(ge=1)]
    index: Count
    """In the log."""
    commitment: Digest
    salt: Salt | None = None
    statement: str | None = None
    """The exact record; plain ASCII."""


class Publication(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The entry by which a venue published a card or a key document, in the chain of the node or of a participant.

    Of that chain only this entry is here; ``previous`` lets its link be computed, which is the leaf that is proven.
    """

    object_kind: Literal["node", "participant"]
    object: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
    seq: Annotated[int, msgspec.Meta(ge=1)]
    index: Count
    previous: Digest
    """Link of the entry before it in its chain; zeros before the first."""
    salt: Salt
    statement: str


class LogLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which state of which log a part was taken from."""

    domain: str
    origin: str
    size: Count
    root: str


class Counts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of each kind of member there are."""

    cards: Count
    documents: Count
    entries: Count
    proofs: Count
    seals: Count


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file says of itself. All but the maker follows from the rest; the maker is not trusted."""

    type: Literal["bundle"] = "bundle"
    version: Literal[1] = 1
    maker: str
    """Trust domain of the node that put the file together."""
    agreement: str
    agreement_sha256: Digest
    logs: tuple[LogLine, ...]
    counts: Counts
    missing: tuple[str, ...]
    """Nodes of the agreement whose part is not here."""


@dataclass(frozen=True)
class Part:
    """What the log of one venue says of the agreement."""

    chain: tuple[Line, ...] = ()
    """The negotiation's chain, then the agreement's, which begins at number 1 again."""
    proofs: Mapping[int, TlogProof] = field(default_factory=dict)
    """By index; all over one checkpoint."""
    seals: Mapping[int, TlogProof] = field(default_factory=dict)
    """By index: proofs of some of these entries under earlier checkpoints, which show when they were sealed (1.4)."""
    published: tuple[Publication, ...] = ()
    """When cards and keys became known that the agreement does not name; in the order of the log."""
    head: Document | None = None
    """The signed length of the agreement's chain."""
    status: tuple[Document, ...] = ()
    """The venue's notices about keys that are used here."""


@dataclass(frozen=True)
class Contents:
    """A bundle taken apart. Nothing in it is verified."""

    maker: str
    agreement: str
    """Digest of the agreement document."""
    cards: Mapping[str, Mapping[int, Document]] = field(default_factory=dict)
    """Domain -> version -> card."""
    documents: Mapping[str, Document] = field(default_factory=dict)
    """By digest."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """By trust domain."""

    def value(self) -> Agreement:
        """The agreement, read and not verified.

        Raises:
            VerificationFailed: The bundle does not hold it.
        """
        document = self.documents.get(self.agreement)
        if document is None:
            raise _failed("the agreement itself is not in the bundle")
        return decode(document, Agreement)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Trust domains of the nodes of the agreement: one or two, the provider's first."""
        value = self.value()
        return tuple(dict.fromkeys((value.provider_node, value.consumer_node)))


# --- write ----------------------------------------------------------------------------------------------------------


def pack(contents: Contents) -> bytes:
    """Write a bundle; the same contents give the same bytes.

    Raises:
        VerificationFailed: The agreement is not among the documents, or a limit is passed.
    """
    return write_zip(members(contents))


def members(contents: Contents) -> dict[str, bytes]:
    """Every member by name, manifest and story included."""
    found = {MANIFEST: canonical(manifest(contents)), STORY: tell(contents).encode()}
    for domain, versions in contents.cards.items():
        found |= {f"cards/{domain}/{version}.json": canonical(card) for version, card in versions.items()}
    found |= {f"documents/{digest}.json": canonical(document) for digest, document in contents.documents.items()}
    for domain, part in contents.parts.items():
        found[f"chains/{domain}.jsonl"] = b"".join(canonical(line) + b"\n" for line in part.chain)
        found[f"status/{domain}.json"] = canonical(part.status)
        found |= {f"proofs/{domain}/{index}.tlog-proof": proof.to_bytes() for index, proof in part.proofs.items()}
        found |= {f"seals/{domain}/{index}.tlog-proof": proof.to_bytes() for index, proof in part.seals.items()}
        if part.published:
            found[f"published/{domain}.jsonl"] = b"".join(canonical(line) + b"\n" for line in part.published)
        if part.head is not None:
            found[f"heads/{domain}.json"] = canonical(part.head)
    return found


def manifest(contents: Contents) -> Manifest:
    """What the contents say of themselves."""
    parts = contents.parts.values()
    return Manifest(
        maker=contents.maker,
        agreement=contents.value().contract_id,
        agreement_sha256=contents.agreement,
        logs=tuple(line for domain in sorted(contents.parts) for line in _log_lines(domain, contents.parts[domain])),
        counts=Counts(
            cards=sum(len(versions) for versions in contents.cards.values()),
            documents=len(contents.documents),
            entries=sum(len(part.chain) for part in parts),
            proofs=sum(len(part.proofs) for part in parts),
            seals=sum(len(part.seals) for part in parts),
        ),
        missing=tuple(domain for domain in contents.nodes if domain not in contents.parts),
    )


def _log_lines(domain: str, part: Part) -> Iterable[LogLine]:
    if part.proofs:
        text = part.proofs[min(part.proofs)].checkpoint.rpartition(b"\n\n")[0].decode(errors="replace") + "\n"
        head = parse_checkpoint(text)
        yield LogLine(domain=domain, origin=head.origin, size=head.size, root=head.root.hex())


def write_zip(found: Mapping[str, bytes]) -> bytes:
    """Write members: stored, sorted by name, all of 1980-01-01, without extra fields.

    Raises:
        VerificationFailed: A name or a size that no bundle has.
    """
    _check_size(len(found), sum(len(data) for data in found.values()))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(found):
            _check_name(name)
            info = zipfile.ZipInfo(name, _TIME)
            info.external_attr, info.create_system = _MODE, _UNIX
            archive.writestr(info, found[name])
    return target.getvalue()


# --- read -----------------------------------------------------------------------------------------------------------


def unpack(data: bytes) -> Contents:
    """Take a bundle apart.

    Raises:
        VerificationFailed: The file is not exactly what ``pack`` would write from its own contents.
    """
    contents = _sort(read_zip(data))
    if pack(contents) != data:
        raise _failed("manifest, story or form of the file differ from what its other members say")
    return contents


def read_zip(data: bytes) -> dict[str, bytes]:
    """Read the members of a zip that follows the rules of protocol 10.

    Raises:
        VerificationFailed: It does not.
    """
    if len(data) > MAX_BYTES:
        raise _failed("the file is larger than a bundle may be")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            _check_size(len(infos), sum(info.file_size for info in infos))
            found = {info.filename: _read(archive, info) for info in infos}
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError, struct.error, OSError):
        raise _failed("not a bundle, or not the whole of one") from None
    if write_zip(found) != data:
        raise _failed("the zip is not in the form of a bundle")
    return found


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    _check_name(info.filename)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise _failed(f"{info.filename} is compressed")
    return archive.read(info)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or ".." in name:
        raise _failed(f"{name[:128]!a} is not the name of a member")


def _check_size(count: int, size: int) -> None:
    if count > MAX_MEMBERS or size > MAX_BYTES:
        raise _failed("more members or bytes than a bundle may have")


def _sort(found: Mapping[str, bytes]) -> Contents:
    """Give each member its meaning; a member without one is refused."""
    told = _decode(found.get(MANIFEST, b""), Manifest, MANIFEST)
    cards: dict[str, dict[int, Document]] = {}
    documents: dict[str, Document] = {}
    parts: dict[str, _PartMembers] = {}
    for name, data in found.items():
        if match := _CARD.fullmatch(name):
            cards.setdefault(match[1], {})[int(match[2])] = _decode(data, Document, name)
        elif match := _DOCUMENT.fullmatch(name):
            documents[match[1]] = _decode(data, Document, name)
        elif domain := _part_domain(name):
            parts.setdefault(domain, _PartMembers()).take(name, data)
        elif name not in (MANIFEST, STORY):
            raise _failed(f"{name} is no member of a bundle")
    whole = {domain: one.part() for domain, one in parts.items()}
    return Contents(told.maker, told.agreement_sha256, cards, documents, whole)


def _part_domain(name: str) -> str:
    matches = (pattern.fullmatch(name) for pattern in (_CHAIN, _PROOF, _SEAL, _PUBLISHED, _HEAD, _STATUS))
    return next((match[1] for match in matches if match), "")


@dataclass
class _PartMembers:
    """A part while its members are read."""

    chain: tuple[Line, ...] = ()
    proofs: dict[int, TlogProof] = field(default_factory=dict)
    seals: dict[int, TlogProof] = field(default_factory=dict)
    published: tuple[Publication, ...] = ()
    head: Document | None = None
    status: tuple[Document, ...] = ()

    def part(self) -> Part:
        return Part(self.chain, self.proofs, self.seals, self.published, self.head, self.status)

    def take(self, name: str, data: bytes) -> None:
        if match := _PROOF.fullmatch(name):
            self.proofs[int(match[2])] = _proof(data, int(match[2]), name)
        elif match := _SEAL.fullmatch(name):
            self.seals[int(match[2])] = _proof(data, int(match[2]), name)
        elif _PUBLISHED.fullmatch(name):
            self.published = tuple(_decode(line, Publication, name) for line in data.splitlines())
        elif _CHAIN.fullmatch(name):
            self.chain = tuple(_decode(line, Line, name) for line in data.splitlines())
        elif _HEAD.fullmatch(name):
            self.head = _decode(data, Document, name)
        else:
            self.status = _decode(data, tuple[Document, ...], name)


def _proof(data: bytes, index: int, name: str) -> TlogProof:
    proof = parse_proof(data[: MAX_PROOF_BYTES + 1])
    if proof.position != index or proof.extra:
        raise _failed(f"{name} is the proof of another entry, or holds more than a proof")
    return proof


def _decode(data: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as why:
        raise _failed(f"{name}: {why}") from None


# --- two parts ------------------------------------------------------------------------------------------------------


def merge(own: Contents, other: Contents) -> Contents:
    """Put the parts of two nodes together; what a node says of the other's log is left out.

    Raises:
        VerificationFailed: They are of two agreements, or two cards claim one version.
    """
    if own.agreement != other.agreement:
        raise _failed("the two parts are of two agreements")
    cards = {domain: dict(versions) for domain, versions in own.cards.items()}
    for domain, versions in other.cards.items():
        for version, card in versions.items():
            held = cards.setdefault(domain, {}).setdefault(version, card)
            cards[domain][version] = _both(held, card)
    documents = dict(own.documents)
    for digest, document in other.documents.items():
        documents[digest] = _both(documents.get(digest, document), document)
    parts = {**own.parts, **{domain: part for domain, part in other.parts.items() if domain not in own.parts}}
    return replace(own, cards=cards, documents=documents, parts=parts)


def _both(one: Document, other: Document) -> Document:
    """One payload with the signatures of both copies, in one order."""
    if (one.payload_type, one.payload) != (other.payload_type, other.payload):
        raise _failed("two documents stand under one name")
    signatures = {(s.keyid, s.sig) for s in (*one.signatures, *other.signatures)}
    return msgspec.structs.replace(one, signatures=tuple(Signature(*pair) for pair in sorted(signatures)))


def _failed(message: str) -> TrustnodeError:
    return error("VERIFICATION_FAILED", message)
