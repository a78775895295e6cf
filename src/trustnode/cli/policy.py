"""``trustnode policy``: terms of a product file, or of a product on sale.

Decides: which offers are shown in which form. Leaves to others: what terms mean (``core.policy``), layout
(``terms_view``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from trustnode.cli import exit_status, output, session, source, terms_view
from trustnode.cli.lazy import Group
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.core.catalog import Table
    from trustnode.core.contract import Offer

subject = click.argument("subject", metavar="FILE|PRODUCT")
offer_option = click.option("--offer", "names", multiple=True, metavar="NAME", help="Only this offer; may be repeated.")


class Shown(NamedTuple):
    """One offer with what is needed to explain it."""

    offer: Offer
    level: str
    table: Table


def offers(text: str, names: tuple[str, ...]) -> Iterator[Shown]:
    """The offers of a product file, or of a product that is on sale.

    Raises:
        TrustnodeError: NOT_FOUND when there is none of these names.
    """
    path = Path(text)
    if path.suffix == ".toml" or path.is_file():
        file = source.load(path)
        head = source.header()
        registration = file.registration(head)
        found = [Shown(offer, registration.level, file.tables[0]) for offer in file.offers(head, names=names)]
    else:
        with session.connect() as connection:
            listed = connection.describe(text)
        found = [Shown(one.offer, listed.registration.level, listed.registration.tables[0]) for one in listed.offers]
        found = [one for one in found if not names or one.offer.name in names]
    if not found:
        raise error("NOT_FOUND", f"{text} has no offer {', '.join(names)}".rstrip())
    yield from found


@click.group(cls=Group)
def policy() -> None:
    """Terms of offers: check, explain, test, show."""


@policy.command()
@subject
@offer_option
def check(subject: str, names: tuple[str, ...]) -> None:
    """Compile the terms; refuse what nothing keeps."""
    found = list(offers(subject, names))
    items = [{"offer": one.offer.name, "policy": one.offer.policy.id, "ok": True} for one in found]
    output.show_list(
        items, [f"ok       offer {one.offer.name}: every line is enforced, proven or promised" for one in found]
    )


@policy.command()
@subject
@offer_option
@click.option("--against", metavar="FILE|PRODUCT[#OFFER]", help="Show what differs from this offer, too.")
def explain(subject: str, names: tuple[str, ...], against: str | None) -> None:
    """Say each line in words, and how it is kept."""
    found = list(offers(subject, names))
    items, lines = _in_form(found, "words")
    if against:
        differing, shown = _differences(_named(against), found)
        items, lines = [*items, *differing], [*lines, "", *shown]
    output.show_list(items, lines)


@policy.command()
@subject
@offer_option
@click.option("--as", "form", type=click.Choice(terms_view.FORMS), default="words", help="Form to show.")
def show(subject: str, names: tuple[str, ...], form: str) -> None:
    """Show the terms as words, terms, ODRL or SQL."""
    output.show_list(*_in_form(offers(subject, names), form))


@policy.command()
@click.argument("first", metavar="FILE|PRODUCT[#OFFER]")
@click.argument("second", metavar="FILE|PRODUCT[#OFFER]")
def diff(first: str, second: str) -> None:
    """Say in words what differs between two offers, and which lets through more."""
    output.show_list(*_differences(_named(first), _named(second)))


def _named(text: str) -> list[Shown]:
    """The offers of ``FILE``, or the one of ``FILE#OFFER``."""
    subject, _, name = text.partition("#")
    return list(offers(subject, (name,) if name else ()))


@policy.command()
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@offer_option
@click.option("--tests", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="[[test]] from this file.")
@click.pass_context
def test(ctx: click.Context, file: Path, names: tuple[str, ...], tests: Path | None) -> None:
    """Decide the example requests of a product file: [[test]] with purpose, who, places, time, sql, expect."""
    from trustnode.cli import policy_tests

    ended = policy_tests.run(source.load(file), names, tests)
    output.show_list([one.data() for one in ended], policy_tests.lines(ended))
    ctx.exit(exit_status.DONE if all(one.passed for one in ended) else exit_status.FAILED)


@policy.command()
@click.argument("kind", type=click.Choice(["action", "constraint", "operator"]), required=False)
def words(kind: str | None) -> None:
    """List the words of policies, and how this node keeps each or why it refuses it."""
    data, lines = terms_view.words((kind.capitalize(),) if kind else ("Action", "Constraint", "Operator"))
    output.show_list(data, lines)


def _in_form(found: Iterable[Shown], form: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Offers in one form: data for programs, lines for people."""
    items: list[dict[str, Any]] = []
    lines: list[str] = []
    for one in found:
        data, text = terms_view.as_form(form, one.offer, one.level, one.table.columns, one.table.name)
        items.append({"offer": one.offer.name, "form": form, **data})
        lines += [*([""] if lines else []), f"offer {one.offer.name}", *text] if form != "odrl" else text
    return items, lines


def _differences(first: Sequence[Shown], second: Sequence[Shown]) -> tuple[list[dict[str, Any]], list[str]]:
    """What differs between offers: data for programs, lines for people."""
    from trustnode.cli import policy_diff

    items: list[dict[str, Any]] = []
    lines: list[str] = []
    for name, one, two in policy_diff.pairs(first, second):
        found = policy_diff.changes(one.offer, two.offer)
        items.append({"offer": name, "form": "difference", **policy_diff.data(found)})
        lines += [*([""] if lines else []), f"offer {name}: {policy_diff.verdict_words(found)}"]
        lines += policy_diff.table(found)
    return items, lines
