"""The page for people: it says what was found, in two languages, and nothing in a bundle becomes mark-up."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from unit.evidence.deal_world import Deal, Venue

from trustnode.core.evidence.page import page
from trustnode.core.evidence.page_words import KEEPERS, LANGUAGES, LIMITS, MEANINGS, STEPS, WORDS
from trustnode.core.evidence.report import MEANING, Finding, Report
from trustnode.core.evidence.verify import CHECKS, verify_bundle

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e\"'&"
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "strong", "table", "thead", "tbody", "tr", "th",
    "td", "ul", "li", "code", "br",
}  # fmt: skip


class Reader(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


@pytest.fixture(scope="module")
def deal():
    return Deal(quorum=True, lies={"deny": {}})


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_tells_what_was_agreed_sealed_delivered_and_checked(deal, language):
    file = deal.file()
    report = verify_bundle(file, deal.anchors)
    shown = read(page(report, file, language)).text
    for told in (
        "VERIFIED", deal.provider, deal.consumer, "gz.example/flights", "Flights", "0.02 CNY per row",
        *deal.anchors.values(), *(request.id for request in deal.requests), "zj.example", "nat.example",
    ):  # fmt: skip
        assert told in shown, told
    assert all(STEPS[language][number] in shown for number in range(1, 15))
    assert all(line in shown for line in LIMITS[language])
    assert WORDS[language]["refused"].format(count=1) in shown


def test_the_page_runs_nothing_and_refers_to_nothing_outside(deal):
    file = deal.file()
    html = page(verify_bundle(file, deal.anchors), file)
    reader = read(html)
    assert set(reader.tags) <= ALLOWED
    assert {name for name, _ in reader.attributes} <= {"lang", "charset", "http-equiv", "content", "class"}
    assert "default-src 'none'" in html
    assert not re.search(r"https?:|//|url\(|@import|javascript:", html.replace("spiffe://", ""))


def everywhere(value: Any) -> Any:
    """A report with a hostile text in every place that holds text."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(
            value, **{name: everywhere(getattr(value, name)) for name in value.__struct_fields__}
        )
    if isinstance(value, tuple):
        return tuple(map(everywhere, value))
    return HOSTILE if isinstance(value, str) and value not in MEANING else value


@pytest.mark.parametrize("language", LANGUAGES)
def test_l23_hostile_text_in_any_field_stays_text(deal, language):
    file = deal.file()
    report = everywhere(verify_bundle(file, deal.anchors))
    html = page(report, file, language)
    assert set(read(html).tags) <= ALLOWED
    assert "<script" not in html
    assert not any(mark in html for mark in ("\x1b", "\u202e"))


def test_l23_hostile_names_inside_a_signed_document_stay_text():
    """Whoever signs a registration chooses its title; the page does not run it."""
    hostile = Deal(reads=(5,), lies={"registration": {"title": HOSTILE.replace("\x1b", "")}})
    html = page(verify_bundle(hostile.file(), hostile.anchors), hostile.file())
    assert "&lt;script&gt;" in html
    assert set(read(html).tags) <= ALLOWED


def test_what_is_wrong_and_whom_it_rests_on_is_told(deal):
    file = deal.file()
    report = verify_bundle(file)
    shown = read(page(report, file)).text
    assert "UNANCHORED" in shown
    assert "relied on, not compared" in shown
    assert "the quorum of the log of gz.example rests on" in shown


def test_a_file_that_is_no_bundle_has_a_page_too():
    shown = read(page(verify_bundle(b"PK"), b"PK")).text
    assert "INVALID" in shown
    assert "not reached" in shown


@pytest.mark.parametrize(
    "kind", [{"custody": "CUSTODY", "grade": "CUSTODY"}, {"one_venue": True}, {"ack": False}], ids=str
)
def test_custody_one_venue_and_silence_are_told(kind):
    deal = Deal(**kind)
    shown = read(page(verify_bundle(deal.file(), deal.anchors), deal.file())).text
    wanted = {"custody": "its venue holds its key", "one_venue": "ONE_VENUE", "ack": "\nno\n"}
    assert all(text in shown for name, text in wanted.items() if name in kind)


def test_an_unwitnessed_deal_says_so(deal):
    plain = Deal()
    shown = read(page(verify_bundle(plain.file(), plain.anchors), plain.file())).text
    assert "Unwitnessed: when the entries were made rests on the word of the venues." in shown


def test_both_languages_say_everything():
    assert set(WORDS["en"]) == set(WORDS["zh"])
    assert set(MEANINGS["en"]) == set(MEANINGS["zh"]) == set(MEANING)
    assert set(KEEPERS["en"]) == set(KEEPERS["zh"])
    assert len(LIMITS["en"]) == len(LIMITS["zh"])
    assert all(set(STEPS[language]) == {check.number for check in CHECKS} for language in LANGUAGES)
    for name, text in WORDS["en"].items():
        assert set(re.findall(r"\{(\w+)\}", text)) == set(re.findall(r"\{(\w+)\}", WORDS["zh"][name])), name


def test_a_finding_is_shown_with_its_step():
    deal = Deal(witnesses=(Venue("nat.example", "NATIONAL"),))
    report = Report(verdict="INVALID", steps=(), findings=(Finding(9, "INVALID", "the receipt does not fit"),))
    assert "9. INVALID: the receipt does not fit" in read(page(report, deal.file())).text
