"""Whose copy leaked: a suspect file against every marked copy of a product that this node has delivered.

Decides: which agreements' copies there are, by the store of a home, whether its node runs or not, and what is written
down for whoever has to believe it. Leaves to others: counting marks (``engine.leak``), what they mean
(``core.tracing``), printing (``cli.trace``). Nothing is changed and no data leave.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from trustnode import config as settings
from trustnode.app.access import Prepared, prepared_product
from trustnode.core import tracing
from trustnode.core.access import AccessState
from trustnode.core.contract import Agreement, AgreementState
from trustnode.core.document import decode
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.identity import Card
from trustnode.core.peering import PeeringState
from trustnode.core.policy import compiled
from trustnode.core.policy.governed import GovernedTable
from trustnode.core.tracing import Opening
from trustnode.engine.leak import Copies, Found, Marked, Original, Suspicious
from trustnode.engine.source import Source, source_of
from trustnode.errors import error
from trustnode.home import MASK_KEY_FILE
from trustnode.keys.files import read_secret
from trustnode.store import check
from trustnode.store.unit import View

__all__ = ["Copy", "Named", "Suspicious", "Traced", "evidence", "trace"]

_SOMEWHERE: Final = "anywhere"
"""Stands for the area of a venue whose card is gone: only marker rows of terms that depend on it are not found then."""


class Copy(NamedTuple):
    """One agreement under which a marked copy was delivered."""

    agreement: str
    consumer: str
    table: GovernedTable
    hash_key: bytes
    opening: Opening
    committed: str
    """Commitment in the log; empty: there is none."""
    log_index: int
    """Of that entry; -1: there is none."""

    @property
    def is_committed(self) -> bool:
        """Whether the secrets of this node open what its log committed to before the first delivery."""
        return self.committed == self.opening.commitment


class Named(NamedTuple):
    """What a file says about one recipient."""

    copy: Copy
    suspect: tracing.Suspect
    marker_rows: int
    """Of its marker rows, those that the file holds."""


class Traced(NamedTuple):
    """What a file says about all recipients of a product."""

    product: str
    file: str
    sha256: str
    rows: int
    known: int
    """Rows of the file that are marked in a copy, found by their key."""
    bits: int
    """Bits of a codeword that were seen, at most."""
    recipients: tuple[Named, ...]
    """The most suspicious first."""
    pairs: tuple[tuple[Copy, Copy, tracing.Pair], ...]
    """Two who put their copies together."""

    @property
    def accused(self) -> tuple[Named, ...]:
        """Those of whom it is as good as certain, alone or as one of a pair."""
        paired = {copy.agreement for one, other, _ in self.pairs for copy in (one, other)}
        return tuple(one for one in self.recipients if one.suspect.is_accused or one.copy.agreement in paired)


def trace(home: Path, product: str, file: Suspicious, *, original: Path | None = None) -> Traced:
    """Compare a file with every marked copy of a product.

    Args:
        home: Folder of the node that delivered.
        product: Handle ``venue/name``, or the name alone.
        file: What turned up.
        original: The rows as they were delivered, where the source of the product has changed since.

    Raises:
        TrustnodeError: NOT_REGISTERED, SOURCE_UNCONFIRMED; NOT_FOUND, no marked copy was delivered; FIELD_FORMAT and
            FIELD_MISSING, the file cannot be read or has no such column.
    """
    loaded = settings.load(home, os.environ).config
    handle = product if "/" in product else f"{loaded.node.trust_domain}/{product}"
    secret = read_secret(home / "keys" / MASK_KEY_FILE)
    with check.reading(home / loaded.store.path) as view:
        prepared = prepared_product(view, handle)
        copies = tuple(_copies(view, handle, prepared, secret, loaded.node))
    if not copies:
        step = 'Offers mark copies by a line such as: trace = "mark amount by 0.01 key id"'
        raise error("NOT_FOUND", f"no marked copy of {handle} was delivered", next_step=step)
    table = prepared.registration.tables[0].name
    with Original(_kept(original, table) if original else prepared.source, table, file) as rows:
        counted = {group: rows.count(group) for group in _groups(copies)}
        held = {copy.agreement: rows.marker_rows(_marked(copy)) for copy in copies}
    return _traced(handle, file, copies, counted, held)


def _kept(original: Path, table: str) -> Source:
    """A file as the source of a table of this name; a database knows its tables itself."""
    source = source_of(str(original))
    return source if source.kind == "duckdb" else msgspec.structs.replace(source, tables={table: original.name})


def _copies(view: View, product: str, prepared: Prepared, secret: bytes, own: settings.Node) -> Iterable[Copy]:
    table = prepared.registration.tables[0]
    for state in view.find(AgreementState, product=product):
        document = view.document(state.document)
        if document is None or not view.find(AccessState, limit=1, agreement=state.id):
            continue
        ready = compiled.load(decode(document, Agreement).policy)
        if not ready.is_marked:
            continue
        area = own.area if state.consumer_node == own.trust_domain else _area(view, state.consumer_node)
        governed = ready.governed(
            table.columns, table=table.name, consumer_id=state.consumer, consumer_area=area
        ).tables[0]
        opening = tracing.opening(secret, product, state.id)
        hash_key = tracing.hash_key(secret, state.id)
        yield Copy(state.id, state.consumer, governed, hash_key, opening, *_committed(view, state.id))


def _area(view: View, domain: str) -> str:
    peering = view.get(PeeringState, domain)
    card = view.document(peering.card) if peering and peering.card else None
    return decode(card, Card).area if card else _SOMEWHERE


def _committed(view: View, agreement: str) -> tuple[str, int]:
    for line in view.evidence.chain("agreement", agreement):
        entry = parse_statement(line.statement) if line.statement else None
        if entry is not None and entry.mark_commitment is not None:
            return entry.mark_commitment, line.index
    return "", -1


def _groups(copies: Sequence[Copy]) -> Iterable[Copies]:
    """Copies that are marked in the same rows are counted once."""
    return dict.fromkeys(_group(copy) for copy in copies)


def _group(copy: Copy) -> Copies:
    mark = copy.table.mark
    masks = tuple(mask for mask in copy.table.masks if mark is not None and mask.column == mark.key)
    table = GovernedTable(copy.table.name, (), masks, None, mark)
    return Copies(table, copy.opening.secret.key, copy.hash_key if masks else b"")


def _marked(copy: Copy) -> Marked:
    return Marked(copy.table, copy.opening.secret, copy.hash_key)


def _traced(
    product: str, file: Suspicious, copies: Sequence[Copy], counted: Mapping[Copies, Found], held: Mapping[str, int]
) -> Traced:
    known = {copy.agreement: copy for copy in copies}
    named: list[tracing.Suspect] = []
    pairs: list[tracing.Pair] = []
    most = 0
    for group, found in counted.items():
        bits = tracing.observed(found.votes)
        most = max(most, sum(bit in (0, 1) for bit in bits))
        openings = [copy.opening for copy in copies if _group(copy) == group]
        named += tracing.suspects(bits, openings, recipients=len(copies))
        pairs += tracing.pairs(bits, openings, recipients=len(copies))
    named.sort(key=lambda one: (one.chance, one.agreement))
    pairs.sort(key=lambda pair: pair.chance)
    with file.path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return Traced(
        product=product, file=file.path.name, sha256=digest, rows=max(found.rows for found in counted.values()),
        known=max(found.known for found in counted.values()), bits=most,
        recipients=tuple(Named(known[one.agreement], one, held[one.agreement]) for one in named),
        pairs=tuple((known[pair.agreements[0]], known[pair.agreements[1]], pair) for pair in pairs),
    )  # fmt: skip


def evidence(found: Traced) -> dict[str, Any]:
    """What whoever judges needs: the file's digest, and for each accused what opens the commitment in the log.

    It holds the key of the product's marks: whoever has it finds the marks of every copy.
    """
    return {
        "product": found.product,
        "file": {"name": found.file, "sha256": found.sha256, "rows": found.rows, "known_rows": found.known},
        "accused": [_evidence_of(one) for one in found.accused],
    }


def _evidence_of(one: Named) -> dict[str, Any]:
    copy, mark, opened = one.copy, one.copy.table.mark, one.copy.opening
    return {
        "agreement": copy.agreement,
        "consumer": copy.consumer,
        "bits": {"seen": one.suspect.seen, "agreeing": one.suspect.agreeing},
        "marker_rows": one.marker_rows,
        "mark": {"column": mark.column, "quantum": mark.quantum, "key": mark.key} if mark else {},
        "commitment": {"value": copy.committed, "log_index": copy.log_index, "is_opened": copy.is_committed},
        "opening": {
            "salt": opened.salt.hex(),
            "key": opened.secret.key.hex(),
            "codeword": opened.secret.codeword.hex(),
            "seed": opened.secret.seed.hex(),
        },
    }
