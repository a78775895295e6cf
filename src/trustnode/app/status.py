"""How the node stands: numbers of the store, facts of the process, and what is wrong.

Decides: what is counted as today's work and what is an alarm. Leaves to others: showing it (``rpc.admin``, ``cli``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from trustnode.app import duties, lost_record, quorums
from trustnode.app.cosigning import SILENT_S, Standing
from trustnode.app.expiry import End, due
from trustnode.app.peering import NOTICE_LINES
from trustnode.app.sealing import CAUSE
from trustnode.app.venue import Venue
from trustnode.core.access import AccessState
from trustnode.core.contract import AgreementState
from trustnode.core.identity import parse_log_origin
from trustnode.core.peering import PeeringState
from trustnode.store.checkpoints import Fork
from trustnode.store.rows import Begins
from trustnode.store.unit import View

MAX_FORK_ALARMS = 16
SEAL_CAUSE = f"K:{CAUSE}"
DUTY_CAUSE = f"K:{duties.CAUSE}"


class Alarm(NamedTuple):
    """Something that is wrong, and what to do about it."""

    name: str
    message: str
    next_step: str
    since: str = ""


class NodeFacts(NamedTuple):
    """What only the process knows."""

    version: str
    listen: str
    state: str
    started_at: str
    certificate_not_after: str
    certificate_renews_at: str
    authority_not_after: str
    disk_used_percent: int
    signed: int
    """Size of the newest checkpoint that was signed."""
    alarms: tuple[Alarm, ...]
    silent_since: Callable[[str], str]
    round_trip_s: Callable[[str], float | None]


class PeerFacts(NamedTuple):
    """One peer."""

    trust_domain: str
    relation: str
    state: str
    card_version: int
    outbox: int
    control_seq: int
    catalog_seq: int
    notice_waits_since: str = ""
    """Since when it has not acknowledged a notice of a key that was taken back; empty: it has all of them."""


class Counted(NamedTuple):
    """Numbers of the store; contracts, reads, refusals and rows of the present day, UTC."""

    contracts: int
    reads: int
    refused: int
    rows: int
    peers: tuple[PeerFacts, ...]
    forks: tuple[Fork, ...]
    unwitnessed: int
    """Agreements that are suspended because no witness has sealed them."""
    frozen: tuple[tuple[str, float], ...]
    """Peers that have acted and shown no later head of their log, with the seconds since."""
    lost: tuple[str, ...] = ()
    """Peers of whose log it is not known any more what was cosigned here."""
    overdue: int = 0
    """Agreements that are suspended because something that is owed was not shown as done in time."""


def counted(view: View, venue: Venue) -> Counted:
    """Count."""
    day = view.now[:10]
    today = {"started_at": Begins(day)}
    unserved = {**today, "receipt": ""}
    peers = view.find(PeeringState, limit=10_000)
    suspended = view.find(AgreementState, state="SUSPENDED", limit=10_000)
    return Counted(
        contracts=view.count(AgreementState, start=Begins(day)),
        reads=view.count(AccessState, **today) - view.count(AccessState, **unserved),
        refused=venue.refusals.get(day, 0),
        rows=view.total(AccessState, "rows", **today) - view.total(AccessState, "rows", **unserved),
        peers=tuple(_peer(view, peer) for peer in peers),
        forks=tuple(view.forks(limit=MAX_FORK_ALARMS)),
        unwitnessed=sum(SEAL_CAUSE in one.causes for one in suspended),
        overdue=sum(DUTY_CAUSE in one.causes for one in suspended),
        frozen=tuple(
            (one.id, quorums.frozen_s(view, one.id, venue.keyring.log_origin(one.id)))
            for one in peers
            if one.state == "APPROVED"
        ),
        lost=tuple(one.id for one in peers if lost_record.is_lost(view, one, venue.keyring.log_origin(one.id))),
    )


def _peer(view: View, peer: PeeringState) -> PeerFacts:
    waiting = len(view.outbox(peer.id, limit=1000))
    control, catalog = (int(view.setting(f"follow/{peer.id}/{lane}") or 0) for lane in ("CONTROL", "CATALOG"))
    notices = view.outbox(peer.id, object=NOTICE_LINES, limit=1)
    since = notices[0].created_at if notices else ""
    return PeerFacts(peer.id, peer.relation, peer.state, peer.card_version, waiting, control, catalog, since)


def disk_used_percent(folder: Path) -> int:
    """How full the disk of a folder is."""
    usage = shutil.disk_usage(folder)
    return round(100 * usage.used / usage.total)


def alarms(
    venue: Venue,
    folder: Path,
    *,
    alarm_percent: int,
    root_keys: tuple[Path, ...],
    peers_silent: tuple[str, ...],
    conflicts: tuple[str, ...] = (),
    ends: tuple[End, ...] = (),
    unmirrored: Mapping[str, str] = MappingProxyType({}),
    web: str = "",
) -> tuple[Alarm, ...]:
    """Everything that is wrong now."""
    found: list[Alarm] = []
    if venue.read_only:
        way_on = venue.way_on or "Do not start it elsewhere; restore or recover the log."
        found.append(Alarm("READ_ONLY", venue.read_only, way_on))
    if root_keys:
        names = ", ".join(path.name for path in root_keys)
        verb = "is" if len(root_keys) == 1 else "are"
        found.append(
            Alarm("ROOT_KEY", f"{names} {verb} on this machine", f"Move {names} off this machine; it signs cards only.")
        )
    found += [
        Alarm(
            "CARD_CONFLICT",
            f"two cards of {name} contradict each other; both are kept, the first one counts",
            f"Ask its operator for the fingerprint of its newest card, then: trustnode peer update CARD ({name})",
        )
        for name in conflicts
    ]
    found += [
        Alarm("MIRROR", f"the log of {name} is not mirrored here: {why}", f"Tell its operator; see: peer show {name}")
        for name, why in sorted(unmirrored.items())
    ]
    if web:
        step = "Put a chain and its key there (web.certificate, web.key), then: trustnode reload"
        found.append(Alarm("WEB_CERTIFICATE", f"{web}; the one before is shown as long as the node runs", step))
    now = venue.clock.now()
    found += [Alarm("EXPIRY", one.sentence(now), one.step, one.not_after) for one in due(ends, now)]
    used = disk_used_percent(folder)
    if used >= alarm_percent:
        found.append(Alarm("DISK", f"the disk is {used} % full", "Make room; below the reserve no data are served."))
    found += [
        Alarm("PEER", f"{name} is silent", f"Look at the way there: trustnode peer test {name}")
        for name in peers_silent
    ]
    return tuple(found)


def seal_alarms(found: Counted, limit_s: int) -> tuple[Alarm, ...]:
    """What witnesses have not seen: agreements of ours, and what a peer did while its log stood still."""
    alarms = [
        Alarm(
            "LOG_FROZEN",
            f"{name} acted {age:,.0f} s ago and has shown no later head of its log since",
            f"Ask its operator; nothing new is agreed with it: trustnode peer test {name}",
        )
        for name, age in found.frozen
        if age > limit_s
    ]
    alarms += [
        Alarm(
            "WITNESS_LOST",
            f"the record of what was cosigned for {name} is lost: its log is not cosigned here any more",
            "Have its operator read out entries and root (trustnode log status); then: trustnode log witness accept "
            f"{name} --size N --root R; or peer anew",
        )
        for name in found.lost
    ]
    if found.unwitnessed:
        message = f"{found.unwitnessed} agreements are suspended: no quorum has cosigned them in time"
        alarms.append(Alarm("UNWITNESSED", message, "See who is silent: trustnode log witness list"))
    if found.overdue:
        message = f"{found.overdue} agreements are suspended: a duty is overdue"
        alarms.append(Alarm("OVERDUE", message, "trustnode agreement list --state SUSPENDED; agreement duties NAME"))
    return tuple(alarms)


def log_alarms(
    forks: tuple[Fork, ...], standings: list[Standing], own: str, is_closed: Callable[[str], bool] = lambda _: False
) -> tuple[Alarm, ...]:
    """What is wrong with logs: forks, closed ones that grew, witnesses that claim or that are silent."""
    found = [_fork(one, own, closed=is_closed(one.origin)) for one in forks]
    found += [
        Alarm("WITNESS_CLAIM", one.hostile, f"Ask its operator: {one.domain}") for one in standings if one.hostile
    ]
    found += [
        Alarm("CARD_CLAIM", one.card_claim, f"Ask its operator which card of ours it has: {one.domain}")
        for one in standings
        if one.card_claim
    ]
    found += [
        Alarm(
            "WITNESS_SILENT",
            f"{one.domain} is {round(one.behind_s)} s behind as a witness: {one.problem or 'it does not answer'}",
            f"Look at the way there: trustnode peer test {one.domain}",
        )
        for one in standings
        if one.behind_s > SILENT_S and not one.hostile
    ]
    return tuple(found)


def _fork(fork: Fork, own: str, *, closed: bool) -> Alarm:
    step = "Keep the proof: trustnode log forks -o FILE"
    domain, _ = parse_log_origin(fork.origin)
    if domain != own:
        step += f"; then: trustnode peer suspend {domain} --reason TEXT"
    if fork.proven:
        message = f"{fork.origin} has two histories: both are signed, at entry {fork.size:,}"
    elif closed:
        message = f"{fork.origin} was shown at entry {fork.size:,}, which nobody here had seen when it was closed"
    else:
        message = f"{fork.origin} was shown at entry {fork.size:,} with a proof that fails; nothing is proven yet"
    return Alarm("LOG_FORK", message, step, fork.time)
