"""``trustnode key``: which keys there are, when they end, replacing one, taking one back.

Decides: what is shown of keys, never a private one; which key a command means. Leaves to others: files and certificates
(``keys``), the card that publishes a key (``card``), when a new one is used (the node).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import click

from trustnode.cli import approval, asking, card, key_acts, output, session, source
from trustnode.cli.approval import Wanted
from trustnode.cli.key_acts import Step
from trustnode.cli.lazy import Group
from trustnode.core.document import Document
from trustnode.errors import TrustnodeError, error

if TYPE_CHECKING:
    from trustnode.keys.rotation import Kind

KINDS: Final = ("evidence", "log", "witness", "authority", "intermediate", "node")
STEALABLE: Final = ("evidence", "log", "witness", "authority")
DOCUMENT: Final = "document"
"""The key a participant signs with."""
UNPUBLISHED: Final = ("intermediate", "node")


class KeyLine(NamedTuple):
    """One key as it is shown."""

    key: str
    kind: str
    id: str
    state: str
    until: str
    file: str


@click.group(cls=Group)
def key() -> None:
    """Keys: which there are and when they end; replace one, take one back."""


# --- status ---------------------------------------------------------------------------------------------------------


@key.command()
def status() -> None:
    """List the keys of your node, or of your profile."""
    rows = node_keys() if asking.is_operator() else _profile_keys()
    items = [row._asdict() for row in rows]
    lines = output.table(
        ("KEY", "KIND", "ID", "STATE", "UNTIL"),
        [(row.key, row.kind, row.id[:16], row.state, output.day(row.until) if row.until else "") for row in rows],
    )
    output.show_list(items, lines)
    if asking.is_operator():
        from trustnode.keys import root_key_files

        for path in root_key_files(asking.home()):
            output.note(
                f"ALARM    {path.name} is still on this machine: move it off, it signs the venue card and nothing else"
            )


def _profile_keys() -> list[KeyLine]:
    from trustnode.core import clock
    from trustnode.core.document import decode
    from trustnode.core.participant import ParticipantKey
    from trustnode.sdk.profile import Profile

    found = Profile.open(asking.profile())
    document, leaf = decode(found.key_document, ParticipantKey), found.credential.leaf
    ends = clock.text(leaf.not_valid_after_utc)
    return [
        KeyLine("document key", "Ed25519", found.public_key.kid, "in use", document.not_after, "participant.key"),
        KeyLine("certificate", "P-256", f"{leaf.serial_number:x}", "in use", ends, "client.pem"),
    ]


def node_keys() -> list[KeyLine]:
    """Every key of the home folder, with what is staged beside it."""
    import os

    from trustnode import config
    from trustnode.core import clock
    from trustnode.core.identity import Card
    from trustnode.keys import load_node_keys, read_card
    from trustnode.keys.rotation import SIGNING

    home = asking.home()
    held = load_node_keys(home, config.load(home, os.environ).config.node.trust_domain, source.now())
    value = session.Session.decode(read_card(home), Card)
    ends = {one.public: one.not_after for one in value.keys}
    rows = _root_keys(home)
    for use in SIGNING:
        forms = ((".key", held.signer(use), "in use"), (".next.key", held.staged.next.get(use), "next"))
        for suffix, signer, state in (*forms, (".old.key", held.staged.old.get(use), "replaced")):
            if signer is not None:
                raw = signer.public.hex()
                shown = state if raw in ends else f"{state}, not on the card"
                rows.append(KeyLine(use, "Ed25519", _kid(raw), shown, ends.get(raw, ""), f"keys/{use}{suffix}"))
    certificates = (
        ("authority", held.authority.root, "in use", "ca.pem"),
        ("authority", held.staged.root_next, "next", "ca.next.pem"),
        ("authority", held.staged.root_old, "replaced", "ca.old.pem"),
        ("intermediate", held.authority.intermediate.certificate, "in use", "intermediate.pem"),
    )
    for name, one, state, file in certificates:
        if one is not None:
            end = clock.text(one.not_valid_after_utc)
            rows.append(KeyLine(name, "P-256", f"{one.serial_number:x}", state, end, f"keys/{file}"))
    card_line = KeyLine(
        "card", f"version {value.version}", read_card(home).digest, "in use", value.expires, "venue.card"
    )
    return [*rows, card_line]


def _root_keys(home: Path) -> list[KeyLine]:
    from trustnode.keys import FileSigner, root_key_files

    rows = []
    for path in root_key_files(home):
        try:
            mark = _kid(FileSigner.load(path).public.hex())
        except TrustnodeError:
            mark = "unreadable"
        rows.append(KeyLine("root", "Ed25519", mark, "in use", "", path.name))
    return rows


def _kid(raw_hex: str) -> str:
    import hashlib

    return hashlib.sha256(bytes.fromhex(raw_hex)).hexdigest()


# --- replacing ------------------------------------------------------------------------------------------------------


@key.command()
@click.argument("kind", type=click.Choice((*KINDS, DOCUMENT)))
@card.draft_option
@card.key_option
@approval.alone_option
@click.pass_context
def rotate(ctx: click.Context, kind: str, draft: Path | None, key_files: tuple[Path, ...], alone: bool) -> None:
    """Replace the KIND key of your node: nothing that runs is interrupted.

    The next card publishes the new key beside the old one; the node signs with it when its peers have that card, or
    after a day. The card after that drops the old one. KIND ``document``, with a profile: the key you sign with.
    A new ``authority`` takes two people.
    """
    if kind == DOCUMENT:
        _rotate_document_key()
        return
    home, step = asking.home(), Step((kind,), draft, key_files)
    if key_acts.takes_two(step.words):
        key_acts.ask(ctx, home, "key.rotate", step, alone=alone)
    else:
        _rotate(ctx, home, step)


def rotated(ctx: click.Context, wanted: Wanted, document: Document, alone: bool) -> None:
    """Carry out a replacement that two people ordered."""
    key_acts.carried(wanted, document, alone, lambda step: _rotate(ctx, wanted.home, step))


def _rotate(ctx: click.Context, home: Path, step: Step) -> None:
    from trustnode.keys import rotation

    (kind,) = step.words
    domain = _domain(home)
    rotation.stage(home / "keys", cast("Kind", kind), domain, source.now())
    if kind in UNPUBLISHED:
        running = card.reload_node(home)
        when = "in use" if running else "used from the next start on"
        output.show({"kind": kind, "in_use": running}, f"made     a new {kind} key, {when}")
        return
    made = card.make_next(home, draft=step.draft, key_files=step.key_files)
    card.reload_node(home)
    card.show(ctx, made, f"made     a new {kind} key; it is used when peers have the card: trustnode key status")


def _rotate_document_key() -> None:
    from trustnode.sdk import loop

    with session.client() as client:
        client.acting()
        made = loop.run(client.sdk.connection.replace_key())
    kid = made.public_key.kid
    output.show({"kid": kid, "folder": str(made.folder)}, f"made     a new document key, {kid[:16]}; yours from now on")


def _domain(home: Path) -> str:
    import os

    from trustnode import config

    return config.load(home, os.environ).config.node.trust_domain


# --- taking back ----------------------------------------------------------------------------------------------------


@key.command()
@click.argument("kinds", nargs=-1, type=click.Choice((*STEALABLE, "all")))
@click.option("--invalid-from", metavar="TIME", help="Since when it may be in other hands; earlier signatures stay.")
@click.option("--serial", metavar="HEX", help="A certificate of this venue instead: refused at the next call.")
@card.draft_option
@card.key_option
@asking.yes_option
@asking.dry_run_option
@approval.alone_option
@click.pass_context
def revoke(
    ctx: click.Context, kinds: tuple[str, ...], invalid_from: str | None, serial: str | None, draft: Path | None,
    key_files: tuple[Path, ...], yes: bool, dry_run: bool, alone: bool,
) -> None:  # fmt: skip
    """Take keys of your node back, or one certificate: peers refuse what they sign, whatever time it claims.

    All keys, or the authority, take two people.
    """
    if bool(kinds) == bool(serial) or bool(kinds) != bool(invalid_from):
        raise error("USAGE", "say which: KIND ... --invalid-from TIME, or --serial HEX")
    if serial:
        asking.confirm(f"Refuse certificate {serial} for ever?", yes=yes, dry_run=dry_run)
        _deny(serial)
        return
    from trustnode.cli.times import parse_time

    home, since = asking.home(), parse_time(str(invalid_from), "invalid-from")
    chosen = STEALABLE if "all" in kinds else kinds
    asking.confirm(f"Take back {', '.join(chosen)} from {output.local_time(since)} on?", yes=yes, dry_run=dry_run)
    step = Step((since, *chosen), draft, key_files)
    if key_acts.takes_two(chosen):
        key_acts.ask(ctx, home, "key.revoke", step, alone=alone)
    else:
        _revoke(ctx, home, step)


def revoked(ctx: click.Context, wanted: Wanted, document: Document, alone: bool) -> None:
    """Carry out what two people ordered to take back."""
    key_acts.carried(wanted, document, alone, lambda step: _revoke(ctx, wanted.home, step))


def _revoke(ctx: click.Context, home: Path, step: Step) -> None:
    from trustnode.core.identity import Card
    from trustnode.keys import read_card, rotation

    since, *kinds = step.words
    chosen: tuple[Any, ...] = tuple(kinds)
    listed = [(one.use, one.public) for one in session.Session.decode(read_card(home), Card).keys]
    rotation.take_back(home / "keys", chosen, _domain(home), source.now(), since, listed)
    made = card.make_next(home, draft=step.draft, key_files=step.key_files)
    card.reload_node(home)
    card.show(ctx, made, f"revoked  {', '.join(chosen)} from {output.local_time(since)} on; new ones stand on the card")


def _deny(serial: str) -> None:
    with session.operator() as node:
        node.acting()
        done = node.tell([{"kind": "CERT_DENIED", "subject": serial.lower(), "state": "DENIED"}])
    output.show({"serial": serial.lower(), **done.data()}, f"denied   certificate {serial}, here and at every peer")
