"""The profile: a folder that holds who somebody is at one venue, and everything needed to speak and sign.

Decides: where profiles lie, which files one has, private names of agreements, acknowledgements not yet sent. Leaves to
others: becoming a participant (``enrolment``), speaking to the node (``connection``).

    profile.toml          name, participant, venue, addresses, fingerprint, roles, custody, anchors
    participant.key       the document key (Ed25519), mode 0600
    participant-key.json  what the venue says about that key
    client.key client.pem the TLS key and its chain
    card.json             the venue's card, its fingerprint compared by a person
    cards/                cards of other venues, as the home node gave them
    aliases.json          private name -> contract identifier
    acks/                 acknowledgements that wait to be sent, one file an access
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import tomllib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from trustnode.core import clock, envelope
from trustnode.core import documents as _documents  # noqa: F401 (closes the table of document types)
from trustnode.core.document import Document, PublicKey, Statement, Verified, seal
from trustnode.core.identifier import check_name
from trustnode.core.identity import Card, check_card, check_fingerprint
from trustnode.core.participant import Custody
from trustnode.errors import error
from trustnode.keys import Credential, FileSigner, read_secret, write_secret

VARIABLE: Final = "TRUSTNODE_PROFILE"
FOLDER_VARIABLE: Final = "TRUSTNODE_PROFILES"
SETTINGS: Final = "profile.toml"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of ``profile.toml``."""

    name: str
    participant: str
    """SPIFFE id."""
    venue: str
    """Trust domain of the home venue."""
    addresses: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """host:port of the home node, tried in order."""
    fingerprint: str
    """Fingerprint of the venue's card that was compared when the profile was made."""
    roles: tuple[str, ...]
    custody: Custody
    anchors: dict[str, str] = {}
    """Trust domain -> fingerprint that its owner compared; used by ``verify``."""


class Profile:
    """Who somebody is at one venue."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings

    def __repr__(self) -> str:
        return f"<Profile {self.name} at {self.venue}>"

    @classmethod
    def open(cls, named: str | Path | None = None) -> Profile:
        """Open a profile.

        Args:
            named: Name under the folder of profiles, or a folder; None: TRUSTNODE_PROFILE, else the only one there is.

        Raises:
            TrustnodeError: CONFIG_INVALID when there is none, or its settings cannot be read.
        """
        folder = find(named)
        try:
            settings = msgspec.convert(tomllib.loads((folder / SETTINGS).read_text()), Settings)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as problem:
            raise error("CONFIG_INVALID", f"{folder / SETTINGS}: {problem}", field=SETTINGS) from None
        return cls(folder, settings)

    # --- who

    @property
    def name(self) -> str:
        """Short name."""
        return self.settings.name

    @property
    def participant(self) -> str:
        """SPIFFE id."""
        return self.settings.participant

    @property
    def venue(self) -> str:
        """Trust domain of the home venue."""
        return self.settings.venue

    @functools.cached_property
    def card(self) -> Verified[Card]:
        """The home venue's card, the one that was compared.

        Raises:
            TrustnodeError: CONFIG_INVALID, FINGERPRINT_MISMATCH, or as ``check_card``.
        """
        document = self._document("card.json")
        check_fingerprint(document, self.settings.fingerprint)
        return check_card(document, None)

    def own_cards(self) -> tuple[Verified[Card], ...]:
        """The venue's card that was compared, and the newest version that its roots led to since."""
        kept = self.kept_card(self.venue)
        newest = check_card(kept, None) if kept is not None else self.card
        return (self.card, newest) if newest.value.version > self.card.value.version else (self.card,)

    @functools.cached_property
    def key_document(self) -> Document:
        """The ``participant-key`` with both signatures."""
        return self._document("participant-key.json")

    @functools.cached_property
    def signer(self) -> FileSigner:
        """The document key."""
        return FileSigner.load(self.folder / "participant.key")

    @property
    def credential(self) -> Credential:
        """The TLS key and chain as they stand in the folder now."""
        return Credential(read_secret(self.folder / "client.key"), self._read("client.pem"))

    @property
    def public_key(self) -> PublicKey:
        """Our own document key."""
        return PublicKey(self.signer.public, "", clock.FOREVER)

    # --- signing

    def fields(self, *audience: str, life_s: float | None = None) -> dict[str, Any]:
        """Common fields of a document of ours (protocol 3.1.2)."""
        time = now()
        common = {"suite": "tn1", "id": new_id(), "iss": self.participant, "aud": tuple(dict.fromkeys(audience))}
        expires = {} if life_s is None else {"expires": clock.shift(time, life_s)}
        return {**common, "time": time, **expires}

    def sign(self, statement: Statement) -> Document:
        """Sign with the document key."""
        return seal(statement, self.signer)

    # --- private names

    @property
    def aliases(self) -> dict[str, str]:
        """Private name -> contract identifier."""
        path = self.folder / "aliases.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def name_agreement(self, alias: str, contract: str) -> None:
        """Give an agreement a private name; an older one of that name loses it.

        Raises:
            TrustnodeError: FIELD_FORMAT.
        """
        named = {**self.aliases, check_name(alias, "as"): contract}
        replace_file(self.folder / "aliases.json", json.dumps(named, indent=1, sort_keys=True).encode())

    def alias_of(self, contract: str) -> str:
        """The private name of an agreement; empty if it has none."""
        return next((name for name, known in self.aliases.items() if known == contract), "")

    # --- cards of other venues

    def kept_card(self, domain: str) -> Document | None:
        """The card of another venue that we saw last."""
        path = self.folder / "cards" / f"{_plain(domain)}.json"
        return envelope.decode(path.read_bytes()) if path.exists() else None

    def keep_card(self, domain: str, document: Document) -> None:
        """Remember the card of another venue."""
        replace_file(self.folder / "cards" / f"{_plain(domain)}.json", envelope.encode(document))

    # --- acknowledgements that wait

    def keep_ack(self, access: str, content: bytes) -> None:
        """Remember what is still to be acknowledged."""
        replace_file(self.folder / "acks" / f"{_plain(access)}.json", content)

    def drop_ack(self, access: str) -> None:
        """Forget an acknowledgement that was sent."""
        (self.folder / "acks" / f"{_plain(access)}.json").unlink(missing_ok=True)

    def kept_acks(self) -> Iterator[tuple[str, bytes]]:
        """Access and content of what is still to be acknowledged."""
        for path in sorted((self.folder / "acks").glob("*.json")):
            yield path.stem, path.read_bytes()

    # --- certificates

    def write_certificate(self, chain_pem: bytes, key_pem: bytes | None = None) -> None:
        """Replace the chain; with another TLS key only where the old certificate is of no use any more."""
        if key_pem is not None:
            replace_file(self.folder / "client.key", key_pem)
        replace_file(self.folder / "client.pem", chain_pem)

    def replace_key(self, signer: FileSigner, statement: Document) -> None:
        """Act with another document key from now on; the file of the old one is kept beside it."""
        old = self.signer
        replace_file(self.folder / f"participant.{old.public.hex()[:16]}.key", old.pem)
        replace_file(self.folder / "participant.key", signer.pem)
        replace_file(self.folder / "participant-key.json", envelope.encode(statement))
        for name in ("signer", "key_document"):
            self.__dict__.pop(name, None)  # read anew

    def _document(self, name: str) -> Document:
        return envelope.decode(self._read(name))

    def _read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as problem:
            raise error("CONFIG_INVALID", f"{self.folder / name}: {problem.strerror}", field=name) from None


# --- where profiles lie ---------------------------------------------------------------------------------------------


def root() -> Path:
    """Folder that profiles lie in: ``$TRUSTNODE_PROFILES``, else the user's configuration (XDG)."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    configuration = os.environ.get("XDG_CONFIG_HOME")
    return (Path(configuration) if configuration else Path.home() / ".config") / "trustnode" / "profiles"


def names() -> list[str]:
    """Profiles there are, by name."""
    return sorted(path.parent.name for path in root().glob(f"*/{SETTINGS}"))


def find(named: str | Path | None = None) -> Path:
    """Folder of a profile; see ``Profile.open``.

    Raises:
        TrustnodeError: CONFIG_INVALID.
    """
    wanted = named or os.environ.get(VARIABLE) or _only()
    for folder in (root() / wanted, Path(wanted)):
        if (folder / SETTINGS).is_file():
            return folder
    known = ", ".join(names()) or "none"
    step = "Make one with an invitation of your venue: trustnode join FILE.invite --fingerprint F"
    message = f"no profile {wanted} in {root()}; there are: {known}"
    raise error("CONFIG_INVALID", message, field="profile", next_step=step)


def _only() -> str:
    known = names()
    if len(known) == 1:
        return known[0]
    step = f"Name one: --profile NAME, or {VARIABLE}." if known else "Make one: trustnode join FILE.invite"
    raise error("CONFIG_INVALID", f"{len(known)} profiles in {root()}", field="profile", next_step=step)


# --- making one -----------------------------------------------------------------------------------------------------


def write(folder: Path, settings: Settings, card: Document, key: FileSigner, statement: Document) -> Profile:
    """Write a profile without its certificate, which is added by ``write_certificate``.

    A document key that is there already stays as it is.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / "participant.key").exists():
        write_secret(folder / "participant.key", key.pem)
    replace_file(folder / "card.json", envelope.encode(card))
    replace_file(folder / "participant-key.json", envelope.encode(statement))
    replace_file(folder / SETTINGS, _toml(settings).encode())
    return Profile(folder, settings)


def _toml(settings: Settings) -> str:
    values: Mapping[str, Any] = msgspec.to_builtins(settings)
    lines = [f"{name} = {_toml_value(value)}" for name, value in values.items() if not isinstance(value, dict)]
    anchors = [f"{json.dumps(domain)} = {json.dumps(value)}" for domain, value in values["anchors"].items()]
    return "\n".join([*lines, "", "[anchors]", *anchors, ""])


def _toml_value(value: str | Sequence[str]) -> str:
    # A JSON text or list of texts is a TOML text or array: both escape alike.
    return json.dumps(value, ensure_ascii=False)


def replace_file(path: Path, content: bytes) -> None:
    """Write a private file as a whole: a reader sees the old or the new content."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write_secret(fresh, content)
    fresh.replace(path)


def _plain(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise error("FIELD_FORMAT", f"{name!r} cannot be a file name", field="name")
    return name


# --- time and chance ------------------------------------------------------------------------------------------------


def now() -> str:
    """The present instant, canonical text."""
    return clock.text(datetime.now(UTC))


def new_id() -> str:
    """A random identifier for a document (UUID 4)."""
    return str(uuid.uuid4())
