"""``trustnode admin``: the people who operate a node.

Decides: what is typed and shown. Leaves to others: who may add whom (``core.operator``), keeping them (the node).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from trustnode.cli import approval, asking, output, session
from trustnode.cli.approval import Wanted
from trustnode.cli.lazy import Group
from trustnode.core.document import Document
from trustnode.core.operator import ROLES, Operator
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.core.operator import Act

KEY: Final = re.compile("[0-9a-f]{64}")


@click.group(cls=Group)
def admin() -> None:
    """The people who operate this node: one role each, far-reaching acts by two."""


@admin.command(name="list")
def list_() -> None:
    """Who operates this node."""
    with session.operator() as node:
        found = operators(node)
    rows = [(one.name, one.role, one.account, one.public[:16]) for one in found]
    lines = output.table(("NAME", "ROLE", "ACCOUNT", "KEY"), rows) if rows else []
    output.show_list([{f: getattr(one, f) for f in one.__struct_fields__} for one in found], lines)
    if len(found) < 2:
        output.note("one person can do everything here: trustnode admin add NAME --role SECURITY --key FILE")


@admin.command()
@click.option("-o", "target", type=click.Path(dir_okay=False, path_type=Path), help="File for the public half.")
def key(target: Path | None) -> None:
    """Make your own operator's key in this account, and show its public half for `admin add --key`."""
    domain = approval.domain_of(asking.home())
    made = approval.own_key(domain, make=True)
    if made is None:
        raise error("INTERNAL", "the key was not made")
    if target is not None:
        target.write_text(f"{made.public.hex()}\n", encoding="ascii")
    data = {"key": made.public.hex(), "file": str(approval.key_file(domain))}
    output.show(data, f"key      {made.public.hex()}", f"private  {approval.key_file(domain)}, for this account alone")


@admin.command()
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What the person does; nobody has two.")
@click.option("--key", "public", default="", help="Public key of the person, or a file with it; default: your own.")
@click.option("--account", default="", help="Account of the person, for people who read the list.")
@click.pass_context
def add(ctx: click.Context, name: str, role: str, public: str, account: str) -> None:
    """Add an operator. The first adds himself; the second is added by the first, every further one by two."""
    home = asking.home()
    with session.operator() as node:
        known = operators(node)
    if not public:
        own = approval.own_key(approval.domain_of(home), make=True)
        public, account = own.public.hex() if own else "", account or approval.account()
    elif Path(public).is_file():
        public = Path(public).read_text(encoding="ascii").strip()
    if not KEY.fullmatch(public):
        raise error("FIELD_FORMAT", "a public key is 64 hexadecimal digits", field="key")
    _ask(ctx, home, "admin.add", (name, role, public, *((account,) if account else ())), known)


@admin.command()
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Take somebody out of the operators."""
    with session.operator() as node:
        known = operators(node)
    _ask(ctx, asking.home(), "admin.remove", (name,), known)


def _ask(ctx: click.Context, home: Path, act: Act, arguments: tuple[str, ...], known: list[Operator]) -> None:
    # whoever is alone may get company, or give up what he alone had
    approval.ask(ctx, Wanted(home, act, arguments), known, alone=len(known) < 2)


def operators(node: session.Operator) -> list[Operator]:
    """Operators as a running node knows them."""
    return [
        Operator(name=one["name"], role=one["role"], public=one["public_key"], account=one["account"])
        for one in node.status()["operators"]
    ]


def changed(_ctx: click.Context, wanted: Wanted, document: Document, _alone: bool) -> None:
    """Carry out a change of the operators: the node that runs does it."""
    with session.operator() as node:
        found = node.call("AdminService/ChangeOperators", {"act": document})["operators"]
    people = [f"{one['name']} {one['role']}" for one in found]
    output.show({"operators": found}, f"done     {wanted.act} {wanted.arguments[0]}; operators: {', '.join(people)}")
