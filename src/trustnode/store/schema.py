"""Tables and their migrations. sqlite-utils runs them, each with its record in one transaction.

Decides: the tables, and that a store of a newer program is not opened. Leaves to others: what stands in them.

sqlite-utils is imported only when a migration is pending, and without pandas: where that is installed the import takes
more than a second (ecosystem 3), and a node starts within two.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Final

from trustnode.errors import error

if TYPE_CHECKING:
    from sqlite_utils import Database

_STATE_COLUMNS: Final = """
    id text primary key,
    state text not null,
    causes text not null,
    version integer not null,
    changed_at text not null,
    document text not null,
"""

_LOG: Final = """
create table head (
    one integer primary key check (one = 1),
    size integer not null,
    root blob not null,
    batch blob not null,
    time text not null
) strict;
create table entry (
    idx integer primary key,
    chain integer not null,
    seq integer not null,
    link blob not null,
    commitment blob not null
) strict;
create unique index entry_chain on entry (chain, seq);
create table statement (
    idx integer primary key,
    salt blob not null,
    body blob not null
) strict;
create table chain (
    id integer primary key,
    kind text not null,
    object text not null,
    seq integer not null,
    link blob not null,
    unique (kind, object)
) strict;
create table tile (
    level integer not null,
    number integer not null,
    data blob not null,
    primary key (level, number)
) strict;
"""

_MESSAGES: Final = """
create table document (
    digest text primary key,
    type text not null,
    payload blob not null,
    signatures text not null
) strict;
create table answer (
    event_id text primary key,
    body blob not null,
    at text not null
) strict;
create table outbox (
    id integer primary key autoincrement,
    peer text not null,
    object text not null,
    document text not null,
    supporting text not null,
    created_at text not null
) strict;
create index outbox_peer on outbox (peer, object, id);
create table feed (
    lane text not null,
    audience text not null,
    seq integer not null,
    digest text not null,
    documents text not null,
    origin text not null,
    path text not null,
    primary key (lane, audience, seq)
) strict, without rowid;
create table timer (
    kind text not null,
    id text not null,
    event text not null,
    time text not null,
    primary key (kind, id, event)
) strict, without rowid;
create index timer_time on timer (time, kind, id);
create table counter (
    key text not null,
    "window" text not null,
    "used" integer not null,
    at text not null,
    primary key (key, "window")
) strict, without rowid;
create table reservation (
    access text not null,
    key text not null,
    "window" text not null,
    amount integer not null,
    primary key (access, key, "window")
) strict, without rowid;
create table setting (
    name text primary key,
    value text not null
) strict, without rowid;
"""

_STATES: Final = f"""
create table participant ({_STATE_COLUMNS}
    name text not null, title text not null, roles text not null, custody text not null, kid text not null,
    home text not null, invited_until text not null, certificate_serial text not null
) strict;
create unique index participant_name on participant (name, id);
create table peering ({_STATE_COLUMNS}
    relation text not null, scopes text not null, applied_by text not null, card text not null,
    card_version integer not null, confirmed text not null, address text not null, max_listings integer not null
) strict;
create table product ({_STATE_COLUMNS}
    product_id text not null, provider text not null, product_version integer not null, level text not null,
    category text not null, title text not null, pending text not null, binding text not null,
    notice_until text not null
) strict;
create index product_provider on product (provider, id);
create table listing ({_STATE_COLUMNS}
    product text not null, provider text not null, visibility text not null, offers text not null, record text not null
) strict;
create index listing_product on listing (product, id);
create table catalog ({_STATE_COLUMNS}
    product text not null, origin text not null, path text not null, received_at text not null,
    registration text not null, offers text not null, level text not null, category text not null,
    visibility text not null, verification text not null
) strict;
create index catalog_product on catalog (product, id);
create index catalog_origin on catalog (origin, id);
create table negotiation ({_STATE_COLUMNS}
    product text not null, listing text not null, offer text not null, offer_name text not null,
    provider text not null, consumer text not null, provider_node text not null, consumer_node text not null,
    purpose text not null, number integer not null, proposed_by text not null, agreement text not null,
    waits_for text not null, lapses_at text not null
) strict;
create index negotiation_consumer on negotiation (consumer, id);
create index negotiation_provider on negotiation (provider, id);
create table agreement ({_STATE_COLUMNS}
    negotiation text not null, product text not null, product_id text not null, provider text not null,
    consumer text not null, provider_node text not null, consumer_node text not null, offer_name text not null,
    purpose text not null, start text not null, "end" text not null, policy text not null,
    ending_signed_by text not null
) strict;
create index agreement_product on agreement (product, id);
create index agreement_consumer on agreement (consumer, id);
create index agreement_provider on agreement (provider, id);
create table "grant" ({_STATE_COLUMNS}
    agreement text not null, holder text not null, provider_node text not null, not_before text not null,
    not_after text not null
) strict;
create index grant_agreement on "grant" (agreement, id);
create table access ({_STATE_COLUMNS}
    agreement text not null, product text not null, consumer text not null, consumer_node text not null,
    provider_node text not null, purpose text not null, grade text not null, decision_seq integer not null,
    decision_link text not null, plan_commitment text not null, stream_salt text not null, frames integer not null,
    rows integer not null, bytes integer not null, stream_commitment text not null, acked_frames integer not null,
    acked_rows integer not null, acked_bytes integer not null, receipt text not null, carrier_ack text not null,
    participant_ack text not null, cause text not null, cost_fen integer not null, resumes text not null,
    started_at text not null, ended_at text not null
) strict;
create index access_agreement on access (agreement, id);
create index access_state on access (state, id);
"""

_MIRROR: Final = """
create table mirror_head (
    origin text primary key,
    venue text not null,
    size integer not null,
    edges blob not null,
    note blob not null,
    time text not null,
    bytes integer not null
) strict;
create table mirror_entry (
    origin text not null,
    idx integer not null,
    object blob not null,
    seq integer not null,
    link blob not null,
    commitment blob not null,
    salt blob,
    body blob,
    primary key (origin, idx)
) strict, without rowid;
create unique index mirror_chain on mirror_entry (origin, object, seq);
create table mirror_document (
    origin text not null,
    digest text not null,
    primary key (origin, digest)
) strict, without rowid;
"""
_WITNESS: Final = """
create table checkpoint (
    size integer primary key,
    root blob not null,
    time text not null,
    note blob not null
) strict;
create table witnessed (
    origin text primary key,
    size integer not null,
    root blob not null,
    note blob not null,
    time text not null
) strict;
create table fork (
    origin text not null,
    size integer not null,
    root blob not null,
    held blob not null,
    shown blob not null,
    proof blob not null,
    hashes blob not null,
    proven integer not null,
    source text not null,
    time text not null,
    primary key (origin, size, root)
) strict;
"""


def _log(db: Database) -> None:
    """The evidence log."""
    db.executescript(_LOG)


def _messages(db: Database) -> None:
    """Documents, answers, outbox, feeds, timers, counters."""
    db.executescript(_MESSAGES)


def _states(db: Database) -> None:
    """One table for each class of ``core.states``."""
    db.executescript(_STATES)


def _search(db: Database) -> None:
    """The text index; triggers keep it true to its table."""
    search = db.table("search")
    search.create(
        {
            "position": int,
            "id": str,
            "title": str,
            "words": str,
            "facets": str,
            "level": str,
            "category": str,
            "venue": str,
            "visibility": str,
        },
        pk="position",
        not_null={"id", "title", "words", "facets", "level", "category", "venue", "visibility"},
        strict=True,
    )
    search.create_index(["id"], unique=True)
    search.enable_fts(["words", "facets"], tokenize="unicode61", create_triggers=True)
    db.table("search_viewer").create({"position": int, "viewer": str}, pk=("position", "viewer"), strict=True)


def _witness(db: Database) -> None:
    """Signed heads: ours, those that we cosigned for others, and forks."""
    db.executescript(_WITNESS)


def _mirror(db: Database) -> None:
    """Copies of other venues' logs."""
    db.executescript(_MIRROR)


def _days(db: Database) -> None:
    """What happened on one day is counted for every look at the status."""
    db.executescript(
        "create index access_started on access (started_at); create index agreement_start on agreement (start);"
    )


def _acts(db: Database) -> None:
    """What a peer did last with us: looked up whenever something new is agreed with it."""
    db.executescript(
        "create index agreement_provider_node on agreement (provider_node, start);"
        "create index access_provider_node on access (provider_node, state, ended_at);"
    )


def _noised(db: Database) -> None:
    """Answers with noise, to be given again."""
    db.executescript(
        "create table noised (key text primary key, until text not null, digest text not null, frames blob not null, "
        "at text not null) strict;"
    )


def _resumes(db: Database) -> None:
    """Who went on with a read: looked up whenever somebody does, within a unit."""
    db.executescript("create index access_resumes on access (resumes, agreement);")


def _duty(db: Database) -> None:
    """What was said of each duty of an agreement."""
    db.executescript(
        f"create table duty ({_STATE_COLUMNS} agreement text not null, duty text not null, covered text not null) "
        "strict; create index duty_agreement on duty (agreement, id);"
    )


STEPS: Final[tuple[tuple[str, Callable[[Database], None]], ...]] = (
    ("0001_log", _log),
    ("0002_messages", _messages),
    ("0003_states", _states),
    ("0004_search", _search),
    ("0005_witness", _witness),
    ("0006_mirror", _mirror),
    ("0007_days", _days),
    ("0008_acts", _acts),
    ("0009_noised", _noised),
    ("0010_resumes", _resumes),
    ("0011_duty", _duty),
)
"""In order; a step that was released is never changed, a new one is added behind it."""


def migrate(db: sqlite3.Connection) -> None:
    """Bring the tables to the state of this program.

    Raises:
        TrustnodeError: VERSION_UNSUPPORTED, the store was written by a newer program.
    """
    (version,) = db.execute("pragma user_version").fetchone()
    if version > len(STEPS):
        raise error("VERSION_UNSUPPORTED", f"the store has schema {version}; this program knows {len(STEPS)}")
    if version < len(STEPS):
        _apply(db)


def library() -> ModuleType:
    """sqlite-utils, without pandas, which it would load for types of columns that nothing here has."""
    hides = "pandas" not in sys.modules
    if hides:
        sys.modules["pandas"] = None  # type: ignore[assignment]  # the documented way to say that there is none
    try:
        import sqlite_utils
    finally:
        if hides:
            del sys.modules["pandas"]
    return sqlite_utils


def _apply(db: sqlite3.Connection) -> None:
    tool = library()
    migrations = tool.Migrations("trustnode")
    for name, step in STEPS:
        migrations(name=name)(step)
    migrations.apply(tool.Database(db))
    db.execute(f"pragma user_version = {len(STEPS)}")
