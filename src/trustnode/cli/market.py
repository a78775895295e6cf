"""Finding and contracting: ``search``, ``show``, ``negotiate``, ``negotiation``, ``agreement``.

Decides: what a participant types and sees. Leaves to others: the steps of a negotiation (``sdk``, the node).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from trustnode.cli import acts, asking, duties, exit_status, output, publishing, session, terms_view
from trustnode.cli.lazy import Command, Group
from trustnode.cli.times import end_of_day, seconds_between
from trustnode.cli.values import Waiting

if TYPE_CHECKING:
    from trustnode.cli.values import Item, Listed

DEFAULT_WAIT_S: Final = 86_400
"""How long ``--wait`` waits without ``--timeout``."""


# --- search and show --------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.argument("query", nargs=-1)
@click.option("--level", default="", help="Data level, such as GENERAL_1.")
@click.option("--category", default="", help="Data category, such as PUBLIC.")
@click.option("--venue", default="", help="Trust domain of the venue that lists.")
@click.option("--all-venues", is_flag=True, help="Refuse to answer if any venue is silent (exit 6).")
@acts.page_options
def search(
    query: tuple[str, ...], level: str, category: str, venue: str, all_venues: bool, page: str, size: int
) -> None:
    """Find products of all venues, in Chinese and English: all words must occur."""
    text = " ".join(query)
    with session.connect() as connection:
        found = connection.search(
            text, level=level, category=category, venue=venue, all_venues=all_venues, token=page, size=size
        )
        own = connection.venue
    chinese = output.lang() == "zh" or not text.isascii()
    rows = [_hit_row(hit, own, found.answered_at, chinese=chinese) for hit in found.hits]
    items = [_hit_data(hit, own) for hit in found.hits]
    lines = output.table(("PRODUCT", "TITLE", "OFFER", "PRICE", "HOPS", "AS OF"), rows, flexible=1)
    silent = [{"venue": one.venue, "since": one.since} for one in found.not_asked]
    output.show_list(items, lines if rows else [], found.next_page_token, not_asked=silent)
    if not rows:
        output.note("nothing found")
    if silent:
        output.note(f"not asked: {', '.join(_silent(one.venue, one.since) for one in found.not_asked)}")


def _silent(venue: str, since: str) -> str:
    return f"{venue} (unreachable since {output.local_time(since)[11:16]})" if since else f"{venue} (never heard)"


def hops(listed: Listed, own: str) -> int:
    """Venues that a record passed to come here; 0 for our own."""
    return 0 if listed.origin == own else len(listed.path) + 1


def _hit_row(hit: Listed, own: str, answered_at: str, *, chinese: bool) -> tuple[str, ...]:
    first = hit.offers[0].offer if hit.offers else None
    title = hit.registration.title_zh if chinese and hit.registration.title_zh else hit.registration.title
    more = f" +{len(hit.offers) - 1}" if len(hit.offers) > 1 else ""
    return (
        hit.product,
        title,
        f"{first.name}{more}" if first else "",
        str(first.price) if first else "",
        str(hops(hit, own)),
        output.age(seconds_between(hit.as_of, answered_at)),
    )


def _hit_data(hit: Listed, own: str) -> dict[str, Any]:
    return {
        "product": hit.product,
        "title": hit.registration.title,
        "title_zh": hit.registration.title_zh,
        "level": hit.registration.level,
        "category": hit.registration.category,
        "origin": hit.origin,
        "path": list(hit.path),
        "hops": hops(hit, own),
        "as_of": hit.as_of,
        "verification": hit.verification,
        "state": hit.state,
        "offers": [
            {"name": one.offer.name, "price": str(one.offer.price), "approval": one.offer.approval}
            for one in hit.offers
        ],
    }


@click.command(cls=Command)
@click.argument("product")
@click.option("--offer", default="", help="Only this offer.")
def show(product: str, offer: str) -> None:
    """Show one product: columns and units as each offer shows them, terms in words, who sells it."""
    with session.connect() as connection:
        listed = connection.describe(product, offer=offer)
        own = connection.venue
    data = {**_hit_data(listed, own), "abstract": listed.registration.abstract, "licence": listed.registration.licence}
    data["offers"] = [_offer_data(listed, number) for number in range(len(listed.offers))]
    output.show(data, *_show_lines(listed, own))


def _offer_data(listed: Listed, number: int) -> dict[str, Any]:
    one = listed.offers[number]
    return {
        "name": one.offer.name,
        "price": str(one.offer.price),
        "approval": one.offer.approval,
        "valid_until": one.offer.valid_until,
        "columns": [column._asdict() for column in one.columns],
        "terms": terms_view.items(terms_view.lines_of(one.offer, listed.registration.level)),
    }


def _show_lines(listed: Listed, own: str) -> list[str]:
    registration = listed.registration
    path = f"{output.count(hops(listed, own), 'hop')}; {listed.verification.lower()}"
    sold = f"{acts.short_participant(registration.provider)}; {path}"
    version = f"version {registration.version}  {registration.level}  {registration.category}"
    lines = output.pairs(
        [
            ("product", f"{registration.product}  {version}"),
            ("title", " ".join(filter(None, (registration.title, registration.title_zh)))),
            ("about", registration.abstract),
            ("licence", registration.licence),
            ("sold by", sold),
            ("state", listed.state if listed.state != "LISTED" else ""),
        ]
    )
    for one in listed.offers:
        head = f"offer {one.offer.name}: {one.offer.price}, {publishing.approval_words(one.offer.approval)}"
        rows = [(column.name, column.type, column.unit, column.mask, column.use) for column in one.columns]
        heads = ("COLUMN", "TYPE", "UNIT", "MASK", "USE")
        wide = len(heads) if any(column.use for column in one.columns) else len(heads) - 1
        lines += ["", f"{head}, until {output.last_day(one.offer.valid_until)}"]
        lines += output.table(heads[:wide], [row[:wide] for row in rows])
        lines += terms_view.table(terms_view.lines_of(one.offer, registration.level))
    return lines


# --- negotiate --------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.argument("product")
@click.option("--offer", default="", help="Name of the offer; not needed where there is one.")
@click.option("--purpose", default="", help="What for: trustnode words purpose; not needed where one is allowed.")
@click.option("--as", "alias", default="", metavar="NAME", help="Private name for the agreement.")
@click.option("--wait", is_flag=True, help="Wait for whoever must approve.")
@click.option("--timeout", type=click.IntRange(1), default=None, metavar="SECONDS", help="Longest time to wait.")
@click.pass_context
def negotiate(
    ctx: click.Context, product: str, offer: str, purpose: str, alias: str, wait: bool, timeout: int | None
) -> None:
    """Ask for an agreement on an offer as it stands."""
    with session.client() as connection:
        connection.acting()
        made = connection.negotiate(product, offer=offer, purpose=purpose, alias=alias)
        if isinstance(made, Waiting) and wait:
            output.note(f"waiting for {made.waits_for} ...")
            made = connection.wait(made, timeout or DEFAULT_WAIT_S)
    if isinstance(made, Waiting):
        output.show(made._asdict(), f"{made.state.lower()}  {made.short}  {product}: waits for {made.waits_for}")
        ctx.exit(exit_status.WAITS)
    output.show(agreement_data(made.object), agreed_line(made.object))


def agreed_line(item: Item, word: str = "agreed") -> str:
    """``agreed  7K3QX9M2 "flights"  gz.example/flights-2013, offer open, until 2028-11-24, free``."""
    value = item.agreement()
    name = f"{acts.name_of(item)}{f' {chr(34)}{item.alias}{chr(34)}' if item.alias else ''}"
    if value is None:
        return f"{word}  {name}"
    offer = f", offer {item.offer_name}" if item.offer_name else ""
    return f"{word}  {name}  {value.product}{offer}, until {output.last_day(value.end)}, {value.price}"


def agreement_data(item: Item) -> dict[str, Any]:
    """An agreement for programs."""
    value = item.agreement()
    data = {**item.data(), "short_name": acts.name_of(item), "name": item.alias, "offer": item.offer_name}
    if value is None:
        return data
    return {
        **data,
        "product": value.product,
        "purpose": value.purpose,
        "provider": value.provider.participant,
        "consumer": value.consumer.participant,
        "price": str(value.price),
        "start": value.start,
        "end": value.end,
    }


@click.group(cls=Group)
def negotiation() -> None:
    """Negotiations: list, show, withdraw."""


@negotiation.command("list")
@acts.page_options
def list_negotiations(page: str, size: int) -> None:
    """List the negotiations you take part in."""
    with session.connect() as connection:
        found = connection.items("negotiation", token=page, size=size)
    rows = []
    for one in found.items:
        message = one.negotiation_message()
        rows.append(
            (acts.name_of(one), message.purpose if message else "", one.state, output.local_time(one.changed_at))
        )
    lines = output.table(("NEGOTIATION", "PURPOSE", "STATE", "CHANGED"), rows)
    output.show_list([one.data() for one in found.items], lines, found.next_page_token)


@negotiation.command("show")
@click.argument("id")
def show_negotiation(id: str) -> None:
    """Show the rounds of a negotiation."""
    from trustnode.core.contract import EVENT_OF, NegotiationMessage

    with session.connect() as connection:
        found = connection.get("negotiation", id)
        rounds = [connection.decode(d, NegotiationMessage) for d in found.documents if d.name == "negotiation-message"]
    lines = [f"{acts.name_of(found.object)}  {found.object.state}"]
    for message in rounds:
        said = EVENT_OF[message.message]
        reason = f": {output.printable(message.reason)}" if message.reason else ""
        lines.append(f"{output.local_time(message.time)}  {acts.short_participant(message.iss)}  {said}{reason}")
    output.show(found.data(), *lines)


@negotiation.command()
@click.argument("id")
@click.option("--reason", default="", help="Why; the other side sees it.")
@click.pass_context
def withdraw(ctx: click.Context, id: str, reason: str) -> None:
    """End a negotiation."""
    with session.connect() as connection:
        found = connection.get("negotiation", id)
        connection.acting()
        done = connection.terminate(found, reason)
    acts.finish(ctx, done)


# --- agreements -------------------------------------------------------------------------------------------------------


@click.group(cls=Group)
def agreement() -> None:
    """Agreements: list, show, duties, fulfil, end, suspend, resume, delegate."""


agreement.add_command(duties.duties)
agreement.add_command(duties.fulfil)


@agreement.command("list")
@click.option("--state", default="", help="Only those in this state, such as PERFORMING.")
@acts.page_options
def list_agreements(state: str, page: str, size: int) -> None:
    """List your agreements, or those of the node."""
    with session.connect() as connection:
        found = connection.items("agreement", token=page, size=size, **({"state": state} if state else {}))
    rows = []
    for one in found.items:
        value = one.agreement()
        product, until, price = (value.product, output.last_day(value.end), str(value.price)) if value else ("", "", "")
        rows.append((acts.name_of(one), one.alias, product, price, until, acts.state_words(one)))
    lines = output.table(("AGREEMENT", "NAME", "PRODUCT", "PRICE", "UNTIL", "STATE"), rows, flexible=2)
    output.show_list([agreement_data(one) for one in found.items], lines, found.next_page_token)


@agreement.command("show")
@click.argument("name")
def show_agreement(name: str) -> None:
    """Show an agreement: parties, terms in words, state."""
    with session.connect() as connection:
        found = connection.agreement(name)
    item = found.object
    value = item.agreement()
    data = agreement_data(item)
    if value is None:
        output.show(data, agreed_line(item, item.state.lower()))
        return
    from trustnode.core.policy.explain import policy_lines

    level = next((d.level for d in found.registrations()), "")
    lines = policy_lines(value.policy, level)
    rows = output.pairs(
        [
            ("agreement", f"{acts.name_of(item)} {item.alias}".rstrip()),
            ("identifier", item.id),
            ("state", acts.state_words(item)),
            ("product", f"{value.product} version {value.product_version}"),
            ("provider", f"{acts.short_participant(value.provider.participant)}; receipts by {value.provider_node}"),
            ("consumer", f"{acts.short_participant(value.consumer.participant)}; carried by {value.consumer_node}"),
            ("purpose", value.purpose),
            ("from", f"{output.local_time(value.start)} until {output.local_time(value.end)}"),
            ("requests", f"at least {value.request_proof_min}"),
            ("sealed", terms_view.sealed_by(found.seal)),
        ]
    )
    output.show(
        {**data, "seal": found.seal.data() if found.seal else None, "terms": terms_view.items(lines)},
        *rows,
        *terms_view.table(lines),
    )


@agreement.command()
@click.argument("name")
@click.option("--on", "day", default="", metavar="DATE", help="Last day; default: today.")
@click.option("--reason", default="", help="Why; the other side sees it.")
@asking.yes_option
@asking.dry_run_option
@click.pass_context
def end(ctx: click.Context, name: str, day: str, reason: str, yes: bool, dry_run: bool) -> None:
    """Propose to end an agreement: data stop for us at once; it ends when the other side signs too."""
    effective = end_of_day(day, "on") if day else ""
    with session.connect() as connection:
        found = connection.agreement(name).object
        asking.confirm(f"End {acts.name_of(found)}? Its data stop at once.", yes=yes, dry_run=dry_run)
        connection.acting()
        done = connection.act("agreement", found, "end_early", reason=reason, effective=effective)
    waits = done.state != "TERMINATING"
    word = (
        "proposed  data stop now; the agreement ends when the other side signs too"
        if waits
        else "ending  both sides signed"
    )
    output.show(agreement_data(done), word)
    ctx.exit(exit_status.WAITS if waits else exit_status.DONE)


def _act(ctx: click.Context, name: str, event: str, reason: str) -> None:
    with session.connect() as connection:
        found = connection.agreement(name).object
        connection.acting()
        done = connection.act("agreement", found, event, cause=connection.cause(found), reason=reason)
    acts.finish(ctx, done)


@agreement.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why; the other side sees it.")
@click.pass_context
def suspend(ctx: click.Context, name: str, reason: str) -> None:
    """Suspend an agreement: no reads until it is resumed, running ones end. For provider and venue."""
    _act(ctx, name, "suspend", reason)


@agreement.command()
@click.argument("name")
@click.option("--reason", default="", help="Why.")
@click.pass_context
def resume(ctx: click.Context, name: str, reason: str) -> None:
    """Let a suspended agreement go on."""
    _act(ctx, name, "lift_cause", reason)


@agreement.command()
@click.argument("names", metavar="AGREEMENT...", nargs=-1, required=True)
@click.option("--until", required=True, metavar="DATE", help="Last day of the delegation.")
@click.option("--max-accesses", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="How often.")
def delegate(names: tuple[str, ...], until: str, max_accesses: int) -> None:
    """Let your venue ask in your name, for clients that cannot sign.

    Name several agreements to let it join their products in one query, too.
    """
    expires = end_of_day(until, "until")
    with session.client() as connection:
        found = [connection.agreement(name).object for name in names]
        connection.acting()
        connection.delegate(found, expires, max_accesses)
    ids = [one.id for one in found]
    data = {"agreement": ids[0], "agreements": ids, "until": expires, "max_accesses": max_accesses}
    until_words = f"until {output.last_day(expires)}, {max_accesses:,} accesses"
    text = f"delegated  {', '.join(map(acts.name_of, found))} to {connection.venue} {until_words}"
    output.show(data, text)
