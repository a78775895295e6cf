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
from trustnode.core.tracing import MarkSecret, Opening
from trustnode.engine.leak import Copies, Found, Marked, Original, Suspicious
from trustnode.engine.source import Source, source_of
from trustnode.errors import error
from trustnode.home import MASK_KEY_FILE
from trustnode.keys import read_credentials, read_secret
from trustnode.store import check
from trustnode.store.unit import View

__all__ = ["Copy", "Named", "Suspicious", "Traced", "evidence", "trace"]

_MOST: Final = 100_000
"""Agreements on one product."""
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

    copies: tuple[Copy, ...]
    """Under each of his agreements; all of them carry one mark."""
    suspect: tracing.Suspect
    marker_rows: int
    """Of his marker rows, those that the file holds."""

    @property
    def name(self) -> str:
        """SPIFFE id of the recipient."""
        return self.suspect.name

    @property
    def copy(self) -> Copy:
        """The copy that he had first."""
        return self.copies[0]


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
    pairs: tuple[tracing.Pair, ...]
    """Two who put their copies together."""

    @property
    def accused(self) -> tuple[Named, ...]:
        """Those of whom it is as good as certain, alone or as one of a pair."""
        return tuple(one for one in self.recipients if one.suspect.is_accused or one.name in self.paired)

    @property
    def paired(self) -> frozenset[str]:
        """Names of those who put their copies together."""
        return frozenset(name for pair in self.pairs for name in pair.names)


def _credentials(home: Path, source: Source) -> dict[str, dict[str, str]]:
    name = source.credentials
    return {name: read_credentials(home, name, source.kind, source.location)} if name else {}


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
    source = _kept(original, table) if original else prepared.source
    with Original(source, table, file, _credentials(home, source)) as rows:
        counted = {group: rows.count(group) for group in _groups(copies)}
        held = {copy.agreement: rows.marker_rows(_marked(copy)) for copy in copies}
    return _traced(handle, file, copies, counted, held)


def _kept(original: Path, table: str) -> Source:
    """A file as the source of a table of this name; a database knows its tables itself."""
    source = source_of(str(original))
    return source if source.kind == "duckdb" else msgspec.structs.replace(source, tables={table: original.name})


def _copies(view: View, product: str, prepared: Prepared, secret: bytes, own: settings.Node) -> Iterable[Copy]:
    table = prepared.registration.tables[0]
    for state in view.find(AgreementState, product=product, order="start", limit=_MOST):
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
        opening = tracing.opening(secret, product, state.consumer, state.id)
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
    named: list[Named] = []
    pairs: list[tracing.Pair] = []
    most, in_all = 0, len({(_group(copy), copy.consumer) for copy in copies})
    for group, found in counted.items():
        bits = tracing.observed(found.votes)
        most = max(most, sum(bit in (0, 1) for bit in bits))
        own = [copy for copy in copies if _group(copy) == group]
        recipients = [tracing.Recipient(name, secret) for name, secret in _secrets(own).items()]
        for suspect in tracing.suspects(bits, recipients, in_all=in_all):
            theirs = tuple(copy for copy in own if copy.consumer == suspect.name)
            named.append(Named(theirs, suspect, max(held[copy.agreement] for copy in theirs)))
        pairs += tracing.pairs(bits, recipients, in_all=in_all)
    with file.path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return Traced(
        product=product, file=file.path.name, sha256=digest, rows=max(found.rows for found in counted.values()),
        known=max(found.known for found in counted.values()), bits=most,
        recipients=tuple(sorted(named, key=lambda one: (one.suspect.chance, one.name))),
        pairs=tuple(sorted(pairs, key=lambda pair: pair.chance)),
    )  # fmt: skip


def _secrets(copies: Iterable[Copy]) -> dict[str, MarkSecret]:
    return {copy.consumer: copy.opening.secret for copy in copies}


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
    mark, secret = one.copy.table.mark, one.copy.opening.secret
    return {
        "consumer": one.name,
        "bits": {"seen": one.suspect.seen, "agreeing": one.suspect.agreeing},
        "marker_rows": one.marker_rows,
        "mark": {"column": mark.column, "quantum": mark.quantum, "key": mark.key} if mark else {},
        "secret": {"key": secret.key.hex(), "codeword": secret.codeword.hex(), "seed": secret.seed.hex()},
        "commitments": [
            {
                "agreement": copy.agreement,
                "commitment": copy.committed,
                "log_index": copy.log_index,
                "salt": copy.opening.salt.hex(),
                "is_opened": copy.is_committed,
            }
            for copy in one.copies
        ],
    }
