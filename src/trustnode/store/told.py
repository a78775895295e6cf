"""States and counters compared with what the log tells of them.

Decides: which rows have to be equal to what, and which an erased entry leaves unprovable. Leaves to others: telling
(``core.replay``), reading the log (``check``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from trustnode.core import clock
from trustnode.core.carried import CHAINS, chain_of
from trustnode.core.catalog import CatalogEntry, CatalogRecord, Registration
from trustnode.core.lifecycle import State
from trustnode.core.replay import Replay, Used, carried_alike, mirrored
from trustnode.core.states import STATES
from trustnode.store.difference import Difference
from trustnode.store.log import read_head
from trustnode.store.rows import table_of
from trustnode.store.unit import WINDOWS_KEPT_S


def differences(db: sqlite3.Connection, told: Replay) -> Iterator[Difference]:
    """Every row of a state or counter that is not what the log tells, in one snapshot."""
    for gone in told.unreported:
        message = "the statement is gone, and no log.erase says that it was erased"
        yield Difference(where="statement", message=message, index=gone.at, object=f"{gone.kind} {gone.object}")
    for kind in STATES:
        yield from _rows(db, kind, told)
    yield from _missing(db, told)
    yield from _counters(db, told)
    yield from _reservations(db, told)


def _rows(db: sqlite3.Connection, kind: str, told: Replay) -> Iterator[Difference]:
    table = table_of(STATES[kind])
    for row in db.execute(table.selected):
        try:
            state = table.read(row)
            msgspec.convert(msgspec.to_builtins(state), STATES[kind])
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as problem:
            yield Difference(where=kind, message=f"the row cannot be read: {problem}", object=f"{kind} {row[0]}")
            continue
        chain = chain_of(state)
        is_erased = chain is not None and told.unprovable(kind, state.id, chain) == "erased"
        if state.document and not is_erased and not _has_document(db, state.document):
            yield Difference(where=kind, message="its document is not kept", object=f"{kind} {state.id}")
        elif kind in CHAINS:
            yield from _state(kind, state, told)
        elif isinstance(state, CatalogEntry):
            yield from _mirror(db, state)


def _state(kind: str, state: State, told: Replay) -> Iterator[Difference]:
    row, known = told.row(kind, state.id), told.rows.get((kind, state.id))
    chain = chain_of(state)
    if row is not None and known is not None and known.whole and known.version == state.version:
        column = carried_alike(kind, row, state)
        if column:
            message = f"{column} is {getattr(state, column)!r}, the log tells {row[column]!r}"
            yield Difference(where=kind, message=message, index=known.index, object=f"{kind} {state.id}")
    elif chain is not None and not told.unprovable(kind, state.id, chain):
        index = known.index if known else None
        message = "no entry tells of it" if known is None else f"version {state.version}, the log tells {known.version}"
        yield Difference(where=kind, message=message, index=index, object=f"{kind} {state.id}")


def _missing(db: sqlite3.Connection, told: Replay) -> Iterator[Difference]:
    for (kind, id), known in told.rows.items():
        if not known.whole and known.chain in told.erased:
            continue  # a recovered log may tell the later steps of what it no longer tells the beginning of
        if db.execute(f'select 1 from "{kind}" where id = ?', (id,)).fetchone() is None:
            yield Difference(where=kind, message="the row is missing", index=known.index, object=f"{kind} {id}")


def _mirror(db: sqlite3.Connection, entry: CatalogEntry) -> Iterator[Difference]:
    """A mirror of the catalogue follows from the record and the registration that the origin signed."""
    try:
        record = msgspec.json.decode(_payload(db, entry.document), type=CatalogRecord)
        registration = msgspec.json.decode(_payload(db, record.registration_sha256), type=Registration)
    except msgspec.MsgspecError:
        yield Difference(where="catalog", message="its documents are not kept", object=f"catalog {entry.id}")
        return
    expected = mirrored(record, registration) | {"id": record.listing}
    for column, value in expected.items():
        if getattr(entry, column) != value:
            message = f"{column} is not what the catalogue record says"
            yield Difference(where="catalog", message=message, object=f"catalog {entry.id}")


def _payload(db: sqlite3.Connection, digest: str) -> bytes:
    row = db.execute("select payload from document where digest = ?", (digest,)).fetchone()
    return row[0] if row else b""


def _has_document(db: sqlite3.Connection, digest: str) -> bool:
    return db.execute("select 1 from document where digest = ?", (digest,)).fetchone() is not None


def _counters(db: sqlite3.Connection, told: Replay) -> Iterator[Difference]:
    stored = {(key, window): Used(used, at) for key, window, used, at in db.execute(
        'select key, "window", "used", at from counter')}  # fmt: skip
    time = read_head(db).time
    due = clock.shift(time, -WINDOWS_KEPT_S) if time else ""
    for name in sorted({*stored, *told.counters}):
        expected = told.counters.get(name)
        if stored.get(name) == expected or _unprovable(told, name[0]):
            continue
        if name not in stored and expected is not None and name[1] and expected.at < due:
            continue
        message = f"{_said(stored.get(name))} is used, the log tells {_said(expected)}"
        yield Difference(where="counter", message=message, object=" ".join(name).strip())


def _said(used: Used | None) -> str:
    return f"{used.amount} (last at {used.at})" if used else "nothing"


def _reservations(db: sqlite3.Connection, told: Replay) -> Iterator[Difference]:
    stored: dict[str, dict[tuple[str, str], int]] = {}
    for access, key, window, amount in db.execute('select access, key, "window", amount from reservation'):
        stored.setdefault(access, {})[key, window] = amount
    for access in sorted({*stored, *told.held}):
        held, expected = stored.get(access, {}), told.held.get(access, {})
        for name in sorted({*held, *expected}):
            if held.get(name) != expected.get(name) and not _unprovable(told, name[0]):
                message = f"{held.get(name)} of {name[0]} is held, the log tells {expected.get(name)}"
                yield Difference(where="reservation", message=message, object=f"access {access}")


def _unprovable(told: Replay, key: str) -> bool:
    """Whether the chain that a counter is counted in has entries that are erased or too old to tell."""
    if key.startswith("privacy/"):  # the ledger of many agreements: a gap in any of them may have told of it
        return any(kind == "agreement" for kind, _ in (*told.erased, *told.older))
    chain = ("agreement", key.partition("/")[0])
    return chain in told.erased or chain in told.older
