"""Finding listings: Chinese by substring, other scripts by word, newest first, nothing that the viewer may not see."""

import re
import sqlite3
from contextlib import closing, contextmanager
from types import NoneType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustnode.store import schema, search
from trustnode.store.search import Index, Query, SearchText


@pytest.fixture(scope="module")
def empty():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.migrate(db)
        yield db


@contextmanager
def indexed(db, texts):
    """An index over texts, the first one the oldest; taken back afterwards."""
    db.execute("savepoint texts")
    try:
        index = Index(db)
        for id, text in texts.items():
            index.put(id, text if isinstance(text, SearchText) else SearchText(title=text, viewers=("*",)))
        yield index
    finally:
        db.execute("rollback to texts")
        db.execute("release texts")


def ids(index, text="", **more):
    return [hit.id for hit in index.search(Query(viewer="zj", text=text, **more)).hits]


TITLES = {
    "1": "浙江省气象观测小时数据",
    "2": "Hourly weather stations of Zhejiang",
    "3": "企业信用记录，象限分析",
    "4": "气象，象限",
    "5": "象",
}


@pytest.mark.parametrize(
    "text, found",
    [
        ("气象", ["4", "1"]),
        ("象", ["5", "4", "3", "1"]),
        ("据", ["1"]),
        ("气象限", []),
        ("象限分", ["3"]),
        ("weather", ["2"]),
        ("WEATHER stations", ["2"]),
        ("weath", []),
        ("气象 象限", ["4"]),
        ("  ", ["5", "4", "3", "2", "1"]),
        ("，", []),
        ('"', []),
        ('气象" OR "象', []),
        ("words : 气象", []),
        ("NEAR(气 象)", []),
        ("气象*", ["4"]),
        ("\x00气象", ["4", "1"]),
        ("- ^ ( ) : *", []),
    ],
)
def test_terms_find_what_holds_all_of_them_the_newest_first(empty, text, found):
    with indexed(empty, TITLES) as index:
        assert ids(index, text) == found


CHARACTERS = "气象数据信用㐀豈𠀀𪜀"
RUNS = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(CHARACTERS + "，a 1", max_size=12), min_size=1, max_size=12),
    st.lists(st.text(CHARACTERS, min_size=1, max_size=5), min_size=1, max_size=8),
)
def test_a_chinese_term_finds_exactly_the_texts_that_contain_it(empty, texts, terms):
    with indexed(empty, {str(i): text for i, text in enumerate(texts)}) as index:
        for term in terms:
            scanned = [str(i) for i, text in enumerate(texts) if any(term in run for run in RUNS.findall(text))]
            assert ids(index, term) == scanned[::-1]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_no_text_that_somebody_types_breaks_the_query(empty, text):
    with indexed(empty, TITLES) as index:
        index.search(Query(viewer="zj", text=text))
        index.search(Query(viewer="zj", text=text, venues=(text,)))


VENUES = {
    "a": SearchText(title="气象", level="L2", category="PUBLIC", venue="zj", visibility="PUBLIC", viewers=("*",)),
    "b": SearchText(title="气象", level="L3", category="ENTERPRISE", venue="gz", visibility="NETWORK", viewers=("*",)),
    "c": SearchText(
        title="气象 信用", level="L3", category="ENTERPRISE", venue="gz", visibility="INVITED", viewers=("zj", "bj")
    ),
    "d": SearchText(title="气象", level="L3", category="ENTERPRISE", venue="gz", visibility="INVITED", viewers=("bj",)),
    "e": SearchText(title="气象", level="L3", category="ENTERPRISE", venue="gz", visibility="INVITED"),
}


@pytest.mark.parametrize("text", ["", "气象", "气象 气"])
def test_facets_narrow_alike_with_none_one_and_several_terms(empty, text):
    with indexed(empty, VENUES) as index:
        assert ids(index, text) == ["c", "b", "a"]
        assert ids(index, text, venues=("gz",)) == ["c", "b"]
        assert ids(index, text, venues=("gz", "zj"), levels=("L2",)) == ["a"]
        assert ids(index, text, visibilities=("INVITED", "NETWORK")) == ["c", "b"]
        assert ids(index, text, categories=("nothing",)) == []


def test_an_invited_listing_is_found_by_whom_it_names_only(empty):
    with indexed(empty, VENUES) as index:
        found = {who: [h.id for h in index.search(Query(viewer=who)).hits] for who in ("zj", "bj", "", "*")}
    assert found == {"zj": ["c", "b", "a"], "bj": ["d", "c", "b", "a"], "": ["b", "a"], "*": ["b", "a"]}


def test_pages_by_key_hold_everything_once(empty):
    with indexed(empty, {str(i): "气象" for i in range(23)}) as index:
        seen, before = [], 0
        while True:
            page = index.search(Query(viewer="zj", text="气象", limit=5, before=before))
            seen += [hit.id for hit in page.hits]
            before = page.next
            if not before:
                break
    assert seen == [str(i) for i in reversed(range(23))]


def test_a_page_that_looked_far_enough_ends_and_goes_on(empty, monkeypatch):
    monkeypatch.setattr(search, "SCANNED", 10)
    texts = {str(i): SearchText(title="气象 数据", venue="zj" if i < 3 else "gz", viewers=("*",)) for i in range(30)}
    with indexed(empty, texts) as index:
        seen, pages, before = [], 0, 0
        while True:
            page = index.search(Query(viewer="zj", text="气象 数据", venues=("zj",), before=before))
            seen += [hit.id for hit in page.hits]
            pages, before = pages + 1, page.next
            if not before:
                break
    assert (seen, pages) == (["2", "1", "0"], 4)


def test_the_best_of_the_newest_have_the_term_in_the_title(empty):
    texts = {
        "title": SearchText(title="Weather of Zhejiang", viewers=("*",)),
        "abstract": SearchText(title="Stations", words="weather", viewers=("*",)),
    }
    with indexed(empty, texts) as index:
        assert ids(index, "weather") == ["abstract", "title"]
        assert ids(index, "weather", order="best") == ["title", "abstract"]


def test_what_is_indexed_again_has_its_new_words_and_moves_to_the_front(empty):
    with indexed(empty, TITLES) as index:
        index.put("1", SearchText(title="企业信用", viewers=("*",)))
        assert ids(index, "气象") == ["4"]
        assert ids(index, "信用") == ["1", "3"]
        index.remove("1")
        assert ids(index, "信用") == ["3"]


async def test_a_unit_indexes_and_a_failed_unit_does_not(store):
    text = SearchText(title="气象", viewers=("*",))

    def fails(tx):
        tx.index("lost", text)
        raise ValueError

    await store.write(lambda tx: tx.index("kept", text), event_id="", returns=NoneType)
    with pytest.raises(ValueError):
        await store.write(fails, event_id="", returns=NoneType)
    found = await store.read(lambda view: view.search(Query(viewer="zj", text="气象")))
    assert [hit.id for hit in found.hits] == ["kept"]
    await store.write(lambda tx: tx.unindex("kept"), event_id="", returns=NoneType)
    assert (await store.read(lambda view: view.search(Query(viewer="zj", text="气象")))).hits == ()
