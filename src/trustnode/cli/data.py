"""Using an agreement: ``explain``, ``read``, ``receipts``, ``cost``, ``access``.

Decides: what is shown, and where data go: stdout or ``-o``; everything else to stderr. Leaves to others: asking,
receiving, acknowledging (``sdk``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import click

from trustnode.cli import acts, asking, output, session, terms_view
from trustnode.cli.lazy import Command, Group
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.cli.values import Counter, Explanation, Outcome

SHOWN_ROWS: Final = 100
"""Rows that a terminal is shown at most; a pipe, ``--json`` and ``-o`` take all."""

with_option = click.option(
    "--with", "others", multiple=True, metavar="AGREEMENT", help="A further agreement that the query reads; repeatable."
)
sql_option = click.option("--sql", default="", help="The query; default: all that is delivered.")
purpose_option = click.option(
    "--purpose", default="", help="A purpose of the agreement; not needed where there is one."
)


# --- explain ----------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.argument("subject", metavar="AGREEMENT|PRODUCT")
@click.option("--offer", default="", help="Offer of a PRODUCT, before any contract.")
@with_option
@purpose_option
@sql_option
@click.pass_context
def explain(ctx: click.Context, subject: str, offer: str, others: tuple[str, ...], purpose: str, sql: str) -> None:
    """Say what a query would deliver, mask, filter, cost, and why; reads nothing."""
    with session.client() as connection:
        if offer or "/" in subject:
            if others:
                raise error("USAGE", "--with joins agreements; an offer is none yet")
            found = connection.explain_offer(subject, offer=offer, purpose=purpose, sql=sql)
        else:
            found = connection.explain(subject, purpose=purpose, sql=sql, others=others)
    if not found.allowed:
        metadata = {"next_step": found.next_step} if found.next_step else {}
        raise error(found.reason or "DEFAULT_DENIED", found.message, **metadata)
    output.show(found.data(), *explanation_lines(found))


def explanation_lines(found: Explanation) -> list[str]:
    """``10 of 56 columns, 3 masked; 8,505 of 10,000 rows; 170.10 CNY; reads nothing``, then the columns."""
    masked = sum(bool(column.mask) for column in found.columns)
    total = f" of {found.columns_total}" if found.columns_total else ""
    parts = [f"{len(found.columns)}{total} columns" + (f", {masked} masked" if masked else "")]
    if found.rows_estimate is not None:
        of = f" of {found.rows_total:,}" if found.rows_total is not None else ""
        parts.append(f"{found.rows_estimate:,}{of} rows")
    parts.append(output.money(found.price_fen) if found.price_fen is not None else found.price or "free")
    head = "; ".join([*parts, "reads nothing"])
    rows = [(column.name, column.type, column.unit, column.mask) for column in found.columns]
    counters = [_limit_line(counter) for counter in found.counters]
    lines = [head, *output.table(("COLUMN", "TYPE", "UNIT", "MASK"), rows)]
    return [*lines, *(f"limit    {line}" for line in counters)]


def _limit_line(counter: Counter) -> str:
    """``50 reads per day: 3 used``; a privacy budget says itself what is left, and until when."""
    if counter.unit != "questions":
        return f"{counter.text}: {counter.used:,} used"
    return counter.text + (
        f", until {counter.window_ends_at[:16].replace('T', ' ')} UTC" if counter.window_ends_at else ""
    )


# --- read -------------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.argument("agreement")
@with_option
@purpose_option
@sql_option
@click.option("-o", "target", type=click.Path(dir_okay=False, path_type=Path), help="File: .parquet, .csv, .arrow.")
def read(agreement: str, others: tuple[str, ...], purpose: str, sql: str, target: Path | None) -> None:
    """Read under AGREEMENT: to the screen, or complete into a file.

    With --with one query joins products of several agreements of one venue; each must allow it, each is counted and
    paid. Where two tables have one name, write agreement_<short name>.<table>.
    """
    if target is not None:
        from trustnode.sdk.output import check_suffix

        check_suffix(target)
    with session.client() as connection:
        if target is None:
            done = connection.read(agreement, purpose=purpose, sql=sql, others=others)
        else:
            with Progress() as progress:
                done = connection.save(
                    agreement, target, purpose=purpose, sql=sql, progress=progress.rows, others=others
                )
    under = f"  under {len(done.receipt.shares)} agreements" if len(done.receipt.shares) > 1 else ""
    words = f"{output.count(done.rows, 'row')}{under}  {output.money(done.receipt.cost_fen)}  {_signatures(done)}"
    if target is None:
        _print(done)
        output.note(f"receipt {done.receipt.name}  {words}")
        return
    if done.rows_before:
        output.note(f"went on at row {done.rows_before + 1:,}")
    output.note(f"done    {target}  receipt {done.receipt.name}  {words}")
    if output.is_json():
        output.show({**done.data(), "file": str(target)})


def _signatures(done: Outcome) -> str:
    return "both signatures in both logs" if len(done.receipt.signed_by) > 1 else "not yet countersigned"


class Progress:
    """Rows so far, on stderr, where a person looks."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty() and not output.options().get("quiet")
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        """Show the line."""
        if self._shown:
            from rich.console import Console
            from rich.progress import Progress as Line
            from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn())
            self._progress = Line(*columns, console=Console(stderr=True), transient=True)
            self._progress.start()
            self._task = self._progress.add_task("", total=None)
        return self

    def __exit__(self, *problem: object) -> None:
        """Take the line away."""
        if self._progress is not None:
            self._progress.stop()

    def rows(self, count: int) -> None:
        """So many rows are here."""
        if self._progress is not None:
            self._progress.update(self._task, completed=count)


def _print(done: Outcome) -> None:
    """The answer as a table, or as an object with ``--json``."""
    is_for_people = sys.stdout.isatty() and not output.is_json()
    names, rows = done.columns, done.first_rows(SHOWN_ROWS if is_for_people else done.rows)
    if output.is_json():
        values = [dict(zip(names, row, strict=True)) for row in rows]
        output.show({**done.data(), "columns": list(names), "items": values, "next_page_token": ""})
        return
    for line in result_table(names, rows):
        click.echo(line)
    if done.rows > len(rows):
        output.note(f"shown    {len(rows):,} of {done.rows:,} rows; -o FILE takes all")


def result_table(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    """Lines of a result: numbers to the right; as wide as the values are, for other programs read it too."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(output.width, column)) for column in zip(names, *cells, strict=True)]
    right = [
        all(isinstance(row[i], int | float) or row[i] is None for row in rows) and bool(rows) for i in range(len(names))
    ]
    lines = []
    for row in (list(names), *cells):
        parts = [
            " " * (columns - output.width(cell)) + cell if to_right else output.pad(cell, columns)
            for cell, columns, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append(output.GAP.join(parts).rstrip())
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    return output.printable(str(value))


# --- what was delivered -----------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.argument("agreement")
@acts.page_options
def receipts(agreement: str, page: str, size: int) -> None:
    """List what was delivered under AGREEMENT, who signed for it, and since when witnesses have sealed it."""
    with session.connect() as connection:
        found, token = connection.receipts(agreement, token=page, size=size)
    rows = [
        (
            one.name,
            output.local_time(one.ended)[:16],
            one.outcome + (f" {one.cause}" if one.cause else ""),
            f"{one.rows:,}",
            output.money(one.cost_fen),
            ", ".join(who.rpartition("/")[2] for who in one.signed_by),
            terms_view.sealed(one.seal),
        )
        for one in found
    ]
    lines = output.table(("RECEIPT", "ENDED", "OUTCOME", "ROWS", "COST", "SIGNED BY", "SEALED"), rows, flexible=5)
    output.show_list([one.data() for one in found], lines, token)


@click.command(cls=Command)
@click.argument("agreement")
def budget(agreement: str) -> None:
    """What is used and what is left of the limits of AGREEMENT."""
    with session.client() as connection:
        found = connection.explain(agreement, purpose="", sql="")
    rows = [
        (one.text, f"{one.used:,}", f"{one.reserved:,}", f"{max(one.limit - one.used - one.reserved, 0):,}")
        for one in found.counters
    ]
    lines = output.table(("LIMIT", "USED", "RUNNING", "LEFT"), rows) if rows else ["no limit was agreed"]
    items = [{**one._asdict(), "left": max(one.limit - one.used - one.reserved, 0)} for one in found.counters]
    output.show_list(items, lines, "")


@click.command(cls=Command)
@click.argument("agreement")
def cost(agreement: str) -> None:
    """What AGREEMENT has cost so far, by its receipts."""
    with session.connect() as connection:
        found = connection.all_receipts(agreement)
        price = connection.agreement(agreement).object.agreement()
    fen = sum(one.cost_fen for one in found)
    rows = sum(one.rows for one in found)
    data = {"agreement": agreement, "receipts": len(found), "rows": rows, "cost_fen": fen}
    priced = f"; price {price.price}" if price else ""
    output.show(
        data, f"{output.money(fen)}  {output.count(rows, 'row')} in {output.count(len(found), 'receipt')}{priced}"
    )


# --- accesses ---------------------------------------------------------------------------------------------------------


@click.group(cls=Group)
def access() -> None:
    """Accesses: list, stop."""


@access.command("list")
@click.option("--running", is_flag=True, help="Only those that run now.")
@acts.page_options
def list_(running: bool, page: str, size: int) -> None:
    """List accesses, newest first."""
    where = {"running": "true"} if running else {}
    with session.connect() as connection:
        found = connection.items("access", token=page, size=size, **where)
    rows = []
    for one in found.items:
        request = one.access_request()
        who = acts.short_participant(request.consumer) if request else ""
        purpose = request.purpose if request else ""
        rows.append((acts.name_of(one), who, purpose, one.state, output.local_time(one.changed_at)[:19]))
    lines = output.table(("ACCESS", "CONSUMER", "PURPOSE", "STATE", "CHANGED"), rows)
    output.show_list([one.data() for one in found.items], lines, found.next_page_token)


@access.command()
@click.argument("id")
@click.option("--reason", required=True, help="Why; both sides learn it.")
@asking.yes_option
@asking.dry_run_option
@click.pass_context
def stop(ctx: click.Context, id: str, reason: str, yes: bool, dry_run: bool) -> None:
    """Stop a running access; what was delivered is settled."""
    with session.connect() as connection:
        found = connection.get("access", id).object
        asking.confirm(f"Stop access {acts.name_of(found)}?", yes=yes, dry_run=dry_run)
        connection.acting()
        done = connection.act("access", found, "abort", cause=connection.cause(found), reason=reason)
    acts.finish(ctx, done)
