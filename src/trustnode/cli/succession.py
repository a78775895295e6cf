"""``trustnode log succeed``: what two people do to a node whose log nobody can give back.

Decides: what is typed and shown, and that an approval is for one loss and no other. Leaves to others: doing it
(``maintenance``), the card that opens the next log (``cli.card``, its roots).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import click

from trustnode.cli import approval, asking, card, exit_status, output, upkeep
from trustnode.cli.approval import Wanted
from trustnode.cli.lazy import Command
from trustnode.core.document import Document, decode
from trustnode.core.identity import Card, fingerprint, log_number

WITHOUT: Final = "without:"


@click.command(cls=Command)
@card.key_option
@click.option("--draft", type=click.Path(dir_okay=False, path_type=Path), help="Write the card that opens it unsigned.")
@click.option("--card", "signed", type=card.FILE, help="The card that opens it, signed by its roots elsewhere.")
@click.option("--without", multiple=True, metavar="VENUE", help="Go on although this peer does not answer.")
@asking.yes_option
@asking.dry_run_option
@approval.alone_option
@click.pass_context
def succeed(
    ctx: click.Context, key_files: tuple[Path, ...], draft: Path | None, signed: Path | None, without: tuple[str, ...],
    yes: bool, dry_run: bool, alone: bool,
) -> None:  # fmt: skip
    """Close this node's log, of which no mirror holds the rest, and open the next one (two). The node must not run.

    What is lost stays lost: the first entry of the next log says how much.
    """
    home, node = asking.home(), upkeep.maintenance()
    loss = asyncio.run(node.loss(home, without))
    output.note(f"{loss.words}, for good; no mirror has them")
    asking.confirm(f"Close {loss.origin} and open the next log?", yes=yes, dry_run=dry_run)
    _make_card(ctx, home, draft=draft, signed=signed, key_files=key_files)
    beside = (WITHOUT + ",".join(sorted(set(without))),) if without else ()
    approval.ask(
        ctx, Wanted(home, "log.succeed", (*loss.arguments, *beside)), node.operators_of(home), alone=alone
    )  # fmt: skip


def _make_card(
    ctx: click.Context, home: Path, *, draft: Path | None, signed: Path | None, key_files: tuple[Path, ...]
) -> None:
    """Have the card ready that opens the next log; exit 10 while its roots have not signed it."""
    node = upkeep.maintenance()
    if signed is not None:
        from trustnode.keys import cards as making

        node.stage_card(home, making.read_draft(signed)[0])
    elif draft is not None or key_files or not node.has_card(home):
        from trustnode.keys import read_card

        node.stage_log_key(home)
        number = log_number(decode(read_card(home), Card)) + 1
        made = card.make_next(home, draft=draft, key_files=key_files, log=number, install=_stage)
        if made.draft:
            _show_draft(ctx, made)


def _stage(home: Path, document: Document) -> card.Made:
    from trustnode.keys import cards as making
    from trustnode.keys import read_card

    upkeep.maintenance().stage_card(home, document)
    signed = making.signed(document, read_card(home))
    return card.Made(document, decode(document, Card).version, fingerprint(document), signed, "", False)


def _show_draft(ctx: click.Context, made: card.Made) -> None:
    data = {"version": made.version, "fingerprint": made.fingerprint, "draft": made.draft, "state": "WAITS"}
    output.show(
        data,
        f"draft    card {made.version} in {made.draft}: {card.missing(made.signed)}",
        f"then     trustnode card sign {made.draft} --key root.key; trustnode log succeed --card {made.draft}",
    )
    ctx.exit(exit_status.WAITS)


def succeeded(_ctx: click.Context, wanted: Wanted, document: Document, alone: bool) -> None:
    """Carry out a succession."""
    node = upkeep.maintenance()
    order = node.order_of(node.Asked(*wanted, document, alone))
    arguments = [one for one in wanted.arguments if not one.startswith(WITHOUT)]
    without = [name for one in wanted.arguments if one.startswith(WITHOUT)
               for name in one.removeprefix(WITHOUT).split(",")]  # fmt: skip
    _show(asyncio.run(node.succeed(wanted.home, arguments, order, without=without)), order, wanted.home)


def _show(done: Any, order: Any, home: Path) -> None:
    loss = done.loss
    data = {
        "closed": loss.origin, "size": loss.size, "held": loss.held, "lost": loss.size - loss.held,
        "origin": done.origin, "suspended": list(done.waiting), "asked_by": order.asked_by,
        "approved_by": order.approved_by,
    }  # fmt: skip
    lines = [
        f"closed   {loss.words}",
        f"opened   {done.origin}, with a new key; its entry {loss.held:,} records this{upkeep.by(order)}",
    ]
    if done.waiting:
        lines.append(f"{len(done.waiting):,} agreements wait: what was used under them is not told by any entry")
    output.show(data, *lines, f"next     trustnode start --home {home}; peers follow the card by themselves")
