"""Planning one query of the owner of a source, before any agreement: what ``policy test`` asks.

Decides: that the planner of an agreement's session answers, on the source itself. Leaves to others: what a query may
see (``plan``). It runs in the process of the command: the query is its owner's own, and no data are delivered.
"""

from __future__ import annotations

from typing import Final

from trustnode.core import tracing
from trustnode.core.policy.governed import Governed
from trustnode.engine.message import SessionSpec
from trustnode.engine.session import Session
from trustnode.engine.source import Secrets, Source, readable

_NO_SECRET: Final = bytes(32)
"""Stands for the key of an agreement: nothing that it masks is delivered."""


def plan(source: Source, governed: Governed, sql: str, secrets: Secrets) -> None:
    """Plan a query as the node would; ``secrets`` is what the credentials of the source say.

    Raises:
        TrustnodeError: Why the node would refuse it; FIELD_FORMAT when the source cannot be read.
    """
    spec = SessionSpec(
        agreement="example", policy_digest="", data_version="", source=source, governed=governed, hash_key=_NO_SECRET,
        mark=tracing.recipient(_NO_SECRET, "example", "example").secret,
    )  # fmt: skip
    with readable():
        session = Session(spec, secrets)
    session.plan(sql, ())
