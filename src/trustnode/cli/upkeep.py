"""What two people do to a node that does not run: ``backup restore``, ``log recover``.

Decides: what is typed and shown, and what an act binds (the content of a file, not its name alone). Leaves to others:
doing it (``maintenance``).
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import click

from trustnode.cli import approval, asking, output
from trustnode.cli.approval import Wanted
from trustnode.cli.lazy import Command, of_the_node
from trustnode.core import card_file
from trustnode.core.document import Document
from trustnode.core.identity import fingerprint, parse_fingerprint
from trustnode.errors import error

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CARD = "card:"


def maintenance() -> Any:
    """What is done to a home; imported when it is needed, like the node itself."""
    with of_the_node():
        from trustnode import maintenance as found
    return found


# --- restore --------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.argument("file", type=FILE)
@approval.alone_option
@click.pass_context
def restore(ctx: click.Context, file: Path, alone: bool) -> None:
    """Put a backup where the store of this node was (two). The node must not run; it starts read-only.

    It signs nothing until every mirror has shown that it knows no more of the log than the backup.
    """
    home = asking.home()
    wanted = Wanted(home, "backup.restore", (str(file.resolve()), _sha256(file)))
    approval.ask(ctx, wanted, maintenance().operators_of(home, file), alone=alone)


def restored(_ctx: click.Context, wanted: Wanted, document: Document, alone: bool) -> None:
    """Carry out a restore."""
    doing, file = maintenance(), Path(wanted.arguments[0])
    if _sha256(file) != wanted.arguments[1]:
        raise error("HASH_MISMATCH", f"{file} is not the backup that was ordered to be restored", field="file")
    order = doing.order_of(doing.Asked(*wanted, document, alone), file)
    head = asyncio.run(doing.restore(wanted.home, file, order))
    data = {"entries": head.size, "asked_by": order.asked_by, "approved_by": order.approved_by}
    output.show(
        data,
        f"restored {file}: {head.size:,} entries{by(order)}",
        "READ-ONLY until every mirror agrees; nothing is signed",
        f"next     trustnode start --home {wanted.home}; if mirrors know more: trustnode log recover --from VENUE",
    )  # fmt: skip


def by(order: Any) -> str:
    """Who ordered an act, at the end of a line."""
    if order.approved_by:
        return f"; asked for by {order.asked_by}, approved by {order.approved_by}"
    return "; by one person alone"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- recover --------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.option(
    "--from", "sources", multiple=True, required=True, metavar="VENUE|CARD", help="A mirror; or its card file."
)
@click.option("--fingerprint", "marks", multiple=True, metavar="F", help="Of each card file, as you compared it.")
@approval.alone_option
@click.pass_context
def recover(ctx: click.Context, sources: tuple[str, ...], marks: tuple[str, ...], alone: bool) -> None:
    """Get back from mirrors what this node's log has lost (two). The node must not run.

    A store that is lost altogether knows no mirror: name card files, each with the fingerprint you compared.
    """
    home = asking.home()
    wanted = Wanted(home, "log.recover", tuple(_source(one, marks) for one in sources))
    approval.ask(ctx, wanted, maintenance().operators_of(home), alone=alone)


def _source(named: str, marks: tuple[str, ...]) -> str:
    """A venue as it is; a card file with the fingerprint that fits it."""
    path = Path(named)
    if not path.is_file():
        return named
    card = card_file.read(path.read_bytes()).card.document()
    for mark in marks:
        if fingerprint(card) == parse_fingerprint(mark):
            return f"{CARD}{fingerprint(card)}:{path.resolve()}"
    raise error("FINGERPRINT_MISMATCH", f"no --fingerprint fits {path}: compare it with its venue first")


def recovered(_ctx: click.Context, wanted: Wanted, document: Document, alone: bool) -> None:
    """Carry out a recovery."""
    doing = maintenance()
    order = doing.order_of(doing.Asked(*wanted, document, alone))
    names = [one for one in wanted.arguments if not one.startswith(CARD)]
    mirrors = []
    for one in wanted.arguments:
        if one.startswith(CARD):
            mark, _, path = one.removeprefix(CARD).partition(":")
            mirrors.append(doing.Mirror(card_file.read(Path(path).read_bytes()).card.document(), mark))
    report = asyncio.run(doing.recover(wanted.home, names, order, mirrors=mirrors))
    _show(report, order, wanted.home)


def _show(report: Any, order: Any, home: Path) -> None:
    given = ", ".join(f"{count:,} from {name}" for name, count in report.statements.items()) or "none needed"
    cosigned = f", cosigned by {', '.join(report.cosigners)}" if report.cosigners else ""
    missing = f"{len(report.silent):,} missing (listed in recover.txt)"
    data = {
        "first": report.first, "size": report.size, "entries": report.entries, "statements": dict(report.statements),
        "missing": len(report.silent), "suspended": list(report.waiting), "not_asked": dict(report.not_asked),
        "asked_by": order.asked_by, "approved_by": order.approved_by,
    }  # fmt: skip
    lines = [
        f"{report.entries:,} entries fetched, root equal to the signed one{cosigned}; statements: {given}, {missing}",
        f"log continues at {report.size:,} with the same key; entry {report.size + 1:,} records this{by(order)}",
    ]
    if report.waiting:
        lines.append(f"{len(report.waiting):,} agreements wait: what was used under them is not told by any entry")
    output.show(data, *lines, f"next     trustnode start --home {home}")
