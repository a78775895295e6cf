"""``trustnode inbox``: all that waits for whoever asks, and the three answers.

Decides: which step an answer is for each kind of object. Leaves to others: the steps (``sdk``, the node).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trustnode.cli import acts, output, policy_diff, session
from trustnode.cli.lazy import ListingGroup
from trustnode.cli.source import now
from trustnode.cli.times import seconds_between
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.cli.session import Session
    from trustnode.cli.values import Found, Item


@click.group(cls=ListingGroup)
@click.pass_context
def inbox(ctx: click.Context) -> None:
    """What waits for you; accept, refuse or counter it."""
    if ctx.invoked_subcommand is None:
        _show()


def _show() -> None:
    with session.connect() as connection:
        found = connection.items("", inbox="true", size=200)
        rows = [_row(connection, one) for one in found.items]
    items = [{**one.data(), "short_name": row[0], "what": row[2]} for one, row in zip(found.items, rows, strict=True)]
    lines = output.table(("ID", "SINCE", "WHAT"), rows, flexible=2) if rows else []
    output.show_list(items, lines, found.next_page_token)
    if not rows:
        output.note("nothing waits for you")


def _row(connection: Session, item: Item) -> tuple[str, str, str]:
    return acts.name_of(item), output.age(seconds_between(item.changed_at, now())), _what(connection, item)


def _what(connection: Session, item: Item) -> str:
    message = item.negotiation_message()
    if message is not None:
        offer = connection.offer_of(item)
        on = f"{offer.product}, offer {offer.name}, {offer.price}" if offer else "an offer"
        return f"{acts.short_participant(message.iss)}: {on}, for {message.purpose or 'any purpose'}"
    registration = item.registration()
    if registration is not None:
        return f"{acts.short_participant(registration.provider)}: {registration.title}"
    if item.kind == "peering":
        return f"{item.id} applies for a peering"
    return item.id


def _find(connection: Session, id: str) -> Found:
    """The object that waits under a short name, whichever its kind."""
    waiting = [one for one in connection.items("", inbox="true", size=200).items if id in (acts.name_of(one), one.id)]
    if len(waiting) != 1:
        step = "See: trustnode inbox"
        raise error(
            "NOT_FOUND",
            f"{'nothing' if not waiting else 'more than one thing'} called {id} waits for you",
            next_step=step,
        )
    return connection.get(waiting[0].kind, waiting[0].id)


@inbox.command()
@click.argument("id")
@click.pass_context
def accept(ctx: click.Context, id: str) -> None:
    """Say yes: sign the agreement, accept the counter-offer."""
    with session.connect() as connection:
        found = _find(connection, id)
        if found.object.kind == "peering":
            step = f"trustnode peer confirm {found.object.id} --fingerprint ..."
            raise error("USAGE", "a peering is confirmed with its fingerprint", next_step=step)
        connection.acting()
        done = connection.approve(found)
    acts.finish(ctx, done)


@inbox.command()
@click.argument("id")
@click.option("--reason", required=True, help="Why; the other side sees it.")
@click.pass_context
def refuse(ctx: click.Context, id: str, reason: str) -> None:
    """Say no."""
    with session.connect() as connection:
        found = _find(connection, id)
        connection.acting()
        if found.object.kind == "negotiation":
            done = connection.terminate(found, reason)
        else:
            event = {"peering": "reject", "product": "refuse", "listing": "reject"}[found.object.kind]
            done = connection.act(found.object.kind, found.object, event, reason=reason)
    acts.finish(ctx, done)


@inbox.command("counter")
@click.argument("id")
@click.argument("terms", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def counter_(ctx: click.Context, id: str, terms: Path) -> None:
    """Answer a request with other TERMS: a TOML file of terms, with price where it changes."""
    with session.connect() as connection:
        found = _find(connection, id)
        if found.object.kind != "negotiation":
            raise error("ILLEGAL_TRANSITION", "only a negotiation can be answered with other terms")
        connection.acting()
        old = connection.offer_of(found.object)
        for line in policy_diff.table(policy_diff.by_file(old, terms)) if old else ():
            output.note(line)
        done = connection.counter(found, terms)
    acts.finish(ctx, done)
