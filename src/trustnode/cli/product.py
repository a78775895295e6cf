"""Products and listings: ``product``, ``publish``, ``listing``.

Decides: which documents a command sends and in which order, and what is shown of the answer. Leaves to others: the
product file (``sdk.product_file``), the gates (the node).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustnode.cli import acts, asking, output, publishing, session, source, terms_view
from trustnode.cli.lazy import Command, Group
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.cli.values import Found
    from trustnode.sdk.product_file import ProductFile

file_argument = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
offer_option = click.option("--offer", "names", multiple=True, metavar="NAME", help="Only this offer; may be repeated.")
reason_option = click.option("--reason", required=True, help="Why, in a sentence; it goes into the evidence.")
wait_option = click.option("--wait", is_flag=True, help="Wait until nobody has to move any more.")


# --- product ----------------------------------------------------------------------------------------------------------


@click.group(cls=Group)
def product() -> None:
    """Products: draft, check, register, change, cancel, recall."""


@product.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "target", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default: stdout.")
def new(data: Path, target: Path | None) -> None:
    """Draft the product file of DATA: schema read, every mandatory field in it."""
    from trustnode.sdk import product_draft

    text = product_draft.draft(data, source.describe, target.parent if target else Path())
    if target is None:
        output.show({"text": text}, text.rstrip("\n"))
        return
    if target.exists():
        raise error("DUPLICATE", f"{target} is there already; nothing was written", next_step="Choose another name.")
    target.write_text(text, encoding="utf-8")
    output.show(
        {"file": str(target)},
        f"drafted  {target}",
        f'next     fill in what says "..."; trustnode product check {target}',
    )


@product.command()
@file_argument
@offer_option
def check(file: Path, names: tuple[str, ...]) -> None:
    """Check everything that publish would check; changes nothing."""
    read = source.load(file)
    head = source.header()
    registration = read.registration(head)
    offers = read.offers(head, names=names)
    read.binding(head)
    items: list[dict[str, Any]] = []
    lines: list[str] = []
    for offer in offers:
        found = terms_view.lines_of(offer, registration.level)
        items.append({"offer": offer.name, "price": str(offer.price), "lines": terms_view.items(found)})
        lines += [*([f"offer {offer.name}"] if len(offers) > 1 else []), *terms_view.table(found)]
    data = {
        "file": str(file),
        "product": read.name,
        "level": registration.level,
        "offers": items,
        "publishable": bool(offers),
    }
    verdict = "publishable: yes" if offers else "registrable: yes; publishable: no, it has no offer"
    output.show(data, *lines, verdict)


@product.command()
@file_argument
@wait_option
@click.pass_context
def register(ctx: click.Context, file: Path, wait: bool) -> None:
    """Register the product of FILE, without listing it."""
    _register(ctx, file, wait, must_exist=False)


@product.command()
@file_argument
@wait_option
@click.pass_context
def change(ctx: click.Context, file: Path, wait: bool) -> None:
    """Register a change of a product; shows the difference."""
    _register(ctx, file, wait, must_exist=True)


def _register(ctx: click.Context, file: Path, wait: bool, *, must_exist: bool) -> None:
    read = source.load(file)
    with session.connect() as connection:
        known = publishing.registered(connection, read)
        if must_exist and known is None:
            raise error("NOT_REGISTERED", f"{read.handle(connection.venue)} is not registered here")
        connection.acting()
        done = publishing.register(connection, read, known)
        ended = publishing.settled(connection, done, wait=wait)
    output.show(publishing.registered_data(ended), *publishing.registered_lines(ended))
    ctx.exit(publishing.exit_of(ended.state))


@product.command("list")
@acts.page_options
def list_(page: str, size: int) -> None:
    """List the products registered here."""
    with session.connect() as connection:
        found = connection.items("product", token=page, size=size)
    rows, items = [], []
    for one in found.items:
        registration = one.registration()
        items.append(one.data())
        title = publishing.title_of(registration) if registration else ""
        rows.append((one.id, title, registration.level if registration else "", str(one.version), one.state))
    lines = output.table(("PRODUCT", "TITLE", "LEVEL", "CHANGES", "STATE"), rows, flexible=1)
    output.show_list(items, lines, found.next_page_token)


@product.command()
@click.argument("product")
def show(product: str) -> None:
    """Show one registration."""
    with session.connect() as connection:
        found = connection.get("product", product)
    output.show(found.data(), *_product_lines(found))


def _product_lines(found: Found) -> list[str]:
    registration = found.object.registration()
    if registration is None:
        return output.pairs([("product", found.object.id), ("state", found.object.state)])
    tables = ", ".join(f"{table.name} ({len(table.columns)} columns)" for table in registration.tables)
    return output.pairs(
        [
            ("product", registration.product),
            ("title", publishing.title_of(registration)),
            ("state", acts.state_words(found.object)),
            ("version", str(registration.version)),
            ("provider", acts.short_participant(registration.provider)),
            ("level", f"{registration.level}: {registration.level_basis}"),
            ("category", registration.category),
            ("licence", registration.licence),
            ("tables", tables),
            ("changed", output.local_time(found.object.changed_at)),
        ]
    )


@product.command()
@click.argument("product")
@reason_option
@asking.yes_option
@asking.dry_run_option
@click.pass_context
def cancel(ctx: click.Context, product: str, reason: str, yes: bool, dry_run: bool) -> None:
    """End a registration for good; its listing must be delisted first."""
    with session.connect() as connection:
        found = connection.get("product", product)
        output.note(f"would end the registration of {found.object.id} for ever; agreements keep what was signed")
        asking.confirm(f"End {found.object.id}?", yes=yes, dry_run=dry_run)
        connection.acting()
        done = connection.act("product", found.object, "request_cancel", reason=reason, signer=found.provider())
        if connection.is_operator:
            done = connection.act("product", found.object, "cancel_approved", reason=reason)
    acts.finish(ctx, done)


@product.command()
@click.argument("product")
@reason_option
@asking.yes_option
@asking.dry_run_option
@click.pass_context
def recall(ctx: click.Context, product: str, reason: str, yes: bool, dry_run: bool) -> None:
    """Take a product back at once: streams cut, agreements on it end. For the operator of its venue."""
    with session.operator() as connection:
        found = connection.get("product", product)
        agreements = acts.everything(connection, "agreement", product=found.object.id, state="PERFORMING")
        output.note(
            f"would delist {found.object.id} and end {output.count(len(agreements), 'agreement')}; cuts its streams"
        )
        asking.confirm(f"Recall {found.object.id}?", yes=yes, dry_run=dry_run)
        connection.acting()
        done = connection.act("product", found.object, "revoke", reason=reason)
    acts.finish(ctx, done)


# --- publish ----------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@file_argument
@offer_option
@asking.yes_option
@asking.dry_run_option
@wait_option
@click.pass_context
def publish(ctx: click.Context, file: Path, names: tuple[str, ...], yes: bool, dry_run: bool, wait: bool) -> None:
    """Register or change the product of FILE, then list it. Shows the difference first."""
    read = source.load(file)
    if not read.contents.offer:
        raise error("PRICE_MISSING", f"{file}: a product without an offer cannot be listed")
    read.offers(source.header(), names=names)  # what the file itself forbids needs no node
    with session.connect() as connection:
        plan = publishing.plan(connection, read, names)
        for line in plan.differences:
            output.note(line)
        if plan.differences or dry_run:
            asking.confirm("Publish?", yes=yes, dry_run=dry_run)
        connection.acting()
        done = publishing.publish(connection, plan, wait=wait)
    output.show(done.data(), *done.lines())
    ctx.exit(publishing.exit_of(done.state))


# --- listing ----------------------------------------------------------------------------------------------------------


@click.group(cls=Group)
def listing() -> None:
    """Listings: what is on sale at this venue."""


@listing.command("publish")
@click.argument("subject", metavar="FILE|PRODUCT")
@offer_option
@click.pass_context
def publish_listing(ctx: click.Context, subject: str, names: tuple[str, ...]) -> None:
    """List a registered product, with all its offers or those named."""
    with session.connect() as connection:
        read: ProductFile | None = source.load(Path(subject)) if Path(subject).is_file() else None
        connection.acting()
        done = publishing.list_again(connection, subject, read, names)
    output.show(done.data(), *done.lines())
    ctx.exit(publishing.exit_of(done.state))


@listing.command("list")
@acts.page_options
def list_listings(page: str, size: int) -> None:
    """List what is on sale here, and what was."""
    with session.connect() as connection:
        found = connection.items("listing", token=page, size=size)
    rows = []
    for one in found.items:
        value = one.listing()
        offers = output.count(len(value.offers), "offer") if value else ""
        rows.append(
            (value.product if value else one.id, offers, value.visibility if value else "", acts.state_words(one))
        )
    lines = output.table(("PRODUCT", "OFFERS", "SEEN BY", "STATE"), rows)
    output.show_list([one.data() for one in found.items], lines, found.next_page_token)


def _listing_act(ctx: click.Context, product: str, event: str, reason: str) -> None:
    with session.connect() as connection:
        found = publishing.listing_of(connection, product)
        if found is None:
            raise error("NOT_LISTED", f"{product} is not listed here", product=product)
        connection.acting()
        done = connection.act("listing", found, event, reason=reason)
    acts.finish(ctx, done, name=product)


@listing.command()
@click.argument("product")
@reason_option
@click.pass_context
def suspend(ctx: click.Context, product: str, reason: str) -> None:
    """Take a listing off sale for a while."""
    _listing_act(ctx, product, "suspend", reason)


@listing.command()
@click.argument("product")
@click.option("--reason", default="", help="Why.")
@click.pass_context
def resume(ctx: click.Context, product: str, reason: str) -> None:
    """Put a suspended listing on sale again."""
    _listing_act(ctx, product, "lift_cause", reason)


@listing.command()
@click.argument("product")
@reason_option
@asking.yes_option
@asking.dry_run_option
@click.pass_context
def delist(ctx: click.Context, product: str, reason: str, yes: bool, dry_run: bool) -> None:
    """Take a listing off sale for good; agreements keep what was signed."""
    asking.confirm(f"Delist {product}?", yes=yes, dry_run=dry_run)
    event = "remove" if asking.is_operator() else "request_delist"
    _listing_act(ctx, product, event, reason)
