"""The story of an agreement: its chain told in lines that a person reads without this program.

Decides: the words for each event, and the page ``story.txt`` of a bundle. Leaves to others: whether any of it is true
(``verify``); the story follows from chains and documents alone, so that a bundle whose story differs is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from trustnode.core.access import AccessRequest
from trustnode.core.contract import Agreement, NegotiationMessage, Offer
from trustnode.core.document import Document, decode, name_of
from trustnode.core.duty import DutyProof
from trustnode.core.evidence.entry import Entry, parse_statement
from trustnode.core.evidence.quorum import parse_policy
from trustnode.core.identifier import short_name
from trustnode.core.identity import fingerprint
from trustnode.errors import REASONS, TrustnodeError

if TYPE_CHECKING:
    from trustnode.core.evidence.bundle import Contents, Line

Documents = Mapping[str, Document]
S = TypeVar("S", NegotiationMessage, Offer, Agreement, AccessRequest, DutyProof)


class Told(NamedTuple):
    """One line of the story."""

    time: str
    """Canonical, UTC; empty where the entry is not shown."""
    event: str
    text: str

    def __str__(self) -> str:
        at = self.time[:19].replace("T", " ") or " " * 19
        return f"{at}  {self.event:<20}  {self.text}".rstrip()


def told(lines: tuple[Line, ...], documents: Documents) -> tuple[Told, ...]:
    """One line an entry, in the order of the chain."""
    return tuple(_told(line, documents) for line in lines)


def _told(line: Line, documents: Documents) -> Told:
    if line.statement is None:
        return Told("", "(not shown)", f"entry {line.index}: withheld or erased, only its commitment is here")
    try:
        entry = parse_statement(line.statement.encode())
    except (TrustnodeError, UnicodeEncodeError):
        return Told("", "(not readable)", f"entry {line.index}")
    return Told(entry.time, entry.type, _words(entry, documents))


def _words(entry: Entry, documents: Documents) -> str:
    speak = _WORDS.get(entry.type)
    words = speak(entry, documents) if speak else ""
    parts = [words or (f"to {entry.to_state}" if entry.to_state else ""), _reason(entry)]
    return ": ".join(part for part in parts if part)


def _reason(entry: Entry) -> str:
    if entry.reason_code is None:
        return ""
    meaning = REASONS[entry.reason_code].meaning if entry.reason_code in REASONS else ""
    return f"{entry.reason_code} ({meaning})"


def _who(entry: Entry) -> str:
    return entry.actor.rpartition("/")[2] if entry.actor else "the node"


def _asks(entry: Entry, documents: Documents) -> str:
    message = _first(entry, documents, NegotiationMessage)
    offer = _first(entry, documents, Offer)
    about = f"for {offer.product}, offer {offer.name}, {offer.price}" if offer else "for an offer"
    return f"{_who(entry)} asks {about}" + (f", purpose {message.purpose}" if message and message.purpose else "")


def _offers(entry: Entry, documents: Documents) -> str:
    offer = _first(entry, documents, Offer)
    return f"{_who(entry)} answers with offer {offer.name}, {offer.price}" if offer else f"{_who(entry)} answers"


def _signs(entry: Entry, documents: Documents) -> str:
    value = _first(entry, documents, Agreement)
    by = "its venue under the offer's mandate" if value and value.mandate else "the provider"
    return f"in force: signed by {by} and by the consumer"


def _decides(entry: Entry, documents: Documents) -> str:
    request = _first(entry, documents, AccessRequest)
    others = [one.agreement for one in request.agreements if one.agreement != entry.object] if request else []
    with_them = f", joined with {', '.join(map(short_name, others))}" if others else ""
    return f"{_who(entry)} may read: {entry.decision}{with_them}"


def _delivers(entry: Entry, _documents: Documents) -> str:
    amount = f"{entry.amount} {entry.unit}" if entry.amount is not None else "nothing counted"
    return f"{amount} handed over" + (f", receipt {entry.documents[0][:8]}" if entry.documents else "")


def _meters(entry: Entry, _documents: Documents) -> str:
    return f"{_who(entry)} acknowledges {entry.amount} {entry.unit}"


def _denies(entry: Entry, _documents: Documents) -> str:
    many = f"{entry.amount} more times " if entry.amount is not None else ""
    return f"{many}refused to {_who(entry)}"


def _shows(entry: Entry, documents: Documents) -> str:
    proof = _first(entry, documents, DutyProof)
    return f"{_who(entry)} shows {proof.duty} as done, up to {proof.until[:10]}" if proof else ""


def _overdue(entry: Entry, _documents: Documents) -> str:
    return f"overdue: {', '.join(moved.id.partition('/')[2] for moved in entry.moved)}"


def _first(entry: Entry, documents: Documents, kind: type[S]) -> S | None:
    for digest in entry.documents:
        document = documents.get(digest)
        if document is not None and document.name == name_of(kind):
            try:
                return decode(document, kind)
            except TrustnodeError:
                return None
    return None


_WORDS: Final[Mapping[str, Callable[[Entry, Documents], str]]] = {
    "contract.request": _asks,
    "contract.offer": _offers,
    "contract.agree": lambda entry, _: f"{_who(entry)} signs the agreement",
    "contract.verify": lambda entry, _: f"{_who(entry)} signs the same agreement",
    "contract.sign": _signs,
    "contract.suspend": lambda entry, _: f"suspended by {_who(entry)}",
    "contract.resume": lambda entry, _: f"resumed, now {entry.to_state}",
    "access.request": lambda entry, _: f"{_who(entry)} asks for data",
    "access.decide": _decides,
    "access.deny": _denies,
    "delivery.prepare": lambda entry, _: f"committed to the mark of this copy: {(entry.mark_commitment or '')[:16]}...",
    "delivery.complete": _delivers,
    "delivery.abort": _delivers,
    "clearing.meter": _meters,
    "proof.fulfil": _shows,
    "proof.overdue": _overdue,
    "lifecycle.refuse": lambda entry, _: f"a step of {_who(entry)} is refused",
}


def tell(contents: Contents) -> str:
    """The page ``story.txt``."""
    return "\n".join(line.rstrip() for line in _page(contents)) + "\n"


def _page(contents: Contents) -> Iterator[str]:
    value = contents.value()
    yield f"Agreement {value.contract_id}"
    yield f"  product   {value.product}, version {value.product_version}"
    yield f"  provider  {value.provider.participant}, data held by {value.provider_node}"
    yield f"  consumer  {value.consumer.participant}, data carried by {value.consumer_node}"
    yield from (f"  witnesses {line}" for line in _witnesses(value))
    yield f"  purpose   {value.purpose or 'none named'}; price {value.price}; from {value.start} to {value.end}"
    yield ""
    yield from _chains(contents)
    yield "Venue cards in this file (compare these fingerprints with what the venues told you):"
    for domain in sorted(contents.cards):
        for version, card in sorted(contents.cards[domain].items()):
            yield f"  {domain} card {version}  {fingerprint(card)}"
    yield ""
    yield from _HOW


def _witnesses(value: Agreement) -> Iterator[str]:
    try:
        policies = [parse_policy(text) for text in value.witness_policies]
    except TrustnodeError:
        policies = []
    asking = [policy for policy in policies if policy.asks and policy.logs]
    yield from (f"of {policy.logs[0].name}: {policy.words}" for policy in asking)
    if not asking:
        yield "none that can be read here: when things were logged rests on the word of the venues (unwitnessed)"


def _chains(contents: Contents) -> Iterator[str]:
    for domain in contents.nodes:
        part = contents.parts.get(domain)
        yield f"What the log of {domain} says (times in UTC):"
        yield from (f"  {line}" for line in (told(part.chain, contents.documents) if part else ()))
        if part is None:
            yield "  its part is not in this file"
        yield ""


_HOW: Final = (
    "How to check it: this page is a reading aid. Each line stands for an entry of a Merkle log: chains/ holds the",
    "entries, proofs/ a C2SP tlog-proof of each, documents/ each signed document under its SHA-256, cards/ the keys.",
    "With the program:  trustnode verify FILE --anchor DOMAIN=FINGERPRINT   (no node and no network needed)",
    "Without it: the proofs verify with any tlog-proof verifier, such as Go's golang.org/x/mod/sumdb. A leaf is the",
    "chain link over SHA-256(salt, statement); a signature is Ed25519 over the DSSE encoding of type and payload.",
)
