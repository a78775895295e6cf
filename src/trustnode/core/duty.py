"""Duties that somebody has to show as done: the proof, when each falls due, its state.

Decides: which duties of an agreement are watched, who may say that one is done, what a proof covers, when the next one
is due, and the state table. Leaves to others: reading duties out of a policy (``policy.duties``), what was delivered,
and what follows when one is overdue (``app.duties``).

A use report is due once in each interval from the start of the agreement, and covers all use up to its ``until``. What
is paid or erased for deliveries is due so long after the first delivery that no proof covers; what is paid a month, so
long after the month. Payment is the payee's word: the provider confirms it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from trustnode.core import clock
from trustnode.core.catalog import needs
from trustnode.core.contract import Agreement
from trustnode.core.document import Digest, Required, Statement, Time
from trustnode.core.lifecycle import Machine, Row, State
from trustnode.core.policy import chinese, duties, grammar, odrl
from trustnode.core.policy.duration import Duration, parse, to_words
from trustnode.errors import error

Rule = Literal["once", "interval", "month", "delivery", "cost"]
"""What a due date counts from: the start, each interval, each month, the first delivery or first cost not covered."""
Prover = Literal["consumer", "provider"]
_MONTH: Final = Duration(1, 0)
_NOTHING: Final = Duration(0, 0)


class DutyProof(Statement, tag="duty-proof", kw_only=True, frozen=True):
    """A party says that a duty of its agreement is done: the debtor of a report or erasure, the payee of a payment."""

    agreement: Annotated[str, msgspec.Meta(min_length=47, max_length=47)]
    agreement_sha256: Digest
    duty: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z:]{1,64}$(?!\n)")]
    """Name of the duty, as ``policy.duties`` gives it: ``inform:USE``."""
    until: Time
    """What it covers reaches to here: use, deliveries, payments since the proof before."""
    statement: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    attached: Digest | None = None
    """SHA-256 of a statement that was handed over in another way."""

    def required(self) -> tuple[Required, ...]:
        """The party that says it."""
        return (Required(self.iss, "participant"),)


class DutyState(State, kw_only=True, frozen=True):
    """One duty of one agreement since something was first said about it; ``document`` is the newest proof."""

    agreement: str = ""
    duty: str = ""
    covered: str = ""
    """Up to when proofs cover it; empty: there is none."""


@dataclass(frozen=True)
class DutyFacts:
    """What the guards look at."""

    covers: bool = False
    overdue: bool = False


_covers = needs("covers", "DUPLICATE", "it is shown as done up to then already")
_overdue = needs("overdue", "ILLEGAL_TRANSITION", "it is not due")

DUTY: Final = Machine[DutyFacts](
    name="duty",
    kind="agreement",
    states=("FULFILLED", "VIOLATED"),
    terminal=frozenset(),
    rows=(
        Row(None, "fulfil", "PC", "FULFILLED", "proof.fulfil", _covers),
        Row(None, "overdue", "T", "VIOLATED", "proof.overdue", _overdue),
        Row("FULFILLED", "fulfil", "PC", "FULFILLED", "proof.fulfil", _covers),
        Row("FULFILLED", "overdue", "T", "VIOLATED", "proof.overdue", _overdue),
        Row("VIOLATED", "fulfil", "PC", "FULFILLED", "proof.fulfil", _covers),
    ),
)
"""A duty of which nothing was said yet is OPEN and has no row."""


# --- what is watched


class Watched(NamedTuple):
    """A duty that falls due, or that reads wait for."""

    name: str
    rule: Rule
    prover: Prover
    """Whose word shows it as done."""
    within: Duration | None
    """How long after what it counts from it is due; None: at no time, something else waits for it."""
    every: Duration
    """Of ``interval`` and ``month``."""
    words: str
    zh: str


def watched(agreement: Agreement) -> tuple[Watched, ...]:
    """The duties of an agreement whose state somebody keeps; all others rest on the contract alone."""
    found = (_watched(agreement, *place) for place in duties.places(agreement.policy))
    return tuple({one.name: one for one in found if one is not None}.values())


def _watched(agreement: Agreement, path: str, duty: odrl.Duty, place: duties.Place) -> Watched | None:
    read = duties.read(duty, path, place)
    owed = duties.owed(read, place)
    if owed.action == "compensate" and owed.timing == "BEFORE":
        price = str(agreement.price)
        return Watched(owed.name, "once", "provider", None, _NOTHING, f"pay {price}", f"付款: {chinese.price(price)}")
    if owed.kept != "proven":
        return None
    if owed.action == "inform":
        said = _said(grammar.Owed("report", read.one("timeInterval")), owed.words)
        every = parse(read.one("timeInterval")) or _MONTH
        return Watched(owed.name, "interval", "consumer", parse(read.one("delayPeriod")) or _NOTHING, every, *said)
    if owed.action == "delete":
        span = to_words(owed.within) or owed.within
        said = f"erase each copy within {span}", f"副本于{chinese.keep(span)}"
        return Watched(owed.name, "delivery", "consumer", parse(owed.within), _NOTHING, *said)
    rules: dict[str, Rule] = {"MONTH": "month", "ONCE": "once"}
    rule = rules.get(agreement.price.unit, "cost")
    said = _said(grammar.Owed("pay", owed.within), owed.words)
    return Watched(owed.name, rule, "provider", parse(owed.within), _MONTH, *said)


def _said(owed: grammar.Owed, otherwise: str) -> tuple[str, str]:
    """A duty as the terms have it, in English and Chinese; as its policy has it where terms have no words for it."""
    sentence = grammar.duty_words(owed)
    return (sentence, chinese.duty(sentence)) if sentence else (otherwise, otherwise)


# --- when it is due


def _point(agreement: Agreement, one: Watched, number: int) -> str:
    """End of the period with this number; 0: the start of the agreement."""
    step = Duration(one.every.months * number, one.every.seconds * number)
    return clock.text(step.after(clock.moment(agreement.start)))


def periods(agreement: Agreement, one: Watched, covered: str) -> int:
    """How many periods are shown as done: a report counts for the whole one it is given in, a payment for whole months.

    Args:
        agreement: Whose start the periods count from.
        one: A duty of the rule ``interval`` or ``month``.
        covered: Canonical time; empty: nothing is covered.
    """
    if not covered:
        return 0
    passed = (clock.moment(covered) - clock.moment(agreement.start)).total_seconds()
    number = max(0, int(passed // one.every.at_most_s))
    while _point(agreement, one, number) < covered:
        number += 1
    exact = _point(agreement, one, number) == covered
    return number if one.rule == "interval" or exact else max(0, number - 1)


def period_ends(agreement: Agreement, one: Watched, covered: str) -> str:
    """When the period ends for which something is owed next."""
    return _point(agreement, one, periods(agreement, one, covered) + 1)


def due_at(agreement: Agreement, one: Watched, covered: str, first_open: str, ended: str) -> str:
    """When the next proof is due; empty: at no time.

    Args:
        agreement: Its terms.
        one: One of its duties.
        covered: Up to when proofs cover it; empty: there is none.
        first_open: End of the first delivery (of ``cost``: that costs something) which no proof covers; empty: none.
        ended: When the agreement ended or will end; no period begins from then on.
    """
    if one.within is None:
        return ""
    counts_from = first_open
    if one.rule == "once":
        counts_from = "" if covered else agreement.start
    elif one.rule in ("interval", "month"):
        done = periods(agreement, one, covered)
        counts_from = _point(agreement, one, done + 1) if _point(agreement, one, done) < ended else ""
    return clock.text(one.within.after(clock.moment(counts_from))) if counts_from else ""


def usual_until(agreement: Agreement, one: Watched, covered: str, now: str) -> str:
    """What a proof made now covers if nobody says otherwise: the oldest period that is owed, else all so far."""
    if one.rule not in ("interval", "month"):
        return now
    ends = period_ends(agreement, one, covered)
    return ends if one.rule == "month" else min(ends, now)


def why_not(agreement: Agreement, one: Watched, covered: str, first_open: str, until: str) -> str:
    """Why a proof up to ``until`` shows nothing that is owed; empty: it does."""
    if one.rule == "once":
        return "it is done" if covered else ""
    if one.rule == "interval":
        point = _point(agreement, one, periods(agreement, one, covered))
        return f"it was given for this period; the next one begins at {point}" if covered and until <= point else ""
    if one.rule == "month":
        ends = period_ends(agreement, one, covered)
        return f"the month for which it is owed next ends at {ends}" if until < ends else ""
    return "" if first_open and first_open <= until else "nothing was delivered that it would be owed for"


# --- for people -------------------------------------------------------------------------------------------------------


class Delivery(NamedTuple):
    """As much of a receipt as a due date counts from."""

    ended: str
    rows: int
    cost_fen: int


class Standing(NamedTuple):
    """One duty as it stands."""

    duty: Watched
    state: str
    """OPEN, FULFILLED or VIOLATED."""
    due_at: str
    """Canonical; empty: at no time, or nothing is owed now."""
    covered: str
    """Up to when proofs cover it; empty: there is none."""

    def data(self) -> dict[str, str]:
        """For programs."""
        return {
            "duty": self.duty.name,
            "words": self.duty.words,
            "words_zh": self.duty.zh,
            "shown_by": self.duty.prover,
            "state": self.state,
            "due_at": self.due_at,
            "covered_until": self.covered,
        }


def standing(
    agreement: Agreement, one: Watched, state: str, proof: DutyProof | None, deliveries: Iterable[Delivery], ended: str
) -> Standing:
    """A duty as a party sees it.

    Args:
        agreement: Its terms.
        one: The duty.
        state: Of its row at the node; empty: there is none.
        proof: The newest one.
        deliveries: Those under the agreement; looked at only where the duty counts from them.
        ended: As of ``due_at``.
    """
    covered = proof.until if proof else ""
    ends = (d.ended for d in deliveries if d.ended > covered and (d.rows if one.rule == "delivery" else d.cost_fen))
    first_open = min(ends, default="") if one.rule in ("delivery", "cost") else ""
    due = due_at(agreement, one, covered, first_open, ended)
    if state == "VIOLATED":
        return Standing(one, state, due, covered)
    return Standing(one, "FULFILLED" if covered and not due else "OPEN", due, covered)


def counts_deliveries(agreement: Agreement) -> bool:
    """Whether a duty of an agreement is owed for what was delivered."""
    return any(one.rule in ("delivery", "cost") for one in watched(agreement))


def standings(
    agreement: Agreement, said: Mapping[str, tuple[str, DutyProof | None]], deliveries: Sequence[Delivery], ended: str
) -> tuple[Standing, ...]:
    """Every watched duty of an agreement as a party sees it.

    Args:
        agreement: Its terms.
        said: Duty -> state and newest proof of its row at the node, where there is one.
        deliveries: As of ``standing``; needed where ``counts_deliveries``.
        ended: As of ``due_at``.
    """
    return tuple(
        standing(agreement, one, *said.get(one.name, ("", None)), deliveries, ended) for one in watched(agreement)
    )


def named(known: Sequence[Standing], name: str) -> Standing:
    """The duty of a name, which may leave out that it stands alone in the policy: ``delete``, ``obligation:delete``.

    Raises:
        TrustnodeError: NOT_FOUND, with the names there are.
    """
    one = next((one for full in (name, f"obligation:{name}") for one in known if one.duty.name == full), None)
    if one is None:
        names = ", ".join(one.duty.name for one in known) or "none"
        raise error("NOT_FOUND", f"no duty {name} can be shown as done here; there is: {names}", field="duty")
    return one
