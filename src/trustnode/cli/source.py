"""Reading a product file from the command line: the schema of its source comes from the engine.

Decides: how a source is described to ``sdk.product_file``, and under which time and identifiers documents are made.
Leaves to others: the file's rules (``sdk.product_file``), reading data (``engine.source``).
"""

from __future__ import annotations

import importlib.util
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from trustnode.cli import asking, output
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.core.catalog import Binding, Table
    from trustnode.core.policy.governed import Governed
    from trustnode.sdk.product_file import Header, ProductFile, Where

NOWHERE = "venue.example"
"""Stands for the venue where a file is only checked."""


def describe(where: Where) -> tuple[Table, ...]:
    """Read the columns of a source.

    Raises:
        TrustnodeError: FIELD_FORMAT; CONFIG_INVALID (its credentials); USAGE where the engine is not installed.
    """
    if importlib.util.find_spec("duckdb") is None:
        step = "Install it with: pip install 'trustnode[node]'"
        raise error("USAGE", "reading a source needs the engine", next_step=step)
    from trustnode.core.catalog import Table
    from trustnode.engine.source import Kind, Source
    from trustnode.engine.source import describe as read

    if where.kind not in get_args(Kind):
        known = ", ".join(get_args(Kind))
        raise error("FIELD_FORMAT", f"kind: no reader for {where.kind} here; it reads {known}", field="kind")
    source = Source(cast("Kind", where.kind), where.location, dict(where.tables), where.credentials, where.version)
    found = read(source, _secrets(where))
    for table in found:
        if table.left_out:
            output.note(f"note     {table.name}: no type for {', '.join(table.left_out)}; not delivered")
    return tuple(Table(name=table.name, columns=table.columns, rows=table.rows) for table in found)


def plan(file: ProductFile, governed: Governed, sql: str) -> None:
    """Plan a query on the source of a product file as a node would, for the consumer that ``governed`` is bound to.

    Raises:
        TrustnodeError: Why the node would refuse it.
    """
    from trustnode.engine import rehearsal
    from trustnode.engine.source import Kind, Source

    bound = file.binding(header())
    kind = cast("Kind", bound.kind)
    source = Source(kind, bound.location, dict(bound.tables), bound.credentials, bound.version)
    rehearsal.plan(source, governed, sql, _secrets(bound))


def _secrets(where: Where | Binding) -> dict[str, dict[str, str]]:
    """What the credentials say.

    They lie in the home of the node that ``--home`` names; a provider with a profile keeps its own beside its keys.
    """
    from trustnode.keys import read_credentials
    from trustnode.sdk.profile import find

    if not where.credentials:
        return {}
    folder = asking.home() if asking.is_operator() else find(asking.profile())
    found = read_credentials(folder, where.credentials, where.kind, where.location)
    return {where.credentials: found}


def load(path: Path) -> ProductFile:
    """Read a product file with the schema of its source."""
    from trustnode.sdk import product_file

    return product_file.load(path, describe)


def now() -> str:
    """This instant, in the one form of time."""
    from trustnode.core import clock

    return clock.text(datetime.now(UTC))


def new_id() -> str:
    """A random identifier for a document."""
    return str(uuid.uuid4())


def header(venue: str = NOWHERE) -> Header:
    """What the documents of a file need besides it."""
    from trustnode.sdk.product_file import Header

    return Header(venue, now(), new_id)
