"""``trustnode peer``: cards, fingerprints, and the state of other venues.

Decides: what an operator types and sees. Leaves to others: the rules of a peering (the node).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trustnode.cli import acts, asking, output, session, status_view
from trustnode.cli.lazy import Group
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.cli.values import Item
    from trustnode.core.document import Document
    from trustnode.core.identity import Card

SCOPES: Final = "CATALOG,CONTRACT,ACCESS,EVIDENCE"
card_argument = click.argument("card", type=click.Path(exists=True, dir_okay=False, path_type=Path))


def write_card(path: Path, document: Document, home: Path) -> None:
    """Write our card as a file, with the certificate that lets a stranger apply here."""
    from trustnode.core import card_file
    from trustnode.keys.cards import earlier_cards

    parts = [home / "keys" / f"apply.{kind}" for kind in ("pem", "key")]
    chain, key = (part.read_bytes() if part.exists() else b"" for part in parts)
    path.write_bytes(card_file.write(document, chain, key, earlier_cards(home)))


def read_card(path: Path) -> Document:
    """Read a card from a file; nothing in it is verified.

    Raises:
        TrustnodeError: FIELD_FORMAT, MESSAGE_UNPARSABLE.
    """
    from trustnode.core import card_file

    document = card_file.read(path.read_bytes()).document()
    if document.name != "card":
        raise error("FIELD_FORMAT", f"{path} is no venue card", field="card")
    return document


def keep_applicant(path: Path, domain: str, home: Path) -> None:
    """Keep the certificate of a card file, with which our node applies at that venue."""
    from trustnode.core import card_file
    from trustnode.keys import write_secret

    content, folder = card_file.read(path.read_bytes()), home / "keys" / "applicant"
    if not content.chain_pem:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / f"{domain}.key").unlink(missing_ok=True)
    write_secret(folder / f"{domain}.key", content.key_pem.encode())
    (folder / f"{domain}.pem").write_bytes(content.chain_pem.encode())


def _checked(path: Path) -> tuple[Document, Card]:
    from trustnode.cli.source import now
    from trustnode.core.identity import check_card

    document = read_card(path)
    return document, check_card(document, now()).value


def card_line(card: Card, mark: str) -> str:
    """``zj.example  node.zj.example:7443  card 1  fingerprint 4F2A-...``."""
    address = card.endpoints[0] if card.endpoints else "no address"
    return f"{card.trust_domain}  {address}  card {card.version}  fingerprint {mark}"


def vkeys(card: Card, use: str) -> list[str]:
    """The keys of a venue's log or witness that are valid now, in the form of C2SP signed-note."""
    from trustnode.cli.source import now
    from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey
    from trustnode.core.identity import log_number, log_origin
    from trustnode.core.identity.card import witness_name

    log, domain = (log_origin(card.trust_domain, log_number(card)), ED25519), card.trust_domain
    name, algorithm = log if use == "log" else (witness_name(domain), COSIGNATURE_V1)
    held = [key.public for key in card.keys if key.use == use and key.not_before <= now() < key.not_after]
    return [VerifierKey(name, algorithm, bytes.fromhex(public)).text for public in held]


def _card_data(card: Card, mark: str) -> dict[str, Any]:
    return {
        "trust_domain": card.trust_domain,
        "name": card.name,
        "level": card.level,
        "area": card.area,
        "node_id": card.node_id,
        "version": card.version,
        "endpoints": list(card.endpoints),
        "expires": card.expires,
        "fingerprint": mark,
    }


@click.group(cls=Group)
def peer() -> None:
    """Other venues. A node federates with nobody by default."""


@peer.command()
@click.argument("card", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "target", type=click.Path(dir_okay=False, path_type=Path), help="File to write our own card to.")
@click.option(
    "--vkey",
    "use",
    type=click.Choice(["log", "witness"]),
    help="Print these keys instead, as foreign verifiers read them.",
)
def card(card: Path | None, target: Path | None, use: str | None) -> None:
    """Print our own card's fingerprint, or that of the file CARD; read it to the other side out of band."""
    from trustnode.core.identity import Card, fingerprint

    if card is not None:
        document, value = _checked(card)
        if target is not None:
            target.write_bytes(card.read_bytes())
    else:
        with session.operator() as node:
            document = node.own_card()
            value = node.decode(document, Card)
            if target is not None:
                write_card(target, document, node.home)
    mark = fingerprint(document)
    if use is not None:
        keys = vkeys(value, use)
        output.show({"vkeys": keys}, *keys)
        return
    output.show({**_card_data(value, mark), **({"file": str(target)} if target else {})}, card_line(value, mark))


@peer.command()
@card_argument
@click.option(
    "--as", "relation", type=click.Choice(["PARENT", "CHILD", "PEER"]), required=True, help="What it is to us."
)
@click.option("--fingerprint", "mark", help="As the other operator read it to you; without it the card opens nothing.")
@click.option("--scope", default=SCOPES, show_default=True, help="What the peering opens, separated by commas.")
def add(card: Path, relation: str, mark: str | None, scope: str) -> None:
    """Apply to the venue of CARD for a peering."""
    from trustnode.core.identity import check_fingerprint, fingerprint
    from trustnode.vocabulary import check_word

    document, value = _checked(card)
    scopes = tuple(check_word("PeerScope", word.strip(), "scope") for word in scope.split(",") if word.strip())
    if mark:
        check_fingerprint(document, mark)
    with session.operator() as node:
        node.acting()
        keep_applicant(card, value.trust_domain, node.home)
        done = node.add_peer(document, relation=relation, fingerprint=mark or "", scopes=scopes)
    data = {**_card_data(value, fingerprint(document)), **done.data(), "relation": relation, "scopes": list(scopes)}
    if not mark:
        step = f"trustnode peer add {card} --as {relation} --fingerprint ..."
        output.show(
            {**data, "state": "UNCONFIRMED"},
            f"stored   {value.trust_domain} UNCONFIRMED: it opens nothing",
            "compare  ask its operator, by telephone, for the fingerprint it prints with: trustnode peer card",
            f"then     {step}",
        )
        return
    output.show(data, f"applied to {value.trust_domain}; its operator finds it with: trustnode inbox")


@peer.command()
@click.argument("venue")
@click.option("--fingerprint", "mark", required=True, help="As the other operator read it to you.")
def confirm(venue: str, mark: str) -> None:
    """Confirm the application of VENUE, with the fingerprint compared."""
    with session.operator() as node:
        node.acting()
        done = node.confirm_peer(venue, mark)
    output.show(done.data(), f"peering with {venue} in force")


@peer.command("list")
def list_() -> None:
    """List the venues we know, and how they are."""
    with session.operator() as node:
        status = node.status()
    rows = [
        (
            one["trust_domain"],
            one["relation"],
            one["state"],
            _answers(one),
            str(one["card_version"]),
            str(one["outbox"]),
        )
        for one in status["peers"]
    ]
    lines = output.table(("VENUE", "IS OUR", "STATE", "ANSWERS", "CARD", "WAITING"), rows)
    output.show_list(status_view.data(status)["peers"], lines)


def _answers(one: Mapping[str, Any]) -> str:
    if one["silent_since"]:
        return f"silent since {output.local_time(one['silent_since'])[11:16]}"
    trip = status_view.milliseconds(one)
    return f"ok {trip} ms" if trip is not None else ""


@peer.command()
@click.argument("venue")
def show(venue: str) -> None:
    """Show one venue: card, fingerprint, state."""
    from trustnode.core.identity import Card, fingerprint

    with session.operator() as node:
        found = node.get("peering", venue)
        cards = [document for document in found.documents if document.name == "card"]
        newest = next((d for d in reversed(cards) if node.decode(d, Card).trust_domain == found.object.id), None)
        value = node.decode(newest, Card) if newest else None
    mark = fingerprint(newest) if newest else ""
    rows = [("venue", found.object.id), ("state", acts.state_words(found.object))]
    if value is not None:
        rows += [
            ("name", f"{value.name}, {value.level} {value.area}"),
            ("address", f"{', '.join(value.endpoints)} by card {value.version} of {output.day(value.time)}"),
            ("fingerprint", mark),
            ("card ends", output.day(value.expires)),
        ]
    rows.append(("changed", output.local_time(found.object.changed_at)))
    output.show({**found.data(), "card": _card_data(value, mark) if value else None}, *output.pairs(rows))


@peer.command()
@click.argument("venue")
@click.pass_context
def test(ctx: click.Context, venue: str) -> None:
    """Test the way to VENUE: address, handshake both ways, identity, card, clock."""
    with session.operator() as node:
        checks = node.test_peer(venue)
    lines = [f"{'ok    ' if check['ok'] else 'FAILED'} {check['name']}: {check['detail']}" for check in checks]
    lines += [f"next   {check['next_step']}" for check in checks if not check["ok"] and check["next_step"]]
    ok = bool(checks) and all(check["ok"] for check in checks)
    output.show({"venue": venue, "ok": ok, "checks": checks}, *lines)
    ctx.exit(0 if ok else 6)


def _act(ctx: click.Context, venue: str, event: str, reason: str) -> None:
    with session.operator() as node:
        found: Item = node.get("peering", venue).object
        node.acting()
        done = node.act("peering", found, event, cause="VENUE" if event != "terminate" else "", reason=reason)
    acts.finish(ctx, done)


@peer.command()
@click.argument("venue")
@click.option("--reason", required=True, help="Why; the other side is told.")
@click.pass_context
def suspend(ctx: click.Context, venue: str, reason: str) -> None:
    """Suspend the peering: no new contracts or reads, running streams end."""
    _act(ctx, venue, "suspend", reason)


@peer.command()
@click.argument("venue")
@click.option("--reason", default="", help="Why.")
@click.pass_context
def resume(ctx: click.Context, venue: str, reason: str) -> None:
    """Let a suspended peering go on."""
    _act(ctx, venue, "lift_cause", reason)


@peer.command()
@click.argument("venue")
@click.option("--reason", required=True, help="Why; the other side is told.")
@asking.yes_option
@asking.dry_run_option
@click.pass_context
def remove(ctx: click.Context, venue: str, reason: str, yes: bool, dry_run: bool) -> None:
    """End the peering for good; agreements between the two venues stop."""
    asking.confirm(f"End the peering with {venue}?", yes=yes, dry_run=dry_run)
    _act(ctx, venue, "terminate", reason)


@peer.command()
@card_argument
def update(card: Path) -> None:
    """Take a newer card by file, when the old address is dead; both versions' roots must have signed it."""
    from trustnode.core import card_file
    from trustnode.core.identity import Card, fingerprint, in_order

    document, value = _checked(card)
    with session.operator() as node:
        node.acting()
        held = _held_version(node, value.trust_domain)
        for one in in_order(card_file.read(card.read_bytes()).versions()):
            if held < node.decode(one, Card).version < value.version:
                node.hand_over(one)
        done = node.hand_over(document)
    output.show(
        {**_card_data(value, fingerprint(document)), **done.data()},
        f"updated  {card_line(value, fingerprint(document))}",
    )


def _held_version(node: session.Operator, venue: str) -> int:
    """The version of a venue's card that our node holds."""
    from trustnode.core.identity import Card

    cards = [d for d in node.get("peering", venue).documents if d.name == "card"]
    return max((node.decode(one, Card).version for one in cards), default=0)


def as_json(document: Document) -> dict[str, Any]:
    """An envelope for ``--json``, its payload readable."""
    return {"payload_type": document.payload_type, "payload": json.loads(document.payload), "digest": document.digest}
