"""Running a node: ``init``, ``start``, ``stop``, ``reload``, ``status``, ``healthcheck``.

Decides: what an operator types and sees. Leaves to others: everything a node does (``trustnode.node``, imported by
``init`` and ``start`` alone), and the local socket (``sdk``).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from trustnode.cli import asking, exit_status, output, session
from trustnode.cli.lazy import Command, of_the_node
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.core.identity.card import Level


def _target() -> Path:
    named = output.options().get("home")
    if not named:
        raise error("USAGE", "no node is named", next_step="Add --home DIR, or set TRUSTNODE_HOME.")
    return Path(named)


@click.command(cls=Command)
@click.option("--venue", required=True, help="Name of the venue for people.")
@click.option(
    "--level",
    required=True,
    type=click.Choice(["NATIONAL", "REGIONAL", "INDUSTRY", "SERVICE"]),
    help="Place of the venue.",
)
@click.option("--area", required=True, help="Area of four digits, or 00 and the industry division.")
@click.option("--subject", required=True, help="Unified social credit code of the operating entity, 18 characters.")
@click.option("--trust-domain", required=True, help="Name of the venue in the network, for ever.")
@click.option("--listen", default="127.0.0.1:7443", show_default=True, help="Address and port.")
@click.option("--dns", multiple=True, help="A further name that stock clients verify; may be repeated.")
@click.option("--endpoint", "endpoints", multiple=True, help="host:port that the card names; default: --listen.")
@click.option("--roots", default="1/1", show_default=True, metavar="M/N", help="Root keys: N of them, of which M sign.")
def init(
    venue: str, level: str, area: str, subject: str, trust_domain: str, listen: str, dns: tuple[str, ...],
    endpoints: tuple[str, ...], roots: str,
) -> None:  # fmt: skip
    """Make the folder of a node. Never overwrites a key; a second run changes nothing."""
    from trustnode import home as homes
    from trustnode.cli.card import root_numbers
    from trustnode.keys import root_key_files

    home = _target()
    made = homes.initialise(
        home,
        venue=venue,
        level=cast("Level", level),
        area=area,
        subject=subject,
        trust_domain=trust_domain,
        listen=listen,
        dns=dns,
        endpoints=endpoints,
        roots=root_numbers(roots),
    )
    root_files = root_key_files(home)
    root_is_here = bool(root_files)
    data = {
        "home": str(home),
        "node_id": made.node_id,
        "fingerprint": made.fingerprint,
        "made": list(made.made),
        "root_key": root_is_here,
    }
    what = "(commented), venue authority, node certificate, evidence, log and witness keys, database"
    created = f"created  {home / asking.CONFIGURATION} {what}"
    news = f"made {', '.join(made.made)}" if made.made else "nothing was changed"
    kept = f"exists   {home / asking.CONFIGURATION}: {news}"
    one_root = f"root     {home / 'root.key'} signs the venue card and nothing else: move it off this machine"
    named = ", ".join(path.name for path in root_files)
    several = f"roots    {named}: {roots} sign the venue card and nothing else: move each to a place of its own"
    root = one_root if len(root_files) == 1 else several
    place = (
        f"node     {made.node_id} (provisional until its parent confirms it)      next: trustnode start --home {home}"
    )
    is_new = asking.CONFIGURATION in made.made
    output.show(data, created if is_new else kept, *([root] if root_is_here else []), place)


@click.command(cls=Command)
@click.option("--listen", help="Address and port, instead of the configured ones.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least severity of logs.")
def start(listen: str | None, log_level: str | None) -> None:
    """Run the node in the foreground. SIGTERM drains, SIGHUP reloads; refuses a home already in use."""
    home = asking.home()
    began = time.monotonic()
    with of_the_node():
        from trustnode import node
    node.run(home, {"node.listen": listen, "log.level": log_level}, ready=lambda running: _ready(running, began))


def _ready(running: Any, began: float) -> None:
    """Say that the node serves: one line, on stdout, for people and for whoever waits for it."""
    settings = running.config.node
    address = f"{settings.listen.rpartition(':')[0]}:{running.port}"
    took = time.monotonic() - began
    peers = len(running.venue.keyring.cards) - 1
    data = {
        "trust_domain": settings.trust_domain,
        "address": address,
        "seconds": f"{took:.1f}",
        "entries": running.entries,
        "peers": peers,
    }
    entries = f"log {running.entries:,} {'entry' if running.entries == 1 else 'entries'}"
    words = f"{settings.level} {settings.area}, {entries}, {output.count(peers, 'peer')}"
    output.show(data, f"{settings.trust_domain} ready on {address} in {took:.1f} s: {words}")
    sys.stdout.flush()


@click.command(cls=Command)
@click.option("--grace", type=click.IntRange(0, 3600), metavar="SECONDS", help="Time for running streams.")
def stop(grace: int | None) -> None:
    """Let running streams finish, then end the node."""
    with session.operator() as node:
        streams = node.drain(grace)
    output.show({"streams": streams, "state": "DRAINING"}, f"stopping  {output.count(streams, 'stream')} still running")


@click.command(cls=Command)
def reload() -> None:
    """Read configuration, certificates and keys again; nothing changes if anything cannot be used."""
    with session.operator() as node:
        done = node.reload()
    lines = [f"changed  {name}" for name in done["changed"]] or ["nothing changed"]
    lines += [f"later    {name} takes effect at the next start" for name in done["needs_restart"]]
    output.show(done, *lines)


@click.command(cls=Command)
@click.pass_context
def status(ctx: click.Context) -> None:
    """How the node stands. Exit 9 with an alarm."""
    from trustnode.cli import status_view

    with session.operator() as node:
        found = node.status()
    output.show(status_view.data(found), *status_view.lines(found))
    ctx.exit(exit_status.ALARMS if found["alarms"] else exit_status.DONE)


@click.command(cls=Command)
@click.pass_context
def healthcheck(ctx: click.Context) -> None:
    """Exit 0 if the node serves, 9 if it is read-only, 6 if it does not; for probes."""
    with session.operator() as node:
        state = str(node.status()["state"])
    output.show({"state": state, "ok": state == "SERVING"}, state)
    ctx.exit({"SERVING": exit_status.DONE, "READ_ONLY": exit_status.ALARMS}.get(state, 6))
