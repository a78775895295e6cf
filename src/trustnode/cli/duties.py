"""Duties of an agreement: ``agreement duties``, ``agreement fulfil``.

Decides: the lines that say what is owed, by whom, until when, and what a proof covers if nobody says so. Leaves to
others: when something is due (``core.duty``), whether a proof counts (the node).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trustnode.cli import acts, output, session, source
from trustnode.cli.lazy import Command
from trustnode.cli.times import end_of_day
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.cli.values import Found, Item
    from trustnode.core.contract import Agreement
    from trustnode.core.duty import Standing

_STATES_ZH: Final = {"OPEN": "待履行", "FULFILLED": "已履行", "VIOLATED": "逾期"}
_PARTIES_ZH: Final = {"consumer": "使用方", "provider": "提供方"}


def _found(connection: Any, name: str) -> tuple[Found, Agreement]:
    found = connection.agreement(name)
    value = found.object.agreement()
    if value is None:
        raise error("NOT_FOUND", f"the node does not show the agreement {name}")
    return found, value


def _known(connection: Any, item: Item, value: Agreement) -> tuple[Standing, ...]:
    """Every duty of an agreement that somebody has to show as done."""
    from trustnode.core.duty import Delivery, DutyProof, counts_deliveries, standings

    said = {
        row.id.partition("/")[2]: (row.state, connection.decode(row.document, DutyProof) if row.document else None)
        for row in acts.everything(connection, "duty", agreement=item.id)
    }
    receipts = connection.all_receipts(item.id) if counts_deliveries(value) else []
    deliveries = [Delivery(one.ended, one.rows, one.cost_fen) for one in receipts]
    return standings(value, said, deliveries, item.changed_at if item.state == "TERMINATING" else value.end)


@click.command(cls=Command)
@click.argument("name")
def duties(name: str) -> None:
    """Show what is owed under an agreement, by whom, until when, and whether it is done."""
    with session.connect() as connection:
        found, value = _found(connection, name)
        known = _known(connection, found.object, value)
    rows = [_row(one) for one in known]
    heads = ("DUTY", "STATE", "DUE", "SHOWN BY", "WHAT")
    lines = output.table(heads, rows, flexible=4) if rows else []
    output.show_list([one.data() for one in known], lines, "")
    if not rows:
        output.note("nothing has to be shown as done under this agreement")


def _row(one: Standing) -> tuple[str, ...]:
    chinese = output.lang() == "zh"
    state = _STATES_ZH[one.state] if chinese else one.state
    by = _PARTIES_ZH[one.duty.prover] if chinese else one.duty.prover
    due = output.local_time(one.due_at) if one.due_at else _no_date(one, chinese=chinese)
    return one.duty.name, state, due, by, one.duty.zh if chinese else one.duty.words


def _no_date(one: Standing, *, chinese: bool) -> str:
    if one.state == "FULFILLED":
        return ""
    if one.duty.within is None:
        return "首次读取前" if chinese else "before reading"
    return "暂无应履行事项" if chinese else "nothing yet"


@click.command(cls=Command)
@click.argument("name")
@click.argument("duty")
@click.option("--until", "day", default="", metavar="DATE", help="Last day covered; default: the period that is owed.")
@click.option("--text", default="", help="What you state, in words; the other side sees it.")
@click.option(
    "--statement", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None,
    help="A file that says more: its SHA-256 is signed, the file stays here.",
)  # fmt: skip
def fulfil(name: str, duty: str, day: str, text: str, statement: Path | None) -> None:
    """Show that a duty is done: a use report, an erasure; as provider, that you were paid.

    The names of duties: trustnode agreement duties NAME.
    """
    from trustnode.core.duty import DutyProof, named, usual_until

    attached = hashlib.sha256(statement.read_bytes()).hexdigest() if statement else None
    with session.connect() as connection:
        found, value = _found(connection, name)
        one = named(_known(connection, found.object, value), duty)
        connection.acting()
        now = source.now()
        until = min(end_of_day(day, "until"), now) if day else usual_until(value, one.duty, one.covered, now)
        party = getattr(value, one.duty.prover).participant
        proof = DutyProof(
            suite="tn1", id=source.new_id(), iss=party if connection.is_operator else connection.participant,
            aud=tuple(sorted({value.consumer_node, value.provider_node})), time=now, agreement=found.object.id,
            agreement_sha256=found.object.digest, duty=one.duty.name, until=until, statement=text, attached=attached,
        )  # fmt: skip
        done = connection.submit(proof, signer=party.rpartition("/")[2] if connection.is_operator else "").object
    covered = output.local_time(proof.until)
    word = "shown" if done.state == "FULFILLED" else "shown, but more is overdue"
    output.show(
        {**done.data(), "agreement": found.object.id, "duty": proof.duty, "covered_until": proof.until},
        f"{word}  {proof.duty} of {acts.name_of(found.object)}, up to {covered}",
    )
