"""A copy of a log grows only by what follows, and shows only what opens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import pytest

from trustnode.core.evidence import chain, tree
from trustnode.core.evidence.chain import ChainEnd
from trustnode.core.evidence.edges import TileEdges
from trustnode.core.evidence.entry import Entry, statement
from trustnode.core.evidence.mirror import LogLine, check_head, check_lines
from trustnode.core.evidence.tree import TreeHead
from trustnode.errors import VerificationFailed

SALT = bytes(range(16))


def record(number: int, object: str) -> bytes:
    return statement(
        Entry(
            event_id=f"{number:032x}", type="peer.amend", time="2026-11-24T03:20:03.000Z", node_id="n",
            object_kind="peer", object=object,
        )
    )  # fmt: skip


@dataclass
class Log:
    """A log that is written beside its copy."""

    links: list[bytes] = field(default_factory=list)
    ends: dict[bytes, ChainEnd] = field(default_factory=dict)
    lines: list[LogLine] = field(default_factory=list)

    def add(self, object: str, *, shown: bool = True) -> LogLine:
        said, of = record(len(self.lines), object), chain.object_id("peer", object)
        committed = chain.commitment(SALT, said)
        end = self.ends[of] = chain.extend(self.ends.get(of, ChainEnd()), of, committed)
        self.links.append(end.link)
        opening = (SALT, said) if shown else (None, None)
        self.lines.append(LogLine(len(self.lines), of, end.seq, committed, *opening))
        return self.lines[-1]

    def edges(self, size: int) -> TileEdges:
        return TileEdges().grow([tree.leaf_hash(one) for one in self.links[:size]]).edges

    def proof(self, old: int) -> list[bytes]:
        growth = TileEdges().grow([tree.leaf_hash(one) for one in self.links])
        get = tree.hashes_in(lambda level, number: growth.tiles[level, number])
        return tree.prove_consistency(old, len(self.links), get)


@pytest.fixture
def log() -> Log:
    made = Log()
    for number in range(600):
        made.add(f"{number % 7}.example", shown=number % 3 == 0)
    return made


def changed(line: LogLine, **fields: object) -> LogLine:
    return msgspec.structs.replace(line, **fields)


def test_a_copy_that_grows_by_pages_has_the_root_of_the_log(log: Log):
    edges, ends = TileEdges(), {}
    for first in range(0, 600, 100):
        page = check_lines(edges, ends, log.lines[first : first + 100])
        edges = page.edges
        ends |= {one.line.object: ChainEnd(one.line.seq, one.link) for one in page.lines}
        check_head(edges, log.edges(600).head, log.proof(edges.size))
    assert edges == log.edges(600)
    assert ends == log.ends


def test_what_is_withheld_stays_a_hash(log: Log):
    said = [one.entry for one in check_lines(TileEdges(), {}, log.lines).lines]
    assert [entry is not None for entry in said] == [number % 3 == 0 for number in range(600)]
    assert said[0] is not None
    assert said[0].object == "0.example"


def tampered(log: Log) -> Iterable[tuple[str, list[LogLine]]]:
    lines = log.lines
    yield "gap", [lines[0], *lines[2:]]
    yield "twice", [lines[0], lines[0]]
    yield "not from the start", lines[1:]
    yield "number", [changed(lines[0], seq=2), *lines[1:]]
    yield "salt", [changed(lines[0], salt=bytes(16)), *lines[1:]]
    yield "short salt", [changed(lines[0], salt=b"1"), *lines[1:]]
    yield "salt alone", [changed(lines[0], statement=None), *lines[1:]]
    yield "statement of another", [changed(lines[0], statement=lines[3].statement), *lines[1:]]
    yield "another object", [changed(lines[0], object=lines[1].object), *lines[1:]]
    yield "short object", [changed(lines[1], object=b"1"), lines[0]]
    yield "short commitment", [changed(lines[0], commitment=b"1", salt=None, statement=None)]


@pytest.mark.parametrize("name", [name for name, _ in tampered(Log(lines=[LogLine(0, b"", 1, b"")] * 4))])
def test_a_page_that_does_not_follow_is_refused(log: Log, name: str):
    with pytest.raises(VerificationFailed):
        check_lines(TileEdges(), {}, dict(tampered(log))[name])


def test_l3_a_copy_with_one_entry_changed_has_another_root(log: Log):
    lines = list(log.lines)
    lines[1] = changed(lines[1], commitment=bytes(32))  # withheld: nobody can see that it opens to nothing
    page = check_lines(TileEdges(), {}, lines)
    with pytest.raises(VerificationFailed):
        check_head(page.edges, log.edges(600).head, ())


def test_a_log_that_went_back_or_forked_is_refused(log: Log):
    edges = check_lines(TileEdges(), {}, log.lines[:300]).edges
    with pytest.raises(VerificationFailed, match="went back"):
        check_head(edges, log.edges(299).head, ())
    with pytest.raises(VerificationFailed):
        check_head(edges, TreeHead(600, bytes(32)), log.proof(300))
    check_head(edges, log.edges(600).head, log.proof(300))
