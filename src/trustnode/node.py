"""The composition root: starts a node in order, stops it in the order turned round.

Decides: what exists in one process, who hears of a commit, which task ends the node when it fails. Leaves to others:
everything that a node does. The only module that knows everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trustnode import config as settings
from trustnode.app import access, budget, catalog, lines, operators, recovery, status, succession, trust
from trustnode.app import act as _act  # noqa: F401 (registers its handler at the door)
from trustnode.app.cosigning import Cosigning
from trustnode.app.courier import Courier
from trustnode.app.doubts import Doubts
from trustnode.app.expiry import Warnings
from trustnode.app.follower import Follower
from trustnode.app.introducing import hand_cards, introduce_forever
from trustnode.app.keyring import KeyRing
from trustnode.app.mirror import Mirrors
from trustnode.app.publisher import Publisher
from trustnode.app.reading import Changes
from trustnode.app.rotation import Rotation
from trustnode.app.strangers import Strangers
from trustnode.app.streams import Streams
from trustnode.app.submission import submit
from trustnode.app.timers import Timers
from trustnode.app.upkeep import Upkeep
from trustnode.app.venue import Clock, Identity, Venue, log
from trustnode.core import clock
from trustnode.core.document import Document, decode
from trustnode.core.identity import Card, DenyList, bundle_of, check_card
from trustnode.core.peering import PeeringState
from trustnode.engine.message import RunLimits
from trustnode.engine.pool import EngineLimits, EnginePool
from trustnode.engine.source import Source
from trustnode.errors import TrustnodeError, error
from trustnode.home import MASK_KEY_FILE, SystemClock, applicant_certificate
from trustnode.keys import (
    Credential,
    NodeKeys,
    load_node_keys,
    node_credential,
    read_card,
    read_credentials,
    root_key_files,
)
from trustnode.keys.authority import Authority, issue_credential, issue_from_request, renewal_time
from trustnode.keys.cards import earlier_cards, write_draft
from trustnode.keys.files import read_secret
from trustnode.rpc.authentication import Trust, TrustState
from trustnode.rpc.health import Health
from trustnode.rpc.server import Server
from trustnode.rpc.services import method_table
from trustnode.store.batch import Commit
from trustnode.store.difference import Difference
from trustnode.store.unit import View
from trustnode.store.writer import Store
from trustnode.wire.channel import Target
from trustnode.wire.peer import Peers

if TYPE_CHECKING:
    from trustnode.web.site import Site

RENEW_LOOK_S: Final = 60.0
RESTORED_LOOK_S: Final = 5.0
"""How often a restored store asks the mirrors again."""
SETTLE_S: Final = 5.0
"""Time in which stopped streams settle before the port closes."""
__version__: Final = "0.1.0"


# --- a running node -------------------------------------------------------------------------------------------------


@dataclass
class Node:
    """One running node and its parts."""

    home: Path
    config: settings.Config
    venue: Venue
    keys: NodeKeys
    trust: Trust
    courier: Courier
    follower: Follower
    timers: Timers
    publisher: Publisher
    cosigning: Cosigning
    changes: Changes
    health: Health
    credential: Credential
    started_at: str
    port: int = 0
    entries: int = 0
    """Entries of the log when the node began to serve."""

    def __post_init__(self) -> None:
        """Prepare what follows a commit."""
        self._listings: asyncio.Queue[str] = asyncio.Queue()
        self._trust_changed = asyncio.Event()
        self._applications: asyncio.Queue[tuple[str, Document]] = asyncio.Queue()
        self.stopping = asyncio.Event()
        self.conflicts: tuple[str, ...] = ()
        self.strangers = Strangers(self.venue)
        self.rotation = Rotation(self.venue, self.home, self.take_over)
        self.warnings = Warnings(self.venue, lambda: self.keys)
        self.waits_because = ""
        """Why a restored store signs nothing yet; empty: it is none."""
        self.drain_s: float = self.config.node.drain_s
        self.upkeep = Upkeep(
            self.venue,
            audit_s=self.config.store.audit_hours * 3600.0,
            answers_s=self.config.store.answers_days * 86400.0,
        )
        self.mirrors = Mirrors(self.venue, self.config.mirror.quota_mb << 20)
        self.server = Server(
            methods=method_table(
                self.venue, running=self, changes=self.changes, follower=self.follower, health=self.health,
                publisher=self.publisher, cosigning=self.cosigning,
            ),
            trust=self.trust, credential=self.credential, limits=self.config.limits, now=self.venue.clock.now,
            log_requests=self.config.log.requests, on_refused=self.strangers.refused,
        )  # fmt: skip
        self.fatal: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.site = _site(self.home, self.config, self.venue, self.publisher) if self.config.web.listen else None

    def on_commit(self, commit: Commit) -> None:
        """Tell everybody who waits for something that this batch changed; runs before its callers go on."""
        pairs = [(change.kind, change.state) for change in commit.changes]
        self.venue.streams.on_changes(pairs)
        self.changes.on_commit(commit)
        self.courier.notify(commit.peers)
        if commit.timers:
            self.timers.notify()
        for kind, state in pairs:
            if kind == "agreement" and state.state != "PERFORMING":
                self.venue.engine.forget(state.id)
            if kind in ("listing", "product"):
                self._listings.put_nowait(state.id if kind == "listing" else "")
            elif kind == "peering":
                self._trust_changed.set()
            elif kind == "participant" and state.state in ("ENROLLED", "REVOKED", "SUSPENDED"):
                self._trust_changed.set()
                if state.state == "REVOKED":
                    self.venue.keyring.revoke(state.id, getattr(state, "kid", ""), state.changed_at)

    def on_fatal(self, problem: BaseException) -> None:
        """The writer is gone, or a background task: the node must not go on without it, so it says so and stops."""
        if not self.fatal.done():
            log.critical("the node cannot go on", cause=_first_cause(problem))
            self.fatal.set_result(problem)
            self.health.set_serving(False)

    def on_work_ended(self, work: asyncio.Future[None]) -> None:
        """A background task that failed has ended all others with it."""
        if not work.cancelled() and (problem := work.exception()) is not None:
            self.on_fatal(problem)

    async def run(self) -> None:
        """The background tasks; one that fails ends the node, loudly."""
        async with asyncio.TaskGroup() as tasks:
            for work in (
                self.courier.run(),
                self.follower.run(),
                self.timers.run(),
                self.strangers.run(),
                self.publisher.run(),
                self.mirrors.run(),
                self.upkeep.run(),
                self.cosigning.run(),
                Doubts(self.venue).run(),
                self._compare_restored(),
                self.venue.streams.recheck_forever(),
                self._publish_listings(),
                self._follow_trust(),
                self._renew_certificate(),
                self.rotation.run(),
                self.warnings.run(),
                introduce_forever(self.venue, self.home),
                self._apply(),
                self._watch_writer(),
            ):
                tasks.create_task(work)

    async def _compare_restored(self) -> None:
        """A restored store waits until every mirror has shown that it knows no more of our log than is here."""
        while self.venue.read_only and self.venue.read_only == self.waits_because:
            found = await recovery.compare_restored(self.venue)
            await self.cosigning.compare_cards()
            if newer := self.cosigning.newer_card:
                self.waits_because = self.venue.store.restate(self.waits_because, newer)
                self.venue.way_on = self.cosigning.newer_card_step
                return
            if not found.why and self.venue.store.permit(self.waits_because):
                await self.venue.store.write(recovery.release(self.venue), event_id="", returns=str)
                await go_live(self)
                log.info("a restored store goes on", entries=self.venue.store.head().size)
                return
            self.waits_because = self.venue.store.restate(self.waits_because, found.why)
            self.venue.way_on = found.next_step
            await asyncio.sleep(RESTORED_LOOK_S)

    async def _watch_writer(self) -> None:
        problem = await asyncio.shield(self.fatal)  # another task that fails cancels this one, not what is known
        raise error("EVIDENCE_UNAVAILABLE", f"the writer of the store ended: {problem}")

    async def _publish_listings(self) -> None:
        await catalog.publish_records(self.venue)
        while True:
            wanted = {await self._listings.get()}
            while not self._listings.empty():
                wanted.add(self._listings.get_nowait())
            await catalog.publish_records(self.venue, () if "" in wanted else sorted(wanted))

    async def _follow_trust(self) -> None:
        while True:
            await self._trust_changed.wait()
            self._trust_changed.clear()
            await self.refresh_trust()
            await self.follower.refresh()
            await self.cosigning.refresh()
            self.rotation.notify()

    def trust_changed(self) -> None:
        """Cards changed: roots, channels and followings are to be looked at."""
        self._trust_changed.set()

    async def refresh_trust(self) -> None:
        """Take over roots, deny list and channels from what the store says now."""
        found = await self.venue.store.read(trust.known)
        self.conflicts = found.conflicts
        roots, unconfirmed = trust.bundles(self.venue, found)
        self.trust.replace(
            TrustState(
                own=self.venue.domain,
                bundles=roots,
                unconfirmed=unconfirmed,
                denied=DenyList(spiffe_ids=found.denied, serials=found.serials),
            )
        )
        for domain, card in self.venue.keyring.cards.items():
            if domain != self.venue.domain and domain in roots:
                self.venue.peers.put(Target(domain, card.value.endpoints, roots[domain].pem))
        self.courier.notify(await self.venue.store.read(lambda view: view.outbox_peers()))

    # --- applications to other venues -------------------------------------------------------------------------------

    def apply_later(self, domain: str, agreement: Document) -> None:
        """Hand an application to another venue until it has it."""
        self._applications.put_nowait((domain, agreement))

    async def _apply(self) -> None:
        for domain, agreement in await self.venue.store.read(open_applications(self.venue.domain)):
            self.apply_later(domain, agreement)
        async with asyncio.TaskGroup() as tasks:
            while True:
                domain, agreement = await self._applications.get()
                tasks.create_task(self._apply_to(domain, agreement))

    async def _apply_to(self, domain: str, agreement: Document) -> None:
        """Try until the other venue has our application, or it is settled otherwise."""
        pause = 0.2
        while await self.venue.store.read(is_applied(domain)):
            try:
                await hand_cards(self.venue, self.home, domain, agreement)
            except TrustnodeError as problem:
                log.info("application not delivered", peer=domain, reason=problem.reason, message=problem.message)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 30.0)
            else:
                return

    # --- certificate ------------------------------------------------------------------------------------------------

    async def _renew_certificate(self) -> None:
        while True:
            await asyncio.sleep(RENEW_LOOK_S)
            if renewal_time(self.credential.leaf) <= self.venue.clock.now():
                self.renew_certificate()

    def renew_certificate(self) -> None:
        """Issue our own certificate anew and show it from the next handshake on."""
        self.take_over(load_node_keys(self.home, self.venue.domain, self.venue.clock.now()))

    def take_over(self, keys: NodeKeys) -> None:
        """Issue with these keys from now on, our own certificate first."""
        now, node = self.venue.clock.now(), self.config.node
        self.keys = keys
        self.venue.issuer = Certificates(keys.authority, self.venue.clock)
        self.credential = node_credential(self.home, keys, node.node_id, now, node.dns)
        applicant_certificate(self.home, node.trust_domain, now)
        self.server.replace_credential(self.credential)
        self.venue.peers.replace_credential(self.credential)
        self._show_certificate()
        log.info("certificate renewed", not_after=str(self.credential.leaf.not_valid_after_utc))

    def _show_certificate(self) -> None:
        """Files that the operator keeps may be broken at this moment: then the old certificate is shown further."""
        if self.site is None:
            return
        try:
            self.site.show(self.credential)
        except TrustnodeError as problem:
            log.error("web certificate not replaced", cause=problem.message)

    # --- the operator -----------------------------------------------------------------------------------------------

    def drain(self, grace_s: float | None) -> int:
        """Begin to stop, with that many seconds for running streams; returns how many there are."""
        self.drain_s = self.config.node.drain_s if grace_s is None else grace_s
        self.stopping.set()
        return len(self.venue.streams)

    def status(self) -> status.NodeFacts:
        """What only the process knows."""
        leaf = self.credential.leaf
        silent = tuple(domain for domain in self.follower.followed() if self.follower.silent_since(domain))
        alarms = status.alarms(
            self.venue, self.home, alarm_percent=self.config.disk.alarm_percent, root_keys=root_key_files(self.home),
            peers_silent=silent, conflicts=self.conflicts, ends=self.warnings.ends, unmirrored=self.mirrors.problems,
            web=self.site.problem(self.credential) if self.site is not None else "",
        )  # fmt: skip
        newest = self.publisher.newest
        return status.NodeFacts(
            version=__version__, listen=self.config.node.listen.rpartition(":")[0] + f":{self.port}",
            state="READ_ONLY" if self.venue.read_only else "SERVING", started_at=self.started_at,
            certificate_not_after=clock.text(leaf.not_valid_after_utc), certificate_renews_at=renewal_time(leaf),
            authority_not_after=clock.text(self.keys.authority.root.not_valid_after_utc),
            disk_used_percent=status.disk_used_percent(self.home), signed=newest.checkpoint.size if newest else 0,
            alarms=alarms, silent_since=self.follower.silent_since, round_trip_s=self.follower.round_trip_s,
        )  # fmt: skip

    def keep_shown_cards(self, cards: Sequence[Document]) -> str:
        """Keep later versions of our own card, which a peer showed, as files that ``card install`` takes.

        Returns:
            What the operator does with them.
        """
        previous, commands = read_card(self.home), []
        for card in cards:
            path = self.home / f"card-{decode(card, Card).version}.shown"
            write_draft(path, card, previous)
            previous = card
            commands.append(f"trustnode card install {path}")
        return f"{'; '.join(commands)}. Where its keys are lost as well, new ones: trustnode card root"

    async def check_store(self) -> list[Difference]:
        """Compare the whole store with its log now; a difference makes the node read-only."""
        return await self.upkeep.check()

    async def reload(self) -> tuple[str, ...]:
        """Take over a newer card and a new certificate without a restart.

        Returns:
            What changed.
        """
        changed = []
        card = read_card(self.home)
        if card.digest != self.venue.keyring.cards[self.venue.domain].digest:
            await submit(self.venue, self.venue.self_sender, card)
            changed.append("card")
        await operators.note_carried(self.venue, self.home)
        replaced = await self.rotation.advance()
        changed += [f"{kind} key" for kind in replaced]
        if not replaced:
            self.renew_certificate()
        return (*changed, "certificate")


def _site(home: Path, config: settings.Config, venue: Venue, publisher: Publisher) -> Site:
    """The HTTPS site; imported only where it is wanted, because it is an extra.

    Raises:
        TrustnodeError: CONFIG_INVALID where the extra is not installed.
    """
    try:
        from trustnode.web.site import Site
    except ModuleNotFoundError as missing:
        raise error(
            "CONFIG_INVALID", f"web.listen needs {missing.name}: pip install 'trustnode[web]'", field="web.listen"
        ) from None
    return Site(home, config, venue, publisher)


def _first_cause(problem: BaseException) -> str:
    """What went wrong first, without the groups around it."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return f"{type(problem).__name__}: {problem}"


def open_applications(domain: str) -> Callable[[View], list[tuple[str, Document]]]:
    """Query: what we applied for and is not answered."""

    def query(view: View) -> list[tuple[str, Document]]:
        found = view.find(PeeringState, state="APPLIED", applied_by=domain, limit=1000)
        return [(p.id, d) for p in found if (d := view.document(p.document)) is not None]

    return query


def is_applied(domain: str) -> Callable[[View], bool]:
    """Query: whether an application still waits for its answer."""

    def query(view: View) -> bool:
        state = view.get(PeeringState, domain)
        return state is not None and state.state == "APPLIED"

    return query


class Certificates:
    """The venue's certificate authority, as the app may use it."""

    def __init__(self, authority: Authority, ticking: Clock) -> None:
        self._authority, self._clock = authority, ticking

    def client_chain(self, csr: bytes, participant: str) -> bytes:
        """Issue the certificate of a participant's client for the key in a request; PEM, leaf first."""
        return issue_from_request(self._authority, csr, f"{participant}/client", self._clock.now())

    def credential(self, path: str, life: timedelta) -> tuple[bytes, bytes]:
        """Make a key and its certificate; chain and key in PEM."""
        spiffe = f"spiffe://{self._authority.trust_domain}/{path}"
        made = issue_credential(self._authority, spiffe, self._clock.now(), life)
        return made.chain_pem, made.key_pem


@contextlib.asynccontextmanager
async def running(
    home: Path,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    time: Clock | None = None,
) -> AsyncIterator[Node]:
    """Start a node and serve until the block is left (DESIGN 3.4: start order, and so stop order).

    Raises:
        TrustnodeError: CONFIG_INVALID, TIME_SKEW, VERSION_UNSUPPORTED, IDENTITY_EXPIRED.
    """
    loaded = settings.load(home, os.environ if environ is None else environ, flags)
    ticking = time or SystemClock()
    async with contextlib.AsyncExitStack() as exits:
        node = await _assemble(exits, home, loaded.config, ticking)
        if not node.venue.read_only:
            await access.recover(node.venue)
            await node.publisher.publish()
        work = asyncio.ensure_future(node.run())
        work.add_done_callback(node.on_work_ended)
        exits.push_async_callback(_end, work)
        if node.site is not None:
            await exits.enter_async_context(node.site.serving(node.credential))
        exits.push_async_callback(node.server.stop, 2.0)
        exits.push_async_callback(_drain, node)
        (home / "run").mkdir(mode=0o700, exist_ok=True)
        await node.server.listen_local(home / "run" / "admin.sock")
        node.port = await node.server.listen(loaded.config.node.listen)
        node.entries = node.venue.store.head().size
        node.health.set_serving(True)
        exits.callback(node.health.set_serving, False)
        yield node


async def _assemble(exits: contextlib.AsyncExitStack, home: Path, config: settings.Config, ticking: Clock) -> Node:
    now, node = ticking.now(), config.node
    succession.finish(home, home / config.store.path, now)
    keys = load_node_keys(home, node.trust_domain, now)
    applicant_certificate(home, node.trust_domain, now)
    credential = node_credential(home, keys, node.node_id, now, node.dns)
    card = check_card(read_card(home), None)  # one that has ended is an alarm: the next one must find a running node
    store = await Store.open(
        home / config.store.path, clock=ticking.now, node_id=node.node_id, reserve_bytes=config.disk.reserve_mb << 20
    )
    await exits.enter_async_context(store)
    pool = EnginePool(_engine_limits(config), home / "kept", partial(_credentials, home))
    engine = await exits.enter_async_context(pool)
    peers = Peers(credential)
    exits.push_async_callback(peers.aclose)
    identity = Identity(node.trust_domain, node.node_id, node.level, node.area, node.subject, node.name)
    venue = Venue(
        identity=identity, clock=ticking, store=store, keyring=KeyRing(), evidence=keys.evidence, log_key=keys.log,
        witness_key=keys.witness, custody=keys.custody, issuer=Certificates(keys.authority, ticking), engine=engine,
        peers=peers, streams=Streams(), mask_secret=read_secret(home / "keys" / MASK_KEY_FILE),
    )  # fmt: skip
    venue.keyring.add_card(card, [check_card(one, None) for one in earlier_cards(home)])
    own = TrustState(own=identity.domain, bundles={identity.domain: bundle_of(card.value, now)})
    return await _connect(home, config, venue, keys, credential, Trust(own))


def _credentials(home: Path, source: Source) -> dict[str, str]:
    return read_credentials(home, source.credentials, source.kind, source.location)


def _engine_limits(config: settings.Config) -> EngineLimits:
    engine = config.engine
    run = RunLimits(
        engine_seconds=engine.query_s, cpu_seconds=4 * engine.query_s * engine.threads, threads=engine.threads,
        memory_bytes=engine.memory_mb << 20, max_frame_bytes=config.limits.max_frame_bytes,
    )  # fmt: skip
    return EngineLimits(max_workers=engine.workers, run=run, kept_bytes=engine.kept_mb << 20,
        kept_disk_bytes=engine.kept_disk_mb << 20, disk_reserve_bytes=config.disk.reserve_mb << 20,
    )  # fmt: skip


async def _connect(
    home: Path, config: settings.Config, venue: Venue, keys: NodeKeys, credential: Credential, trusted: Trust
) -> Node:
    """Join the parts: what follows a commit, what a method calls, what is trusted from before."""
    publisher = Publisher(venue)
    node = Node(
        home=home, config=config, venue=venue, keys=keys, trust=trusted, credential=credential, courier=Courier(venue),
        follower=Follower(venue), timers=Timers(venue), publisher=publisher,
        cosigning=Cosigning(venue, publisher), changes=Changes(), health=Health(), started_at=venue.clock.now(),
    )  # fmt: skip
    venue.store.on_commit, venue.store.on_fatal = node.on_commit, node.on_fatal
    venue.on_trust_change, venue.streams.age_s = node.trust_changed, node.follower.age_s
    node.follower.on_heard = node.courier.heard
    node.cosigning.on_newer_card = node.keep_shown_cards
    venue.max_unwitnessed_s = config.evidence.max_unwitnessed_s
    venue.pools = budget.read_pools(config.privacy.pools)
    venue.streams.max_age_s, venue.streams.abort_age_s = config.peers.max_age_s, config.peers.abort_age_s
    trust.load_keyring(venue, await venue.store.read(trust.known))
    node.rotation.use(keys)
    await node.refresh_trust()
    await node.cosigning.compare_at_start()
    if not venue.read_only and await recovery.is_restored(venue):
        node.waits_because = recovery.NOT_COMPARED
        venue.halt(node.waits_because)
    if not venue.read_only:
        await submit(venue, venue.self_sender, venue.keyring.cards[venue.domain].document)
        await operators.note_carried(venue, node.home)
        await node.rotation.advance()
    return node


async def go_live(node: Node) -> None:
    """What a node does before its first step, once it may write."""
    await submit(node.venue, node.venue.self_sender, node.venue.keyring.cards[node.venue.domain].document)
    await operators.note_carried(node.venue, node.home)
    await node.rotation.advance()
    await access.recover(node.venue)
    await node.publisher.publish()


async def _drain(node: Node) -> None:
    """No new calls are refused yet; running streams get their time, then end with DRAINING and settle."""
    streams = node.venue.streams
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(streams.none_running(), node.drain_s)
    streams.stop_all("DRAINING")
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(streams.none_running(), SETTLE_S)


async def _end(work: asyncio.Future[None]) -> None:
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError, TrustnodeError, BaseExceptionGroup):
        await work


# --- the program ----------------------------------------------------------------------------------------------------


def run(home: Path, flags: Mapping[str, Any] | None = None, *, ready: Any = None) -> None:
    """Run a node in the foreground until SIGTERM or SIGINT; SIGHUP reloads.

    Args:
        home: Its folder.
        flags: ``section.name`` -> value of the command line.
        ready: Called with the node once it serves.

    Raises:
        TrustnodeError: As ``running``; what ended a background task.
    """
    faulthandler.enable()  # gRPC's core is C: where it takes the process down, stderr says where
    lines.configure(settings.load(home, os.environ, flags).config.log)
    asyncio.run(_serve(home, flags, ready))


async def _serve(home: Path, flags: Mapping[str, Any] | None, ready: Any) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    async with running(home, flags=flags) as node:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: asyncio.ensure_future(node.reload()))
        if ready is not None:
            ready(node)
        fatal = asyncio.ensure_future(asyncio.shield(node.fatal))
        asked: set[asyncio.Future[Any]] = {
            asyncio.ensure_future(stop.wait()), asyncio.ensure_future(node.stopping.wait()), fatal
        }  # fmt: skip
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        if fatal.done():
            raise error("EVIDENCE_UNAVAILABLE", f"the node cannot go on: {_first_cause(fatal.result())}")
