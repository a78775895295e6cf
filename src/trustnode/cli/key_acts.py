"""What reaches so far that two people do it to the keys of a node: a new authority, and taking all keys back.

Decides: which steps these are, and what an act about keys binds. Leaves to others: doing it (``key``), when an act is
enough (``core.operator``), the entry (the node writes it, at once or when it runs again).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from trustnode.cli import approval, upkeep
from trustnode.cli.approval import Wanted
from trustnode.core.document import Document
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.core.operator import Act

FAR: Final = "authority"
"""Whoever has the certificate authority admits whom he wants; a step that makes a new one takes two."""
DRAFT: Final = "draft:"
KEY: Final = "key:"


class Step(NamedTuple):
    """One step upon keys as it was typed."""

    words: tuple[str, ...]
    """The kind; or since when, and the kinds."""
    draft: Path | None
    key_files: tuple[Path, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        """As an act binds it."""
        draft = (f"{DRAFT}{self.draft.resolve()}",) if self.draft else ()
        return (*self.words, *draft, *(f"{KEY}{path.resolve()}" for path in self.key_files))


def step_of(arguments: Sequence[str]) -> Step:
    """A step out of what an act binds."""
    drafts = [Path(one.removeprefix(DRAFT)) for one in arguments if one.startswith(DRAFT)]
    keys = tuple(Path(one.removeprefix(KEY)) for one in arguments if one.startswith(KEY))
    words = tuple(one for one in arguments if not one.startswith((DRAFT, KEY)))
    return Step(words, drafts[0] if drafts else None, keys)


def takes_two(kinds: Iterable[str]) -> bool:
    """Whether a step upon these keys takes two people."""
    return FAR in kinds


def ask(ctx: click.Context, home: Path, act: Act, step: Step, *, alone: bool) -> None:
    """Carry a step out, or let it wait for a second person."""
    approval.ask(ctx, Wanted(home, act, step.arguments), upkeep.maintenance().operators_of(home), alone=alone)


def carried(wanted: Wanted, document: Document, alone: bool, do: Callable[[Step], None]) -> None:
    """Check an act, keep it for the node to write down, and do it.

    The act is kept first: what was begun and cut off must be known of.

    Raises:
        TrustnodeError: As ``maintenance.order_of``; REPLAYED.
    """
    maintenance = upkeep.maintenance()
    maintenance.order_of(maintenance.Asked(*wanted, document, alone))
    if not approval.keep_carried(wanted.home, document):
        raise error("REPLAYED", "this act was carried out already; ask for another one")
    do(step_of(wanted.arguments))
