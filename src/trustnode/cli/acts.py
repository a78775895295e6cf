"""What many commands share: pages, states in words, the end of a command that moved an object.

Decides: these forms. Leaves to others: the objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from trustnode.cli import exit_status, output
from trustnode.core.identifier import short_name

if TYPE_CHECKING:
    from trustnode.cli.session import Session
    from trustnode.cli.values import Item

WAITING: Final = frozenset(
    {
        "SUBMITTED", "PUBLIC_NOTICE", "OBJECTED", "CHANGE_REVIEW", "CANCEL_REVIEW", "LISTING_REVIEW", "DELIST_REVIEW",
        "REQUESTED", "OFFERED", "ACCEPTED", "AGREED", "VERIFIED", "APPLIED", "INVITED",
    }
)  # fmt: skip
"""States in which somebody else must move: exit 10."""


def page_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--page`` and ``--size``."""
    command = click.option("--page", default="", metavar="TOKEN", help="The page after: next_page_token.")(command)
    return click.option("--size", default=50, type=click.IntRange(1, 200), help="Objects on a page.")(command)


def everything(connection: Session, kind: str, **where: str) -> list[Item]:
    """All objects of a kind that satisfy the filter, page after page."""
    found: list[Item] = []
    token = ""
    while True:
        page = connection.items(kind, token=token, size=200, **where)
        found += page.items
        token = page.next_page_token
        if not token:
            return found


def name_of(item: Item) -> str:
    """What people call an object: its handle or domain, else its short name."""
    if item.kind in ("product", "peering"):
        return item.id
    if item.kind == "participant":
        return short_participant(item.id)
    return short_name(item.id)


def short_participant(spiffe_id: str) -> str:
    """``acme at zj.example`` of ``spiffe://zj.example/participant/acme``."""
    domain, _, path = spiffe_id.removeprefix("spiffe://").partition("/")
    return f"{path.rpartition('/')[2]} at {domain}" if path else spiffe_id


def state_words(item: Item) -> str:
    """The state, with the causes that hold it."""
    causes = ", ".join(cause.partition(":")[2] or cause for cause in item.causes)
    return f"{item.state} ({causes})" if causes else item.state


def finish(ctx: click.Context, item: Item, name: str = "") -> None:
    """Show what became of an object, and exit 10 where somebody else must move."""
    output.show(item.data(), f"{state_words(item).lower().replace('_', ' ')}  {name or name_of(item)}")
    ctx.exit(exit_status.WAITS if item.state in WAITING else exit_status.DONE)
