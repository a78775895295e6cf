"""Verification of a bundle, as a pure function: bytes and what the reader trusts in, a report out (protocol 11).

Decides: the fourteen checks in their order and the verdict. Leaves to others: each check (``checks``), the form of the
file (``bundle``), how the report is shown (``report``). Needs no clock, no network and no node.

The verdict is VERIFIED with the remark ``unwitnessed`` where the agreement names no witness policy and the reader asks
for none; where one is named and not met it is UNWITNESSED.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from trustnode.core.document import Document
from trustnode.core.evidence.bundle import unpack
from trustnode.core.evidence.checks import deal, keys, logs, reads, witnesses
from trustnode.core.evidence.checks.case import Case
from trustnode.core.evidence.quorum import parse_policy
from trustnode.core.evidence.report import Finding, Report, Step, verdict_of
from trustnode.core.identity import parse_fingerprint
from trustnode.errors import TrustnodeError, error


class Check(NamedTuple):
    """One check of protocol 11."""

    number: int
    title: str
    run: Callable[[Case], str]


def check_print(case: Case) -> str:
    """14. What a reader must know besides: it is in the report."""
    return "as of " + (
        ", ".join(f"{time} at {domain}" for domain, time in sorted(case.as_of.items())) or "no signed head"
    )


BOTH_SIDES: Final = 11
"""Number of the check that compares the two logs."""
CHECKS: Final[tuple[Check, ...]] = (
    Check(1, "file", keys.check_form),
    Check(2, "cards", keys.check_cards),
    Check(3, "logs", witnesses.check_checkpoints),
    Check(4, "entries", logs.check_inclusion),
    Check(5, "chains", logs.check_chains),
    Check(6, "agreement", deal.check_agreement),
    Check(7, "in force", deal.check_in_force),
    Check(8, "decisions", reads.check_decisions),
    Check(9, "receipts", reads.check_receipts),
    Check(10, "answers", reads.check_acknowledgements),
    Check(BOTH_SIDES, "both sides", reads.check_both_sides),
    Check(12, "limits", reads.check_limits),
    Check(13, "stops", reads.check_stops),
    Check(14, "as of", check_print),
)


def verify_bundle(
    data: bytes,
    anchors: Mapping[str, str] | None = None,
    trust: Sequence[Document] = (),
    witness_policy: str = "",
) -> Report:
    """Verify a bundle.

    Args:
        data: The file.
        anchors: Trust domain -> fingerprint of its card as the reader compared it, in any spelling of
            ``parse_fingerprint``.
        trust: Cards that the reader holds for genuine. Each anchors its venue, and the venues that it recognised as
            their parent count as vouched for by it.
        witness_policy: A tlog-policy besides the one that the agreement names; empty: none.

    Returns:
        The report; only the verdict VERIFIED means that every check held.

    Raises:
        TrustnodeError: FIELD_FORMAT, USAGE and as ``check_card``: an anchor, a trusted card or the policy is unusable.
    """
    trusted, marks = keys.trusted_cards(tuple(trust))
    wanted = {domain: parse_fingerprint(mark) for domain, mark in (anchors or {}).items()}
    if any(marks.get(domain, mark) != mark for domain, mark in wanted.items()):
        raise error("USAGE", "an anchor and a trusted card of one venue differ")
    if witness_policy:
        parse_policy(witness_policy)
    try:
        contents = unpack(data)
    except (TrustnodeError, msgspec.MsgspecError) as problem:
        return _unreadable(str(getattr(problem, "message", problem)))
    return _run(Case(contents, {**marks, **wanted}, trusted, witness_policy))


def _run(case: Case) -> Report:
    steps: list[Step] = []
    broken = False
    for check in CHECKS:
        if broken:
            steps.append(Step(check.number, check.title, "NOT_CHECKED", ""))
            continue
        text, broken = _one(case, check)
        verdict = verdict_of(finding for finding in case.findings if finding.step == check.number)
        steps.append(Step(check.number, check.title, verdict, text))
    return Report(
        verdict=verdict_of(case.findings), steps=tuple(steps), findings=tuple(case.findings), **case.facts()
    )  # fmt: skip


def _one(case: Case, check: Check) -> tuple[str, bool]:
    """Run one check; what it cannot go on from ends the examination."""
    case.step = check.number
    try:
        return check.run(case), False
    except TrustnodeError as problem:
        case.find("INVALID", problem.message or problem.reason)
        return "", True


def _unreadable(message: str) -> Report:
    first = CHECKS[0]
    others = tuple(Step(check.number, check.title, "NOT_CHECKED", "") for check in CHECKS[1:])
    return Report(
        verdict="INVALID",
        steps=(Step(first.number, first.title, "INVALID", ""), *others),
        findings=(Finding(first.number, "INVALID", message),),
    )
