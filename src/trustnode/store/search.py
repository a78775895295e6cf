"""Text index over listings, own and remote: Chinese by closed bigrams, other scripts by whole words.

Decides: how text becomes tokens, the newest-first order with keyset pages, how far a query may look. Leaves to others:
which listings a viewer may see (the caller names the viewers of each text), what a hit shows.

Each CJK run is indexed as its bigrams and its last character, and a query ends in a prefix where its last character
stands alone; so a hit is exactly a substring of the run (ecosystem 4). Facets (level, category, venue, visibility) are
tokens too. They narrow a query of no or one word inside the index; with several words they are compared row by row,
which is faster there (fast-reads 3).
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

MAX_QUERY_CHARACTERS: Final = 256
SCANNED: Final = 3000
"""Matches that one call looks at; a page may be short and still have a next one."""
RANKED: Final = 500
"""Newest hits among which ``best`` chooses; ranking every match of a frequent word takes 50 ms (fast-reads 3)."""

_CJK: Final = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(f"[{_CJK}]+")
_LAST_ALONE = re.compile(f"(?:^|[^{_CJK}])[{_CJK}]$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class SearchText(msgspec.Struct, frozen=True, kw_only=True):
    """What is findable of one object."""

    title: str
    """Counts more than ``words`` in the order ``best``."""
    words: str = ""
    """All other text: abstract, names, column titles, separated by line feeds."""
    level: str = ""
    category: str = ""
    venue: str = ""
    visibility: str = ""
    viewers: tuple[str, ...] = ()
    """Who may find it; ``*``: everybody; empty: nobody."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a search. An empty set of a facet does not narrow."""

    viewer: str
    """Who looks. Finds what names it or ``*`` among its viewers."""
    text: str = ""
    """Terms separated by white space; all must occur. Empty: everything."""
    levels: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    venues: tuple[str, ...] = ()
    visibilities: tuple[str, ...] = ()
    order: Literal["newest", "best"] = "newest"
    """``best``: one page, those with more terms in the title first, out of the newest ``RANKED``."""
    before: int = 0
    """``Found.next`` of the page before; 0: the first page."""
    limit: int = 50


class Hit(NamedTuple):
    """One object that matches."""

    id: str
    position: int
    """Falls along the pages; an object that is indexed again moves to the front."""
    title: str


class Found(NamedTuple):
    """A page of hits."""

    hits: tuple[Hit, ...]
    next: int
    """``before`` of the next page; 0: there is none."""


def index_text(text: str) -> str:
    """Rewrite each CJK run as its bigrams and its last character."""
    return _RUN.sub(lambda run: _tokens(run[0], closed=True), text)


def match_term(term: str) -> str:
    """The FTS5 phrase that finds a term; a last character that stands alone becomes a prefix."""
    phrase = _RUN.sub(lambda run: _tokens(run[0], closed=run.end() < len(term)), term).strip()
    return '"' + phrase.replace('"', '""') + '"' + ("*" if _LAST_ALONE.search(term) else "")


def terms_of(text: str) -> list[str]:
    """The terms of what a person typed."""
    return _CONTROL.sub(" ", text[:MAX_QUERY_CHARACTERS]).split()


def _tokens(run: str, *, closed: bool) -> str:
    pairs = [run[i : i + 2] for i in range(len(run) - 1)]
    return " " + " ".join([*pairs, run[-1]] if closed or not pairs else pairs) + " "


def _facet(name: str, value: str) -> str:
    """A word that the tokenizer leaves whole, whatever stands in the value."""
    return "f" + hashlib.sha256(f"{name}\n{value}".encode()).hexdigest()[:16]


class Index:
    """The text index in one transaction or snapshot."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, id: str, text: SearchText) -> None:
        """Index an object in front of all others; replaces what stood under its id."""
        self.remove(id)
        facets = {"level": text.level, "category": text.category, "venue": text.venue, "visibility": text.visibility}
        row = self._db.execute(
            "insert into search (id, title, words, facets, level, category, venue, visibility) "
            "values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                id,
                text.title,
                index_text(f"{text.title}\n{text.words}"),
                " ".join(_facet(name, value) for name, value in facets.items()),
                *facets.values(),
            ),
        )
        self._db.executemany(
            "insert or ignore into search_viewer values (?, ?)", [(row.lastrowid, viewer) for viewer in text.viewers]
        )

    def remove(self, id: str) -> None:
        """Take an object out of the index."""
        self._db.execute("delete from search_viewer where position = (select position from search where id = ?)", (id,))
        self._db.execute("delete from search where id = ?", (id,))

    def search(self, query: Query) -> Found:
        """One page of what matches and what the viewer may see."""
        if query.order == "best":
            return self._best(query)
        return _page(self._matches(query), query.limit)

    def _best(self, query: Query) -> Found:
        newest = _page(self._matches(query), RANKED).hits
        terms = [term.casefold() for term in terms_of(query.text)]
        ranked = sorted(newest, key=lambda hit: -sum(term in hit.title.casefold() for term in terms))
        return Found(tuple(ranked[: query.limit]), 0)

    def _matches(self, query: Query) -> Iterator[tuple[Hit, bool]]:
        """Everything that matches the words, newest first, with whether facets and viewer fit."""
        facets = [(name, values) for name, values in _facets(query) if values]
        match = _expression(query.text, facets)
        fits = [f"s.{name} in (select value from json_each(?))" for name, _ in facets]
        shown = " and ".join([*fits, _SEEN])
        if match:
            source = "search_fts f cross join search s on s.position = f.rowid where f.search_fts match ? and f.rowid"
        else:
            source = "search s where s.position"
        order = "f.rowid" if match else "s.position"
        rows = self._db.execute(
            f"select s.id, s.position, s.title, {shown} from {source} < ? order by {order} desc",
            (
                *(msgspec.json.encode(values).decode() for _, values in facets),
                query.viewer,
                *([match] if match else []),
                query.before or _FIRST_PAGE,
            ),
        )
        for row in rows:
            yield Hit(*row[:3]), bool(row[3])


_SEEN: Final = "exists (select 1 from search_viewer v where v.position = s.position and v.viewer in ('*', ?))"
_FIRST_PAGE: Final = 2**62


def _facets(query: Query) -> Sequence[tuple[str, tuple[str, ...]]]:
    return (
        ("level", query.levels),
        ("category", query.categories),
        ("venue", query.venues),
        ("visibility", query.visibilities),
    )


def _expression(text: str, facets: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    """The FTS5 expression; empty where nothing narrows."""
    terms = terms_of(text)
    parts = [f"words : {match_term(term)}" for term in terms]
    if len(terms) < 2:
        parts += [f"facets : ({' OR '.join(_facet(name, one) for one in values)})" for name, values in facets if values]
    return " AND ".join(parts)


def _page(matches: Iterator[tuple[Hit, bool]], limit: int) -> Found:
    """Take hits until the page is full or enough was looked at."""
    hits: list[Hit] = []
    for looked_at, (hit, shown) in enumerate(matches, start=1):
        if shown:
            hits.append(hit)
        if len(hits) >= limit or looked_at >= SCANNED:
            return Found(tuple(hits), hit.position)
    return Found(tuple(hits), 0)
