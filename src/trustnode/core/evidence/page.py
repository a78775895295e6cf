"""The result of a verification as one page that a lawyer reads and files: HTML without script or anything from outside.

Decides: what stands on the page, in which order, and that nothing in a bundle can become mark-up. Leaves to others:
what is true (``verify``), the words of terms (``policy.explain``) and of both languages (``page_words``).
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from trustnode.core.catalog import Registration
from trustnode.core.contract import Agreement, Offer
from trustnode.core.document import Document, Statement, decode, name_of
from trustnode.core.evidence.bundle import Contents, unpack
from trustnode.core.evidence.page_words import KEEPERS, LIMITS, MEANINGS, STEPS, WORDS, Language
from trustnode.core.evidence.report import AccessLine, Report
from trustnode.core.policy import explain
from trustnode.core.policy.terms import Terms
from trustnode.errors import TrustnodeError

S = TypeVar("S", bound=Statement)
STYLE: Final = """
body{font:15px/1.5 Georgia,"Songti SC",serif;max-width:60em;margin:2em auto;padding:0 1.5em;color:#1a1a1a}
h1{font-size:1.5em;margin-bottom:.2em}h2{font-size:1.1em;margin:1.8em 0 .4em;border-bottom:1px solid #bbb}
p.verdict{font-size:1.15em;padding:.6em .9em;border-left:.4em solid}
p.yes{border-color:#2b7a3d;background:#eef7f0}p.no{border-color:#a12622;background:#fbeeee}
table{border-collapse:collapse;width:100%;font-size:.88em}
td,th{border-bottom:1px solid #ddd;padding:.3em .6em .3em 0;text-align:left;vertical-align:top}
th{font-weight:600}td.n{text-align:right;white-space:nowrap}
code{font:.9em Menlo,Consolas,monospace;overflow-wrap:anywhere}
.small{font-size:.85em;color:#555}@media print{body{margin:0;max-width:none}tr{break-inside:avoid}}
"""
SHOWN_ACCESSES: Final = 5_000
"""Rows of the table of accesses; what is beyond is counted."""


def page(report: Report, data: bytes, language: Language = "en") -> str:
    """Write the page.

    Args:
        report: What the verification of ``data`` found.
        data: The bundle.
        language: ``en`` or ``zh``.

    Returns:
        One HTML document. It refers to nothing outside itself and forbids its reader's browser to run anything.
    """
    words = WORDS[language]
    body = "\n".join(_body(report, data, language))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!DOCTYPE html>\n<html lang="{words["lang"]}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{_text(words['title'])} {_text(report.agreement)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _body(report: Report, data: bytes, language: Language) -> Iterator[str]:
    words, contents = WORDS[language], _contents(data)
    yield f"<h1>{_text(words['title'])}</h1>"
    yield f'<p class="small">{_text(report.agreement)}</p>'
    yield _verdict(report, language)
    if contents is not None:
        yield from _agreed(report, contents, language)
        yield from _terms(contents, language)
    yield from _trust(report, language)
    yield from _sealed(report, language)
    yield from _accesses(report, language)
    yield from _checks(report, language)
    yield f"<h2>{_text(words['limits'])}</h2>"
    yield _list(LIMITS[language])
    yield f"<h2>{_text(words['file'])}</h2>"
    yield f"<p>SHA-256 <code>{hashlib.sha256(data).hexdigest()}</code><br>{_text(words['again'])}</p>"


def _contents(data: bytes) -> Contents | None:
    try:
        return unpack(data)
    except (TrustnodeError, ValueError):
        return None


def _verdict(report: Report, language: Language) -> str:
    words, counts = WORDS[language], report.counts
    kind = "yes" if report.is_verified else "no"
    said = MEANINGS[language][report.verdict]
    if report.is_verified:
        said += words["verified"].format(entries=counts.entries, receipts=counts.receipts, rows=f"{counts.rows:,}")
        said += words["witnessed" if not report.unwitnessed else "unwitnessed"].format(count=counts.cosigned)
    return f'<p class="verdict {kind}"><strong>{_text(report.verdict)}</strong>: {_text(said)}</p>'


# --- what was agreed ------------------------------------------------------------------------------------------------


def _agreed(report: Report, contents: Contents, language: Language) -> Iterator[str]:
    words = WORDS[language]
    value = contents.value()
    yield f"<h2>{_text(words['agreed'])}</h2>"
    yield _pairs(
        (words[name], text)
        for name, text in (
            ("product", _product(contents, value)),
            ("provider", value.provider.participant),
            ("provider_node", value.provider_node),
            ("consumer", value.consumer.participant),
            ("consumer_node", value.consumer_node),
            ("purpose", value.purpose or words["none"]),
            ("price", str(value.price)),
            ("period", f"{_time(value.start)} – {_time(value.end)}"),
            ("signed_by", _signers(value, language)),
            ("in_force", _step_text(report, 7)),
        )
    )


def _product(contents: Contents, value: Agreement) -> str:
    found = (_read(document, Registration) for document in contents.documents.values())
    titles = [one.title for one in found if one is not None and one.product == value.product]
    title = f" ({titles[0]})" if titles else ""
    return f"{value.product}{title}, v{value.product_version}"


def _read(document: Document | None, kind: type[S]) -> S | None:
    """A document of a file that need not be in order."""
    try:
        return decode(document, kind) if document is not None and document.name == name_of(kind) else None
    except TrustnodeError:
        return None


def _signers(value: Agreement, language: Language) -> str:
    words = WORDS[language]
    by_mandate = words["mandate"].format(venue=value.provider_node)
    provider = by_mandate if value.mandate is not None else value.provider.participant
    return f"{provider}; {value.consumer.participant}"


def _terms(contents: Contents, language: Language) -> Iterator[str]:
    """The readable terms of the offer; check 6 compares them with the policy that was signed."""
    offer = _read(contents.documents.get(contents.value().offer_sha256), Offer)
    if offer is None:
        return
    words = WORDS[language]
    yield f"<h2>{_text(words['terms'])}</h2>"
    rows = (
        (line.key, (line.zh if language == "zh" else line.words), KEEPERS[language].get((line.kept or "").upper(), ""))
        for line in _lines(offer)
    )
    yield _table((words["term"], words["meaning"], words["kept"]), rows)
    yield f'<p class="small">{_text(words["offer"])} {_text(offer.name)}</p>'


def _lines(offer: Offer) -> tuple[explain.Line, ...]:
    try:
        return explain.lines(msgspec.json.decode(offer.terms, type=Terms), str(offer.price))
    except (TrustnodeError, msgspec.MsgspecError):
        return ()


# --- whom this rests on ---------------------------------------------------------------------------------------------


def _trust(report: Report, language: Language) -> Iterator[str]:
    words = WORDS[language]
    yield f"<h2>{_text(words['trust'])}</h2>"
    rows = [(one.domain, one.value, words["anchored"]) for one in report.anchors]
    rows += [(one.domain, "", words["vouched"].format(by=one.value)) for one in report.vouched]
    rows += [(one.domain, one.value, words["relied_on"]) for one in report.relied_on]
    yield _table((words["venue"], words["fingerprint"], words["standing"]), rows)
    notes = [words["custody"].format(who=who) for who in report.custody]
    notes += [words["one_venue"]] if report.one_venue else []
    notes += [words["withheld"].format(count=report.withheld)] if report.withheld else []
    grades = ", ".join(f"{count} {grade}" for grade, count in report.grades)
    notes += [words["grades"].format(grades=grades)] if grades else []
    yield _list(notes)


def _sealed(report: Report, language: Language) -> Iterator[str]:
    words = WORDS[language]
    yield f"<h2>{_text(words['sealing'])}</h2>"
    if report.sealed_at:
        yield f"<p>{_text(words['sealed'].format(time=_time(report.sealed_at)))}</p>"
    if report.unwitnessed:
        yield f"<p><strong>{_text(words['not_witnessed'])}</strong></p>"
    yield _list(words["asks"].format(log=one.domain, who=one.value) for one in report.asks)
    yield _table(
        (words["log"], words["witness"], words["time"], words["size"]),
        ((one.log, one.witness, _time(one.time), f"{one.size:,}") for one in report.cosigned),
    )
    yield _list(words["as_of"].format(time=_time(one.value), domain=one.domain) for one in report.as_of)


# --- reads ----------------------------------------------------------------------------------------------------------


def _accesses(report: Report, language: Language) -> Iterator[str]:
    words = WORDS[language]
    yield f"<h2>{_text(words['accesses'])}</h2>"
    headings = ("time", "access", "grade", "outcome", "rows", "cost", "receipt", "answered", "sealed_short")
    shown = report.accesses[:SHOWN_ACCESSES]
    yield _table(tuple(words[one] for one in headings), (_access(one, language) for one in shown), numbers=(4, 5))
    if len(report.accesses) > len(shown):
        yield f"<p>{_text(words['more'].format(count=len(report.accesses) - len(shown)))}</p>"
    if report.counts.refusals:
        yield f"<p>{_text(words['refused'].format(count=report.counts.refusals))}</p>"


def _access(one: AccessLine, language: Language) -> tuple[str, ...]:
    words = WORDS[language]
    return (
        _time(one.time), one.id, one.grade, one.outcome or words["no_receipt"], f"{one.rows:,}",
        f"{one.cost_fen // 100:,}.{one.cost_fen % 100:02d}", one.receipt[:16] or "-",
        words["yes"] if one.acknowledged else words["no"],
        _time(one.sealed_at) if one.sealed_at else words["not_yet"],
    )  # fmt: skip


# --- checks ---------------------------------------------------------------------------------------------------------


def _checks(report: Report, language: Language) -> Iterator[str]:
    words = WORDS[language]
    yield f"<h2>{_text(words['checks'])}</h2>"
    rows = (
        (str(step.number), STEPS[language][step.number], words.get(step.outcome, step.outcome), step.text)
        for step in report.steps
    )
    yield _table(("", words["check"], words["result"], words["shown"]), rows)
    yield _list(f"{one.step}. {one.verdict}: {one.message}" for one in report.findings)
    yield _list(report.remarks)


def _step_text(report: Report, number: int) -> str:
    return next((step.text for step in report.steps if step.number == number), "")


# --- mark-up --------------------------------------------------------------------------------------------------------


def _text(text: str) -> str:
    """Text that stays text: escaped, and without characters that would turn or break the line."""
    return html.escape("".join(c if c == " " or c.isprintable() else "�" for c in text))


def _time(time: str) -> str:
    return f"{time[:19].replace('T', ' ')} UTC" if time else ""


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    found = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return f"<table>{found}</table>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    body = "".join(
        "<tr>" + "".join(f"<td{_class(at in numbers)}>{_text(cell)}</td>" for at, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    if not body:
        return ""
    head = "".join(f"<th>{_text(one)}</th>" for one in headings)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _class(is_number: bool) -> str:
    return ' class="n"' if is_number else ""


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""
