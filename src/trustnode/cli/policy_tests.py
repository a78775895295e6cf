"""``trustnode policy test``: the examples of a product file, each decided under the offers it is about.

Decides: which example is tried under which offer, and how what came out is compared and shown. Leaves to others: the
decision (``core.policy.example``), planning SQL (``source.plan``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trustnode.cli import output, source
from trustnode.core import clock
from trustnode.core.policy import example as examples
from trustnode.core.policy.example import ALLOW, Example
from trustnode.errors import TrustnodeError, error

if TYPE_CHECKING:
    from trustnode.core.contract import Offer
    from trustnode.sdk.product_file import ProductFile
    from trustnode.sdk.product_text import ExampleTable


class Ended(NamedTuple):
    """One example under one offer."""

    offer: str
    name: str
    expected: str
    found: str
    """``allow``, or the reason."""
    message: str

    @property
    def passed(self) -> bool:
        """Whether what came out was expected."""
        return self.expected == self.found

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {**self._asdict(), "passed": self.passed}


def run(file: ProductFile, names: Sequence[str], other: Path | None) -> list[Ended]:
    """Decide every example.

    Args:
        file: The product file.
        names: Only under these offers; empty: all.
        other: A file with the examples, in place of those of the product file.

    Raises:
        TrustnodeError: NOT_FOUND where there is none; a word or a time of an example that cannot be read, with the
            place of the example.
    """
    from trustnode.sdk.product_text import read_examples

    tables = read_examples(other) if other else file.contents.test
    offers = file.offers(source.header(), names=names)
    known = [offer.name for offer in file.contents.offer]
    for table in tables:
        if table.offer and table.offer not in known:
            raise error("NOT_FOUND", f"test {table.name!r}: {file.name} has no offer {table.offer}", field="offer")
    ended = [
        _try(file, offer, table, None if other else number)
        for number, table in enumerate(tables)
        for offer in offers
        if table.offer in (None, offer.name)
    ]
    if not ended:
        step = "Write [[test]] with name, purpose, who and expect below the offers."
        raise error("NOT_FOUND", f"{file.name} has no test for its offers", next_step=step)
    return ended


def _try(file: ProductFile, offer: Offer, table: ExampleTable, number: int | None) -> Ended:
    """One example; what cannot be read is refused with its name, and its place where it stands in the product file."""
    example = Example(
        name=table.name, expect=table.expect, purpose=table.purpose, who=table.who or (), places=table.places or (),
        time=table.time, signed=table.signed, operation=table.operation, done=table.done or (),
        overdue=table.overdue or (),
    )  # fmt: skip

    def answer() -> tuple[str, str]:
        try:
            return _answer(file, offer, example, table.sql)
        except TrustnodeError as problem:
            raise error(problem.reason, f"test {table.name!r}: {problem.message}", **problem.metadata) from None

    found, message = answer() if number is None else file.text.at(("test", number), answer)
    return Ended(offer.name, table.name, table.expect, found, message)


def _answer(file: ProductFile, offer: Offer, example: Example, sql: str) -> tuple[str, str]:
    zone, now = file.contents.product.zone, clock.moment(source.now())
    decision = examples.decide(offer.policy, example, zone, now)
    if decision.outcome != "ALLOW" or not sql:
        return examples.answer_of(decision), decision.words
    ready, request = examples.ready_for(offer.policy, example, zone, now)
    area = max((place for place in request.areas if place.isdigit()), key=len, default="")
    table = file.tables[0]
    try:
        governed = ready.governed(table.columns, table=table.name, consumer_id=request.consumer, consumer_area=area)
        source.plan(file, governed, sql)
    except TrustnodeError as refusal:
        return refusal.reason, refusal.message
    return ALLOW, ""


def lines(ended: Sequence[Ended]) -> list[str]:
    """One line an example, and a sum."""
    failed = sum(not one.passed for one in ended)
    rows = [("FAIL" if not one.passed else "ok", one.offer, one.name, _result(one)) for one in ended]
    width = max(output.width(row[2]) for row in rows)
    shown = [f"{word:<4}  {offer:<12}  {output.pad(name, width)}  {result}" for word, offer, name, result in rows]
    return [*shown, f"{len(ended) - failed} passed, {failed} failed"]


def _result(one: Ended) -> str:
    said = f" ({one.message})" if one.message else ""
    return f"{one.found}{said}" if one.passed else f"{one.found}{said}; expected {one.expected}"
