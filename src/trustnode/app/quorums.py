"""Which witnesses an agreement asks for: the other party, and venues that both nodes have confirmed.

Decides: the policies that we write into an agreement, which ones we let our participant sign, that nothing new is
agreed on a log that has gone without its witnesses, or that shows no growth. Leaves to others: the arithmetic
(``core.evidence.quorum``), whether a quorum was met (``sealing``). Source: protocol 3.5, evidence-log 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from trustnode.app import sealing
from trustnode.app.venue import Venue
from trustnode.app.witness import is_peer_in_force, log_keys, witness_keys
from trustnode.core import clock
from trustnode.core.access import AccessState
from trustnode.core.contract import Agreement, AgreementState
from trustnode.core.document import SKEW_S, Document, decode
from trustnode.core.evidence.note import VerifierKey
from trustnode.core.evidence.quorum import WitnessPolicy, parse_policy, policy_text
from trustnode.core.identity import Card, witness_name
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import View

CARDS_SENT: Final = 24
"""Cards of venues we know that go along with a request, so that the other node can tell whom both know."""


# --- write ----------------------------------------------------------------------------------------------------------


def acquaintances(view: View, venue: Venue, *other_than: str) -> list[str]:
    """Query: venues in force here that have a card, by name: whom we can name as witnesses."""
    peers = view.find(PeeringState, state="APPROVED", limit=10_000)
    names = [one.id for one in peers if is_peer_in_force(one) and one.id not in other_than]
    return [name for name in names if name in venue.keyring.cards]


def cards_to_send(view: View, venue: Venue, to: str) -> list[str]:
    """Query: digests of the cards that let another node see whom both know."""
    return [venue.keyring.cards[name].digest for name in acquaintances(view, venue, to)[:CARDS_SENT]]


async def draft(venue: Venue, consumer_node: str, brought: Iterable[Document]) -> tuple[str, ...]:
    """The policies for the logs of both nodes, the provider's (ours) first.

    Args:
        venue: The node.
        consumer_node: Trust domain of the other node; our own where one venue is both.
        brought: What came along with the request; among it cards of venues that the other node knows.
    """
    ours = await venue.store.read(lambda view: acquaintances(view, venue, consumer_node))
    theirs = ours if consumer_node == venue.domain else _known_there(venue, brought)
    common = [name for name in ours if name in theirs]
    outsiders = {name: key for name in common if (key := _in_use(venue, name, "witness"))}
    nodes = dict.fromkeys((venue.domain, consumer_node))
    policies = (_policy(venue, log, [node for node in nodes if node != log], outsiders) for log in nodes)
    return tuple(text for text in policies if text)


def _policy(venue: Venue, log: str, parties: Iterable[str], outsiders: Mapping[str, VerifierKey]) -> str:
    keys = {name: key for name in parties if (key := _in_use(venue, name, "witness"))}
    own = _in_use(venue, log, "log")
    return policy_text(own, keys, outsiders) if own else ""


def _in_use(venue: Venue, domain: str, use: Literal["log", "witness"]) -> VerifierKey | None:
    """The key that a venue uses now: of those that its card lists, the one that began first is not dropped yet."""
    now = venue.clock.now()
    known = {key.public: key for key in (log_keys if use == "log" else witness_keys)(venue, domain)}
    held = (key for key in venue.keyring(domain, use) if key.raw in known and key.valid_at(now))
    valid = sorted(held, key=lambda key: key.not_before)
    return known[valid[0].raw] if valid else None


def _known_there(venue: Venue, brought: Iterable[Document]) -> set[str]:
    """Venues whose card came along and names the witness keys that we know, too."""
    found = set()
    for document in brought:
        try:
            card = decode(document, Card) if document.name == "card" else None
        except TrustnodeError:
            continue
        held = {key.public.hex() for key in witness_keys(venue, card.trust_domain)} if card else set()
        if card is not None and held & {key.public for key in card.keys if key.use == "witness"}:
            found.add(card.trust_domain)
    return found


def asks(policies: Iterable[str]) -> bool:
    """Whether anybody has to cosign by these policies."""
    return any(parse_policy(text).asks for text in policies)


def words(value: Agreement) -> tuple[str, str]:
    """Who witnesses an agreement and what follows where they do not, in English and Chinese."""
    policies = [parse_policy(text) for text in value.witness_policies]
    if not any(policy.asks for policy in policies):
        return "unwitnessed: nobody cosigns these logs", "未经见证：无人联署双方日志"
    said = "; ".join(f"{policy.logs[0].name}: {policy.words}" for policy in policies)
    hours = f"{value.max_unwitnessed_s / 3600:g}"
    return f"{said}; else suspended after {hours} h", f"{said}；逾{hours}小时未联署则中止"


# --- check ----------------------------------------------------------------------------------------------------------


def check_policies(venue: Venue, value: Agreement) -> None:
    """Refuse to let our participant sign under witnesses that are none.

    Raises:
        TrustnodeError: WITNESS_POLICY: it is malformed, speaks of an unknown log, names a key of no card accepted
            here, or can be met without us.
    """
    nodes = {value.provider_node, value.consumer_node}
    policies = [_parsed(text) for text in value.witness_policies]
    for policy in policies:
        _check_logs(venue, policy, nodes)
        _check_witnesses(venue, policy)
    for node in nodes if len(nodes) > 1 else ():
        about = next((one for one in policies if one.covers(venue.keyring.log_origin(node))), None)
        _check_parties(venue, about, node, nodes - {node})


def _parsed(text: str) -> WitnessPolicy:
    try:
        return parse_policy(text)
    except TrustnodeError as problem:
        raise error("WITNESS_POLICY", f"the witness policy cannot be read: {problem.message}") from None


def _check_logs(venue: Venue, policy: WitnessPolicy, nodes: set[str]) -> None:
    known = {key for node in nodes for key in log_keys(venue, node)}
    strange = [key.name for key in policy.logs if key not in known]
    if strange or not policy.logs:
        raise error("WITNESS_POLICY", f"no accepted card has this log key: {', '.join(strange) or '(none named)'}")


def _check_witnesses(venue: Venue, policy: WitnessPolicy) -> None:
    logs = {key.name.partition("/")[0] for key in policy.logs}
    for key in policy.witnesses.values():
        domain = key.name.partition("/")[0]
        if key.name != witness_name(domain) or key not in witness_keys(venue, domain):
            raise error("WITNESS_POLICY", f"no accepted card has this witness key: {key.name}")
        if domain in logs:
            raise error("WITNESS_POLICY", f"{domain} would be the witness of its own log")


def _check_parties(venue: Venue, policy: WitnessPolicy | None, log: str, parties: set[str]) -> None:
    """Every party has to be needed: who did not see a history must not be bound by it."""
    if policy is None:
        raise error("WITNESS_POLICY", f"the agreement does not say who cosigns the log of {log}")
    for party in parties:
        own = {key.public for key in witness_keys(venue, party)}
        if policy.met_by({key.public for key in policy.witnesses.values()} - own):
            raise error("WITNESS_POLICY", f"the log of {log} could be sealed without {party}, who is a party")


# --- freshness ------------------------------------------------------------------------------------------------------


def check_sealed(view: View, domain: str, policies: Iterable[str], limit_s: int) -> None:
    """Refuse a new agreement while our log has been without its witnesses for too long.

    Raises:
        TrustnodeError: UNWITNESSED.
    """
    found = (parse_policy(text) for text in policies)
    policy = next((one for one in found if one.covers_log_of(domain)), None)
    age = sealing.unwitnessed_s(view, policy) if policy else 0.0
    if age > limit_s:
        raise error("UNWITNESSED", f"the log of {domain} has had no quorum of witnesses for {age:,.0f} s")


def check_moving(view: View, peer: str, origin: str, limit_s: int) -> None:
    """Refuse a new agreement with a venue whose log stands still although it has acted.

    Raises:
        TrustnodeError: UNWITNESSED.
    """
    age = frozen_s(view, peer, origin)
    if age > limit_s:
        raise error("UNWITNESSED", f"the log of {peer} has not grown for {age:,.0f} s, although {peer} has acted since")


def frozen_s(view: View, peer: str, origin: str) -> float:
    """How long ago a peer acted without showing any later head of its log to us, its witness; 0: it has, or nothing."""
    acted = _last_act(view, peer)
    held = view.witnessed(origin)
    if not acted or (held is not None and clock.shift(held.time, SKEW_S) >= acted):
        return 0.0
    return max(0.0, (clock.to_ms(view.now) - clock.to_ms(acted)) / 1000)


def _last_act(view: View, peer: str) -> str:
    """When a peer last put an agreement into force with us, or delivered to us: both are entries of its log."""
    agreed = view.find(AgreementState, provider_node=peer, order="-start", limit=1)
    served = view.find(AccessState, provider_node=peer, state="DELIVERED", order="-ended_at", limit=1) if agreed else []
    return max((*(one.start for one in agreed), *(one.ended_at for one in served)), default="")
