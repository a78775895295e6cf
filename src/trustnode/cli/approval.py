"""Acts that need a second person: asking for one, approving one, carrying it out.

Decides: where an act waits and where a person's own key lies. Leaves to others: when an act is enough
(``core.operator``), what it does (``maintenance``, the node).

An act waits in ``acts/`` of the home folder, as a signed document. Who cannot write there signs a copy of the file in
an account of his own (``trustnode approve FILE``) and hands it back.
"""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from trustnode.cli import asking, exit_status, output, source
from trustnode.cli.lazy import Command
from trustnode.core import clock, envelope
from trustnode.core import documents as _documents  # noqa: F401 (closes the table of document types)
from trustnode.core.document import Document, cosign, decode, seal
from trustnode.core.operator import ACT_LIFE_S, ACTS, CARRIED, Act, Operator, OperatorAct, signers
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.keys.files import FileSigner

alone_option = click.option("--alone", is_flag=True, help="You are the only operator; the entry of the act says so.")


class Wanted(NamedTuple):
    """An act and the home that it is for."""

    home: Path
    act: Act
    arguments: tuple[str, ...]


# --- keys of people -------------------------------------------------------------------------------------------------


def key_file(domain: str) -> Path:
    """Where an operator's own key lies: in the account of the person, not in the home of the node."""
    from trustnode.sdk import profile

    return profile.root().parent / "operators" / f"{domain}.key"


def own_key(domain: str, *, make: bool = False) -> FileSigner | None:
    """The key of whoever runs this command; None where there is none."""
    from trustnode.keys.files import FileSigner, write_secret

    path = key_file(domain)
    if not path.exists() and make:
        write_secret(path, FileSigner.generate().pem)
    return FileSigner.load(path) if path.exists() else None


def domain_of(home: Path) -> str:
    """Trust domain of a home."""
    import os

    from trustnode import config

    return config.load(home, os.environ).config.node.trust_domain


# --- asking ---------------------------------------------------------------------------------------------------------


def signed(wanted: Wanted, operators: Sequence[Operator], *, alone: bool) -> Document | None:
    """The act, where it is enough; else it waits now, or waited already.

    Returns:
        The act with all signatures it needs; None: a second person has to approve it.

    Raises:
        TrustnodeError: APPROVAL_MISSING, there is no second person and ``alone`` is not given; USAGE.
    """
    if alone and len(operators) > 1:
        raise error("USAGE", "you are not alone: this home has several operators", next_step="Leave out --alone.")
    if len(operators) < 2:
        if not alone:
            step = "Add a second person: trustnode admin add NAME --role SECURITY --key FILE; or add --alone"
            raise error("APPROVAL_MISSING", f"{wanted.act} needs a second person, and there is none", next_step=step)
        return _new(wanted, operators)
    waiting = _find(wanted)
    document = waiting or _new(wanted, operators)
    if len(signers(document, operators)) > 1:
        return document
    if waiting is None:
        _keep(wanted.home, document)
    return None


def waits(ctx: click.Context, wanted: Wanted) -> None:
    """Say what a second person has to type, and exit 10."""
    document = _find(wanted)
    short = decode(document, OperatorAct).short if document else ""
    data = {"act": wanted.act, "arguments": list(wanted.arguments), "id": short, "state": "WAITS"}
    output.show(data, f"waits    {short}: {wanted.act} {' '.join(wanted.arguments)}",
                f"next     another operator: trustnode approve {short} --home {wanted.home}")  # fmt: skip
    ctx.exit(exit_status.WAITS)


def _new(wanted: Wanted, operators: Sequence[Operator]) -> Document:
    domain = domain_of(wanted.home)
    key = own_key(domain)
    me = next((one for one in operators if key is not None and one.public == key.public.hex()), None)
    if operators and me is None:
        step = f"Operators: {', '.join(one.name for one in operators)}; the key lies in {key_file(domain)}"
        raise error("IDENTITY_UNKNOWN", "you are no operator of this home", next_step=step)
    now = source.now()
    value = OperatorAct(
        suite="tn1", id=str(uuid.uuid4()), iss=domain, aud=(domain,), time=now, expires=clock.shift(now, ACT_LIFE_S),
        act=wanted.act, arguments=wanted.arguments, asked_by=me.name if me else "",
    )  # fmt: skip
    return seal(value, *([key] if me and key else []))


def _find(wanted: Wanted) -> Document | None:
    """The act of the same words that waits; one that is over is not it."""
    found = []
    for path in sorted((wanted.home / ACTS).glob("*.act")):
        document = envelope.decode(path.read_bytes())
        value = decode(document, OperatorAct)
        if (value.act, value.arguments) == (wanted.act, wanted.arguments) and (value.expires or "") > source.now():
            found.append(document)
    return found[-1] if found else None


def _keep(home: Path, document: Document) -> Path:
    folder = home / ACTS
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{decode(document, OperatorAct).short}.act"
    path.write_bytes(envelope.encode(document))
    return path


def keep_carried(home: Path, document: Document) -> bool:
    """Keep an act that is carried out now until the node has written it down; False: it was carried out before."""
    path = _keep(home, document).with_suffix(CARRIED)
    if path.exists():
        return False
    path.write_bytes(envelope.encode(document))
    return True


def done(home: Path, document: Document) -> None:
    """An act was carried out: it does not wait any more."""
    (home / ACTS / f"{decode(document, OperatorAct).short}.act").unlink(missing_ok=True)


# --- approving ------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@click.argument("act")
@click.pass_context
def approve(ctx: click.Context, act: str) -> None:
    """Approve ACT, which another operator asked for, and carry it out; or sign a file that holds it."""
    if Path(act).is_file():
        _sign_file(Path(act))
        return
    home = asking.home()
    path = home / ACTS / f"{act.upper()}.act"
    if not path.is_file():
        raise error("NOT_FOUND", f"no act {act} waits in {home}")
    document = envelope.decode(path.read_bytes())
    value = decode(document, OperatorAct)
    output.note(f"{value.asked_by} asks for: {value.act} {' '.join(value.arguments)}")
    document = _approved(document, value, domain_of(home))
    path.write_bytes(envelope.encode(document))
    carry_out(ctx, Wanted(home, value.act, value.arguments), document)


def _sign_file(path: Path) -> None:
    document = envelope.decode(path.read_bytes())
    value = decode(document, OperatorAct)
    path.write_bytes(envelope.encode(_approved(document, value, value.iss)))
    data = {"id": value.short, "act": value.act, "file": str(path)}
    output.show(data, f"signed   {path}: {value.act}, asked for by {value.asked_by}; hand it back to be carried out")


def _approved(document: Document, value: OperatorAct, domain: str) -> Document:
    key = own_key(domain)
    if key is None:
        step = "Ask to be added: trustnode admin key; then, by an operator: trustnode admin add NAME --key FILE"
        raise error("IDENTITY_UNKNOWN", f"no operator's key for {domain} is in this account", next_step=step)
    if any(one.keyid == _kid(key) for one in document.signatures):
        raise error("APPROVAL_MISSING", f"you asked for {value.act} yourself: another operator has to approve it")
    return cosign(document, key)


def _kid(key: FileSigner) -> str:
    import hashlib

    return hashlib.sha256(key.public).hexdigest()


Carry = Callable[[click.Context, Wanted, Document, bool], None]


def carry_out(ctx: click.Context, wanted: Wanted, document: Document, *, alone: bool = False) -> None:
    """Carry out an act that is signed by whom it has to be; whether it is, is checked where it is carried out."""
    from trustnode.cli import admin, key, succession, upkeep

    table: dict[Act, Carry] = {
        "admin.add": admin.changed,
        "admin.remove": admin.changed,
        "backup.restore": upkeep.restored,
        "log.recover": upkeep.recovered,
        "key.rotate": key.rotated,
        "key.revoke": key.revoked,
        "log.succeed": succession.succeeded,
    }
    try:
        table[wanted.act](ctx, wanted, document, alone)
    except click.exceptions.Exit:  # done, and the exit status says how
        done(wanted.home, document)
        raise
    done(wanted.home, document)


def ask(ctx: click.Context, wanted: Wanted, operators: Sequence[Operator], *, alone: bool) -> None:
    """Carry an act out, or let it wait for a second person."""
    document = signed(wanted, operators, alone=alone)
    if document is None:
        waits(ctx, wanted)
    else:
        carry_out(ctx, wanted, document, alone=alone)


def account() -> str:
    """Name of the account that runs this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
