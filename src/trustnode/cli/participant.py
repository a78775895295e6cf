"""``trustnode participant`` and ``trustnode join``: who takes part at a venue, and how one becomes it.

Decides: what operator and participant type and see. Leaves to others: keys and enrolment (``sdk``, the node).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from trustnode.cli import acts, asking, output, session
from trustnode.cli.lazy import Command, Group
from trustnode.errors import error

ROLES: Final = ("PROVIDER", "CONSUMER", "SERVICE_PARTY", "MERCHANT", "CUSTODIAN", "SUPERVISOR", "AUDITOR")
NO_KEY: Final = "SYSTEM"
"""Cause under which somebody without a key is suspended."""
ACKNOWLEDGED_S: Final = 5.0
"""Longest wait for peers to acknowledge a notice; who is silent is told when it answers."""
LOOK_S: Final = 0.05
roles_option = click.option(
    "--role", "roles", multiple=True, type=click.Choice(ROLES), required=True, help="May be repeated."
)
title_option = click.option("--name", "title", default="", help="Name for people.")
subject_option = click.option("--subject", default="", help="Subject code of 18 characters, where you checked one.")
reason_option = click.option("--reason", required=True, help="Why, in a sentence; it goes into the evidence.")


@click.group(cls=Group)
def participant() -> None:
    """Who takes part at this venue."""


def _write_secret(path: Path, content: bytes) -> None:
    if path.exists():
        raise error("DUPLICATE", f"{path} is there already; nothing was written", next_step="Choose another name.")
    from trustnode.keys import write_secret

    write_secret(path, content)


def _invite(name: str, target: Path | None, *, reissue: bool, **settings: object) -> None:
    with session.operator() as node:
        node.acting()
        made = node.invite(name, reissue=reissue, **settings)
    path = target or Path(f"{name}.invite")
    _write_secret(path, made["invitation"])
    until = made["expires_at"] or ""
    data = {"file": str(path), "participant": made["participant"], "expires_at": until}
    output.show(
        data,
        f"invited  {name}: {path} opens enrolment once, until {output.local_time(until)}",
        f"next     give it to them; they run: trustnode join {path.name} --fingerprint ...",
    )


@participant.command()
@click.argument("name")
@roles_option
@title_option
@subject_option
@click.option("-o", "target", type=click.Path(dir_okay=False, path_type=Path), help="File of the invitation.")
def invite(name: str, roles: tuple[str, ...], title: str, subject: str, target: Path | None) -> None:
    """Make an invitation for NAME: once, 72 h. They make their own keys."""
    _invite(name, target, reissue=False, roles=roles, title=title or name, subject=subject)


@participant.command()
@click.argument("name")
@click.option("-o", "target", type=click.Path(dir_okay=False, path_type=Path), help="File of the invitation.")
def reissue(name: str, target: Path | None) -> None:
    """Make an invitation for a participant whose certificate has ended."""
    _invite(name, target, reissue=True)


@participant.command()
@click.argument("name")
@roles_option
@title_option
@subject_option
@click.option("-o", "folder", type=click.Path(file_okay=False, path_type=Path), help="Folder for keys and profile.")
def enrol(name: str, roles: tuple[str, ...], title: str, subject: str, folder: Path | None) -> None:
    """Enrol NAME with keys made here: into a folder to hand over, or in custody of the node."""
    with session.operator() as node:
        node.acting()
        if folder is None:
            done = node.enrol_custody(name, roles=roles, title=title or name, subject=subject)
            held = "its key is held here, in custody: what the node signs for it is logged as such"
        else:
            done = node.enrol_here(name, folder, roles=roles, title=title or name, subject=subject)
            held = f"its keys were made here, in {folder}: hand the folder over and delete it"
    output.show(
        {**done.data(), "folder": str(folder) if folder else ""},
        f"enrolled  {name} at {node.venue}",
        f"note      {held}",
    )


@participant.command("list")
@acts.page_options
def list_(page: str, size: int) -> None:
    """List the participants of this venue."""
    with session.connect() as connection:
        found = connection.items("participant", token=page, size=size)
    rows = []
    for one in found.items:
        key = one.participant_key()
        roles = ", ".join(key.roles) if key else ""
        custody = key.custody if key else ""
        rows.append(
            (acts.name_of(one).partition(" at ")[0], key.title if key else "", roles, custody, acts.state_words(one))
        )
    lines = output.table(("NAME", "TITLE", "ROLES", "KEY", "STATE"), rows, flexible=1)
    output.show_list([one.data() for one in found.items], lines, found.next_page_token)


@participant.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Show one participant; without NAME, yourself."""
    with session.connect() as connection:
        wanted = name or connection.participant
        if not wanted:
            raise error("USAGE", "name a participant: trustnode participant show NAME")
        found = connection.get("participant", wanted)
    key = found.object.participant_key()
    rows = [("participant", found.object.id), ("state", acts.state_words(found.object))]
    if key is not None:
        custody = "with the participant" if key.custody == "HELD" else "in custody of the venue"
        rows += [
            ("title", key.title),
            ("roles", ", ".join(key.roles)),
            ("subject", key.subject),
            ("assurance", key.assurance),
            ("key", f"{key.public[:16]}..., {custody}, until {output.day(key.not_after)}"),
        ]
    output.show(found.data(), *output.pairs(rows))


def _act(ctx: click.Context, name: str, event: str, reason: str, cause: str = "VENUE") -> None:
    with session.operator() as node:
        found = node.get("participant", name).object
        node.acting()
        done = node.act("participant", found, event, cause=cause, reason=reason)
    acts.finish(ctx, done, name=name)


@participant.command()
@click.argument("name")
@reason_option
@click.pass_context
def suspend(ctx: click.Context, name: str, reason: str) -> None:
    """Suspend NAME: its streams end, here and at peers; it can be resumed."""
    _act(ctx, name, "suspend", reason)


@participant.command()
@click.argument("name")
@click.option("--reason", default="", help="Why.")
@click.pass_context
def resume(ctx: click.Context, name: str, reason: str) -> None:
    """Let a suspended participant go on."""
    _act(ctx, name, "lift_cause", reason)


@participant.command()
@click.argument("name")
@reason_option
@asking.yes_option
@asking.dry_run_option
@click.pass_context
def revoke(ctx: click.Context, name: str, reason: str, yes: bool, dry_run: bool) -> None:
    """Revoke NAME for good: streams end at once, here and at peers; earlier signatures stay valid."""
    with session.operator() as node:
        spiffe_id = node.get("participant", name).object.id
        running = [
            one
            for role in ("provider", "consumer")
            for one in acts.everything(node, "agreement", state="PERFORMING", **{role: spiffe_id})
        ]
    output.note(
        f"would end {name}'s certificate and key; {output.count(len(running), 'agreement')} in force lose a party"
    )
    asking.confirm(f"Revoke {name} for ever?", yes=yes, dry_run=dry_run)
    _act(ctx, name, "revoke", reason, cause="")


@participant.command()
@click.argument("name")
@click.option("--lost", is_flag=True, help="Nobody has the old key.")
@click.option("--stolen-since", metavar="TIME", help="Somebody else has it since TIME: name what it signed.")
@click.option("-o", "target", type=click.Path(dir_okay=False, path_type=Path), help="File of the invitation.")
@asking.yes_option
def rekey(name: str, lost: bool, stolen_since: str | None, target: Path | None, yes: bool) -> None:
    """Take NAME's key back, here and at every peer; its streams end, and an invitation lets them make a new one."""
    if lost == bool(stolen_since):
        raise error("USAGE", "say which: --lost, or --stolen-since TIME")
    from trustnode.cli.times import parse_time

    since = parse_time(stolen_since, "stolen-since") if stolen_since else ""
    asking.confirm(f"Take the key of {name} back, for ever?", yes=yes)
    with session.operator() as node:
        found = node.get("participant", name).object
        key = found.participant_key()
        if key is None:
            raise error("ILLEGAL_TRANSITION", f"{name} has no key yet; it is {found.state}")
        node.acting()
        cut = len(acts.everything(node, "access", running="true", consumer=found.id))
        _take_back(node, found.id, key.public, since)
        reached, silent = _acknowledged(node)
        suspects = _signed_since(node, found.id, since) if since else ([], 0)
    _tell_rekey(reached, silent, cut, suspects, since=since)
    if key.custody == "CUSTODY":
        output.note(f"next     make its new key here: trustnode participant enrol {name} ...")
        return
    _invite(name, target, reissue=True)
    output.note("counters and budgets go on where they were")


def _take_back(node: session.Operator, spiffe_id: str, public: str, since: str) -> None:
    """One notice: the key does not count, and until there is a new one its holder is suspended."""
    import hashlib

    kid = hashlib.sha256(bytes.fromhex(public)).hexdigest()
    revoked = {"kind": "KEY_REVOKED", "subject": kid, "state": "REVOKED"}
    suspended = {"kind": "PARTICIPANT", "subject": spiffe_id, "state": "SUSPENDED", "cause": NO_KEY}
    node.tell([{**revoked, **({"invalid_from": since} if since else {})}, suspended])


def _acknowledged(node: session.Operator) -> tuple[dict[str, float], list[str]]:
    """Seconds until each peer acknowledged the notice, and those that have not within ``ACKNOWLEDGED_S``."""
    started, reached = time.monotonic(), dict[str, float]()
    while True:
        peers = [one for one in node.status()["peers"] if one["state"] == "APPROVED"]
        passed = time.monotonic() - started
        open_now = [one["trust_domain"] for one in peers if one.get("notice_waits_since")]
        for one in peers:
            if one["trust_domain"] not in open_now:
                reached.setdefault(one["trust_domain"], passed)
        silent = {one["trust_domain"] for one in peers if one["silent_since"]}
        if set(open_now) <= silent or passed > ACKNOWLEDGED_S:
            return reached, sorted(open_now)
        time.sleep(LOOK_S)


def _tell_rekey(
    reached: dict[str, float], silent: list[str], cut: int, suspects: tuple[list[str], int], *, since: str
) -> None:
    later = f" (not reached: {', '.join(silent)}, told when it answers)" if silent else ""
    told = output.count(len(reached), "peer")
    within = f" in {max(reached.values()):.1f} s" if reached else ""
    output.note(f"old key revoked here and at {told}{within}{later}; streams cut: {cut}")
    for name, seconds in sorted(reached.items(), key=lambda one: one[1]):
        output.note(f"acknowledged by {name} after {seconds:.1f} s")
    if since:
        agreements, receipts = suspects
        named = f" ({', '.join(agreements)})" if agreements else ""
        counted = f"{output.count(len(agreements), 'agreement')}{named}, {output.count(receipts, 'receipt')}"
        output.note(f"signed since then, to be looked at: {counted}       earlier signatures stay valid")


def _signed_since(node: session.Operator, spiffe_id: str, since: str) -> tuple[list[str], int]:
    """Agreements that the key signed since a time, and how many reads it asked for."""
    found = {
        one.id: one
        for role in ("provider", "consumer")
        for one in acts.everything(node, "agreement", **{role: spiffe_id})
    }
    agreements = [acts.name_of(one) for one in found.values() if (value := one.agreement()) and value.time >= since]
    reads = acts.everything(node, "access", consumer=spiffe_id)
    asked = [one for one in reads if (request := one.access_request()) and request.time >= since]
    return agreements, len(asked)


# --- join -------------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.argument("invitation", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--fingerprint", "mark", required=True, help="The venue's, as its operator read it to you.")
@click.option("-o", "folder", type=click.Path(file_okay=False, path_type=Path), help="Folder of the profile.")
def join(invitation: Path, mark: str, folder: Path | None) -> None:
    """Enrol with INVITATION: makes your keys here, and the profile you act with."""
    from trustnode.sdk import enrolment, loop

    done = loop.run(enrolment.join(invitation, mark, folder=folder))
    data = {"profile": done.name, "folder": str(done.folder), "participant": done.participant, "venue": done.venue}
    output.show(
        data,
        f"joined   {done.name} at {done.venue}; profile in {done.folder}",
        "keys     made here, and never anywhere else",
        f"next     export TRUSTNODE_PROFILE={_profile_name(done.name, done.folder)}; trustnode search",
    )


def _profile_name(name: str, folder: Path) -> str:
    from trustnode.sdk.profile import root

    return name if folder.resolve() == (root() / name).resolve() else str(folder)
