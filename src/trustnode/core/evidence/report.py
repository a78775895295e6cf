"""What a verification found: the verdict, a line for each check, and what a reader must know to judge it.

Decides: the verdict that several findings make, and how a report is printed. Leaves to others: every finding
(``checks``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

Verdict = Literal["VERIFIED", "INVALID", "INCOMPLETE", "UNANCHORED", "UNWITNESSED"]
ORDER: Final[tuple[Verdict, ...]] = ("INVALID", "INCOMPLETE", "UNANCHORED", "UNWITNESSED")
"""The first of these that was found is the verdict (protocol 11)."""
MEANING: Final[dict[Verdict, str]] = {
    "VERIFIED": "verified",
    "INVALID": "not verified: something in it is not what was signed or logged",
    "INCOMPLETE": "not verified: something is left out",
    "UNANCHORED": "consistent, but nobody you trust vouches for these keys",
    "UNWITNESSED": "consistent, but the witnesses that were agreed did not cosign it",
}


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    step: int
    """Of protocol 11, 1 to 14."""
    verdict: Verdict
    message: str


class Step(msgspec.Struct, frozen=True):
    """One check as it is printed."""

    number: int
    title: str
    outcome: Verdict | Literal["NOT_CHECKED"]
    text: str


class Named(msgspec.Struct, frozen=True):
    """Something said of one venue: a fingerprint, who vouches for it, a time."""

    domain: str
    value: str


class Cosignature(msgspec.Struct, frozen=True):
    """A witness's signature under the newest checkpoint of a log."""

    log: str
    """Trust domain."""
    witness: str
    """Trust domain."""
    time: str
    size: int
    """Entries of the log that it covers."""
    anchored: bool
    """Whether somebody the reader trusts vouches for the witness."""


class AccessLine(msgspec.Struct, frozen=True, kw_only=True):
    """One access: what was asked, delivered and answered."""

    id: str
    time: str
    """Of the decision, by the provider's node."""
    grade: str
    outcome: str
    """COMPLETE or ABORTED; empty: no receipt."""
    rows: int
    bytes: int
    cost_fen: int
    receipt: str
    """Digest."""
    acknowledged: bool
    sealed_at: str
    """When witnesses had cosigned the entry of its receipt; empty: not witnessed."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What was there."""

    entries: int = 0
    """In the chains of all parts."""
    proven: int = 0
    accesses: int = 0
    refusals: int = 0
    receipts: int = 0
    rows: int = 0
    cost_fen: int = 0
    acknowledged: int = 0
    cosigned: int = 0
    """Witnesses that cosigned, by distinct keys."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a verification."""

    verdict: Verdict
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...] = ()
    agreement: str = ""
    product: str = ""
    provider: str = ""
    consumer: str = ""
    anchors: tuple[Named, ...] = ()
    """Domains that an anchor names, with the fingerprint."""
    vouched: tuple[Named, ...] = ()
    """Domains that an anchored venue vouches for, with that venue."""
    relied_on: tuple[Named, ...] = ()
    """Domains that nothing anchors, with the fingerprint of the newest card: what the reader would have to compare."""
    grades: tuple[tuple[str, int], ...] = ()
    """How often each grade of request occurs."""
    custody: tuple[str, ...] = ()
    """Participants whose venue holds their key."""
    one_venue: bool = False
    """One venue keeps both sides' evidence: there is no second log to compare with."""
    withheld: int = 0
    """Entries of which only the commitment is here: withheld by the maker, or erased at the node."""
    unwitnessed: bool = True
    """No quorum of witnesses was agreed or met."""
    unacknowledged: tuple[str, ...] = ()
    """Accesses whose receipt nobody acknowledged."""
    sealed_at: str = ""
    """When witnesses had cosigned the agreement (protocol 1.4); empty: they had not, or nobody has to."""
    asks: tuple[Named, ...] = ()
    """Logs, with who has to cosign them by the agreement."""
    cosigned: tuple[Cosignature, ...] = ()
    accesses: tuple[AccessLine, ...] = ()
    unsealed: tuple[str, ...] = ()
    """Accesses that no quorum has cosigned yet."""
    as_of: tuple[Named, ...] = ()
    """Nothing later than these times is covered."""
    remarks: tuple[str, ...] = ()
    counts: Counts = Counts()

    @property
    def is_verified(self) -> bool:
        """Whether every check held."""
        return self.verdict == "VERIFIED"


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """The first of ``ORDER`` that was found."""
    found = {finding.verdict for finding in findings}
    return next((verdict for verdict in ORDER if verdict in found), "VERIFIED")


def lines(report: Report) -> Iterator[str]:
    """The report as it is printed."""
    for step in report.steps:
        mark = {"VERIFIED": "ok", "NOT_CHECKED": "-"}.get(step.outcome, step.outcome)
        yield f"{step.number:>2}  {step.title:<13} {mark:<11} {step.text}".rstrip()
    for finding in report.findings:
        yield f"    {finding.verdict}: {finding.message}"
    yield from _facts(report)
    yield summary(report)


def _facts(report: Report) -> Iterator[str]:
    for mark in report.anchors:
        yield f"anchored     {mark.domain} {mark.value}"
    for mark in report.vouched:
        yield f"vouched for  {mark.domain} by {mark.value}"
    for mark in report.relied_on:
        yield f"relied on    {mark.domain} {mark.value}: compare this fingerprint with the venue"
    if report.grades:
        yield "requests     " + ", ".join(f"{count} {grade}" for grade, count in report.grades)
    for participant in report.custody:
        yield f"custody      {participant}: its venue holds its key and can sign in its name"
    if report.one_venue:
        yield "ONE_VENUE    both parties are at one venue: no second log to compare with"
    if report.withheld:
        yield f"not shown    {report.withheld} entries are withheld or erased; the chain verifies without them"
    yield from _witnessed(report)
    for access in report.unacknowledged:
        yield f"no answer    access {access}: its receipt is not acknowledged"
    yield from (f"note         {remark}" for remark in report.remarks)
    for mark in report.as_of:
        yield f"as of        {mark.value} at {mark.domain}; nothing after that is covered"


def _witnessed(report: Report) -> Iterator[str]:
    for asked in report.asks:
        yield f"witnesses    of {asked.domain}: {asked.value}"
    for one in report.cosigned:
        yield f"cosigned     {one.log} at {one.size} entries by {one.witness} at {one.time}"
    if report.sealed_at:
        yield f"sealed       the agreement by {report.sealed_at}"
    if report.unwitnessed:
        yield "UNWITNESSED  no quorum of other venues has cosigned these logs"
    for access in report.unsealed:
        yield f"unwitnessed  access {access}: no quorum has cosigned it yet"


def summary(report: Report) -> str:
    """The last line: the verdict, and what was verified."""
    if not report.is_verified:
        return f"{report.verdict}: {MEANING[report.verdict]}"
    counts = report.counts
    by = f", cosigned by {counts.cosigned}" if counts.cosigned else ", unwitnessed"
    cost = f", {counts.cost_fen // 100}.{counts.cost_fen % 100:02d} CNY" if counts.cost_fen else ""
    receipts = f"{counts.receipts} receipt" + ("" if counts.receipts == 1 else "s")
    return f"verified: {counts.entries} of {counts.entries} entries, no gap{by}; {receipts}, {counts.rows:,} rows{cost}"
