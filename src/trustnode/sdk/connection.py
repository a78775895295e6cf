"""The way to the home node of a profile, or to the socket of an operator's node.

Decides: deadlines, when the certificate is renewed, that a venue's other addresses are tried. Leaves to others: what is
called (``client`` and its neighbours), how (``wire``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import msgspec

from trustnode.core import clock
from trustnode.core.document import Document, decode, seal
from trustnode.core.identity import bundle_of
from trustnode.core.participant import ParticipantKey
from trustnode.errors import TrustnodeError, error
from trustnode.keys import Credential, FileSigner, load_certificate_key, make_csr, renewal_time
from trustnode.sdk.profile import Profile, new_id, now
from trustnode.wire.channel import Target, VenueChannel, open_local
from trustnode.wire.convert import RemoteObject
from trustnode.wire.home import Home

if TYPE_CHECKING:
    from grpc import aio

TIMEOUT_S: Final = 30.0
"""Deadline of a call that names none, seconds."""
STREAM_TIMEOUT_S: Final = 3600.0
"""Deadline of a data stream or a watch that names none."""


class Submitted(NamedTuple):
    """What a node made of a document."""

    object: RemoteObject
    produced: tuple[Document, ...]


class Found(NamedTuple):
    """An object with the documents that explain it, oldest first."""

    object: RemoteObject
    documents: tuple[Document, ...]

    def newest(self, name: str) -> Document | None:
        """The newest document of a type."""
        return next((document for document in reversed(self.documents) if document.name == name), None)


class Page(NamedTuple):
    """Objects of one page."""

    items: tuple[RemoteObject, ...]
    next_page_token: str


class Node:
    """A node that answers calls: the general methods that every noun is reached by."""

    def __init__(self, home: Home, *, timeout_s: float = TIMEOUT_S) -> None:
        self.home = home
        self.timeout_s = timeout_s

    async def call(self, method: str, *, timeout_s: float | None = None, **fields: Any) -> dict[str, Any]:
        """Call ``Service/Method`` with the fields of its request; see ``wire.value`` for their form."""
        return await self.home.call(method, fields, timeout_s=timeout_s or self.timeout_s)

    def watch(
        self, method: str, *, timeout_s: float = STREAM_TIMEOUT_S, **fields: Any
    ) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        """Call a method that answers with a stream."""
        return self.home.watch(method, fields, timeout_s=timeout_s)

    async def stream(
        self, method: str, *, timeout_s: float = STREAM_TIMEOUT_S, **fields: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """As ``watch``, for a loop that runs to the end or until it is left."""
        async with self.watch(method, timeout_s=timeout_s, **fields) as answers:
            async for answer in answers:
                yield answer

    async def submit(self, document: Document, supporting: Sequence[Document] = ()) -> Submitted:
        """Hand in a signed document; durable when this returns."""
        answer = await self.call("DocumentService/SubmitDocument", document=document, supporting=list(supporting))
        return Submitted(answer["object"], tuple(answer["produced"]))

    async def get(self, kind: str, id: str) -> Found:
        """One object, by identifier, short name or handle."""
        answer = await self.call("DocumentService/GetObject", kind=kind, id=id)
        return Found(answer["object"], tuple(answer["documents"]))

    async def list(self, kind: str = "", *, page_size: int = 0, page_token: str = "", **filter: str) -> Page:
        """A page of objects, newest change first."""
        answer = await self.call(
            "DocumentService/ListObjects", kind=kind, filter=filter, page_size=page_size, page_token=page_token
        )
        return Page(tuple(answer["objects"]), answer["next_page_token"])

    async def list_all(self, kind: str = "", *, limit: int = 10_000, **filter: str) -> tuple[RemoteObject, ...]:
        """Objects of all pages, up to ``limit``."""
        found: list[RemoteObject] = []
        token = ""
        while len(found) < limit:
            page = await self.list(kind, page_size=200, page_token=token, **filter)
            found += page.items
            token = page.next_page_token
            if not token:
                break
        return tuple(found[:limit])


class Operator(Node):
    """The operator of a node on this machine, over its local socket."""

    def __init__(self, home: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self.folder = home
        self._channel = _Local(home / "run" / "admin.sock")
        super().__init__(Home(self._channel), timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._channel.aclose()

    async def issue(
        self, payload_type: str, statement_json: bytes, *, signer: str = "venue", supporting: Sequence[Document] = ()
    ) -> Submitted:
        """Have the node sign a statement and take it in, in one step."""
        answer = await self.call(
            "AdminService/IssueDocument",
            payload_type=payload_type,
            statement_json=statement_json,
            signer=signer,
            supporting=list(supporting),
            request_id=new_id(),
        )
        return Submitted(answer["object"], (answer["document"], *answer["produced"]))


class Connection(Node):
    """A participant's connection to its home node."""

    def __init__(self, profile: Profile, *, timeout_s: float = TIMEOUT_S) -> None:
        self.profile = profile
        self._credential = profile.credential
        self._channel = VenueChannel(target(profile), self._credential)
        self._renews_at = renewal_time(self._credential.leaf, 2, 3)
        self._renewing = asyncio.Lock()
        super().__init__(Home(self._channel), timeout_s=timeout_s)

    async def aclose(self) -> None:
        """Close the connection; running calls are cancelled."""
        await self._channel.aclose()

    async def call(self, method: str, *, timeout_s: float | None = None, **fields: Any) -> dict[str, Any]:
        """As ``Node.call``; renews the certificate when two thirds of its life are over."""
        await self.renew_if_due()
        try:
            return await super().call(method, timeout_s=timeout_s, **fields)
        except TrustnodeError as problem:
            if problem.reason == "PEER_UNREACHABLE":
                self._channel.try_next_address()
            raise

    async def renew_if_due(self) -> None:
        """Renew the certificate from two thirds of its life on; one that has ended needs an invitation."""
        if now() < self._renews_at:
            return
        async with self._renewing:
            if now() >= self._renews_at:
                await self._renew()

    async def _renew(self) -> None:
        if clock.text(self._credential.leaf.not_valid_after_utc) < now():
            raise ended(self.profile)
        csr = make_csr(load_certificate_key(self.profile.folder / "client.key"))
        answer = await super().call("ParticipantService/RenewCertificate", csr_der=csr)
        chain = answer["certificate_chain_pem"].encode()
        self.profile.write_certificate(chain)
        self._credential = Credential(self._credential.key_pem, chain)
        self._channel.replace(credential=self._credential)
        self._renews_at = renewal_time(self._credential.leaf, 2, 3)

    async def replace_key(self) -> Profile:
        """Replace the document key: the present one signs its successor, and counts on for what it has signed.

        Returns:
            The profile with the new key. Connections of other processes read on with the old one; negotiating is
            refused there until they are opened again.

        Raises:
            TrustnodeError: As ``call``; HASH_MISMATCH when the venue signed another document than ours.
        """
        profile, signer, time = self.profile, FileSigner.generate(), now()
        present = decode(profile.key_document, ParticipantKey)
        life = clock.moment(present.not_after) - clock.moment(present.not_before)
        successor = msgspec.structs.replace(
            present, id=new_id(), time=time, public=signer.public.hex(), not_before=time,
            not_after=clock.shift(time, life.total_seconds()), previous=profile.key_document.digest,
        )  # fmt: skip
        statement = seal(successor, signer, profile.signer)
        csr = make_csr(load_certificate_key(profile.folder / "client.key"))
        answer = await self.call("ParticipantService/RenewCertificate", csr_der=csr, participant_key=statement)
        if answer["participant_key"].payload != statement.payload:
            raise error("HASH_MISMATCH", "the venue answered with another key document than ours")
        profile.replace_key(signer, answer["participant_key"])
        profile.write_certificate(answer["certificate_chain_pem"].encode())
        return profile


def ended(profile: Profile) -> TrustnodeError:
    """What to do about a certificate whose time is over."""
    name = profile.participant.rpartition("/")[2]
    day = clock.text(profile.credential.leaf.not_valid_after_utc)[:10]
    step = f"Ask {profile.venue}: trustnode participant reissue {name}; then: trustnode join {name}.invite"
    return error("IDENTITY_EXPIRED", f"certificate ended {day}", next_step=step)


class _Local:
    """The channel to a local socket, opened with the first call."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._channel: aio.Channel | None = None

    def get(self) -> aio.Channel:
        if self._channel is None:
            if not self._socket.exists():
                step = f"Start it with: trustnode start --home {self._socket.parent.parent}"
                raise error("PEER_UNREACHABLE", "the node is not running", next_step=step)
            self._channel = open_local(self._socket)
        return self._channel

    async def aclose(self) -> None:
        if self._channel is not None:
            await self._channel.close(None)


def target(profile: Profile) -> Target:
    """Address and roots of the profile's venue."""
    card = profile.own_cards()[-1].value
    addresses = profile.settings.addresses or card.endpoints
    return Target(profile.venue, tuple(addresses), bundle_of(card, now()).pem)
