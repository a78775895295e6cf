"""A clerk's requests: Arrow read and written for one caller, where no data is near (data-plane 4).

Decides: which function answers which request. Leaves to others: each answer (``parameters``, ``tables``), the process
around it (``worker``), whom it serves (``pool``). Runs in a worker.
"""

from __future__ import annotations

from trustnode.core.policy.schema import columns
from trustnode.engine import message as wire
from trustnode.engine import parameters, relation, tables
from trustnode.engine.source import arrow


def answer(request: wire.ClerkRequest) -> wire.ClerkAnswer:
    """Answer one request.

    Raises:
        TrustnodeError: QUERY_INVALID, FIELD_TOO_LONG, OFFER_UNENFORCEABLE.
    """
    match request:
        case wire.FindParameters(sql, known):
            return wire.ParametersFound(parameters.words(sql, known))
        case wire.ReadParameters(messages):
            return wire.ParametersRead(parameters.decode(messages))
        case wire.WriteTable(name, rows):
            return wire.TableWritten(tables.frames(name, rows))
        case wire.WriteSchema(known, governed):
            shown = relation.governed_schema(governed, columns(known)) if governed else known
            return wire.SchemaWritten(shown, tables.encoded(arrow.arrow_schema(shown)))
