"""The evidence log of the node: ``log status``, ``log witness list``, ``log forks``.

Decides: what is shown of a log and its witnesses, and the file that carries a fork to somebody else. Leaves to others:
what is a fork and who is a witness (the node), checking the signatures in that file (any reader of signed notes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from trustnode.cli import asking, output, session, succession, upkeep
from trustnode.cli.lazy import Group
from trustnode.errors import error

Witness = Mapping[str, Any]
"""``Cosignature`` of the contract."""
Fork = Mapping[str, Any]
"""``LogFork`` of the contract."""
_HASH_BYTES: Final = 32


@click.group(cls=Group)
def log() -> None:
    """The evidence log of the node."""


@log.command()
def status() -> None:
    """How long the log is, and who has cosigned it."""
    from trustnode.core.evidence.checkpoint import parse_checkpoint
    from trustnode.core.evidence.note import line_keys, text_of

    with session.connect() as connection:
        note = connection.checkpoint()
        witnesses = _witnesses(connection)["witnesses"] if isinstance(connection, session.Operator) else []
    found = parse_checkpoint(text_of(note))
    others = [name for name, _ in line_keys(note) if name != found.origin]
    data = {"origin": found.origin, "size": found.size, "root": found.root.hex(), "cosigned_by": others}
    rows = [
        ("log", found.origin),
        ("entries", f"{found.size:,}"),
        ("root", found.root.hex()),
        ("cosigned", f"by {', '.join(others) or 'nobody yet'}" + ("" if witnesses else "; not checked here")),
        *(("behind", _behind(one)) for one in witnesses if one["behind"] is not None),
    ]
    output.show({**data, **({"witnesses": witnesses} if witnesses else {})}, *output.pairs(rows))


@log.group(cls=Group)
def witness() -> None:
    """Who cosigns this node's log, and whose log it cosigns."""


@witness.command(name="list")
def list_witnesses() -> None:
    """List the witnesses of this node's log, and the logs that this node cosigns."""
    with session.operator() as node:
        found = _witnesses(node)
    rows = [
        (one["witness"], f"{one['size']:,}" if one["size"] else "nothing yet", _state(one))
        for one in found["witnesses"]
    ]
    logs = [(one["origin"], f"{one['size']:,}", output.local_time(one["time"])) for one in found["logs"]]
    lines = output.table(("WITNESS", "COSIGNED TO", "STATE"), rows, flexible=2) if rows else ["no witness"]
    lines += ["", *output.table(("COSIGNED HERE", "TO", "AT"), logs)] if logs else []
    output.show(dict(found), *lines)


@witness.command()
@click.argument("domain")
@click.option("--size", type=click.IntRange(1), required=True, help="Entries, as the other operator reads them out.")
@click.option("--root", required=True, metavar="R", help="Root at that size, 64 hexadecimal digits, read out likewise.")
@asking.yes_option
@asking.dry_run_option
def accept(domain: str, size: int, root: str, yes: bool, dry_run: bool) -> None:
    """Cosign the log of DOMAIN on from a head that you compared, because our record of it is lost.

    Whatever its log said before this head, you vouch for from now on. Compare both numbers over another way.
    """
    try:
        value = bytes.fromhex(root)
    except ValueError:
        raise error("FIELD_FORMAT", "a root is 64 hexadecimal digits", field="root") from None
    asking.confirm(f"Vouch for {domain} at {size:,} entries, root {root}?", yes=yes, dry_run=dry_run)
    with session.operator() as node:
        node.acting()
        done = node.call("AdminService/AcceptHead", {"trust_domain": domain, "size": size, "root": value})
    output.show({**done, "size": size, "root": root}, f"accepted {done['origin']} at {size:,}; an entry says so")


def _witnesses(node: session.Operator) -> dict[str, Any]:
    return node.call("AdminService/ListWitnesses", {})


def _state(one: Witness) -> str:
    if one["behind"] is None:
        return output.printable(one["problem"]) or "up to date"
    return f"{output.age(one['behind'])} behind" + (f": {output.printable(one['problem'])}" if one["problem"] else "")


def _behind(one: Witness) -> str:
    return f"{one['witness']}: {_state(one)}"


@log.command()
@click.option(
    "-o", "target", type=click.Path(dir_okay=False, path_type=Path), help="File to write, with both signed notes."
)
def forks(target: Path | None) -> None:
    """List logs that showed two histories; with -o, write what proves it to somebody else."""
    with session.operator() as node:
        found = node.call("AdminService/ListForks", {})["forks"]
    if target is not None:
        _write(target, found)
    rows = [
        (output.local_time(one["time"]), one["origin"], f"{one['size']:,}", _kind(one), one["source"] or "not known")
        for one in found
    ]
    lines = output.table(("FOUND", "LOG", "AT ENTRY", "PROOF", "SHOWN BY"), rows) if rows else ["no fork was found"]
    output.show_list([_data(one) for one in found], [*lines, *([f"written  {target}"] if target else [])])


def _kind(one: Fork) -> str:
    return "proven" if one["proven"] else "open"


def _data(one: Fork) -> dict[str, Any]:
    """A fork for programs: notes as text, hashes as hexadecimal."""
    return {**one, "held": _text(one["held"]), "shown": _text(one["shown"]), "proof": [h.hex() for h in one["proof"]]}


def _text(note: bytes) -> str:
    return note.decode("utf-8", "replace")


def _write(target: Path, found: Sequence[Fork]) -> None:
    if target.exists():
        raise error("DUPLICATE", f"{target} is there already; nothing was written", next_step="Choose another name.")
    if not found:
        raise error("NOT_FOUND", "no fork was found; nothing was written")
    target.write_text("\n".join(line for one in found for line in _lines(one)) + "\n", encoding="utf-8")


def _lines(one: Fork) -> Iterator[str]:
    """One fork as text that needs no program of ours: both notes as they were signed."""
    yield f"Log {one['origin']}: two heads under one log key that do not fit together."
    yield f"Found {one['time']}, shown by {one['source'] or 'somebody not known'}."
    yield _meaning(one)
    for name in ("held", "shown"):
        yield f"-----BEGIN SIGNED NOTE ({name})-----"
        yield _text(one[name]).removesuffix("\n")
        yield f"-----END SIGNED NOTE ({name})-----"
    yield from _hashes("CONSISTENCY PROOF THAT FAILS", b"".join(one["proof"]))
    yield from _hashes("LEAF HASHES", one["hashes"])
    yield ""


def _meaning(one: Fork) -> str:
    if not one["proven"]:
        return "Not proven: the proof that came with the second note fails, which whoever brought it can bring about."
    if one["hashes"]:
        return (
            "Proof: the leaf hashes give the root of the larger note (RFC 6962), and as many of them as the smaller "
            "note counts give another root than the smaller note has."
        )
    return "Proof: both notes count the same number of entries and have different roots."


def _hashes(name: str, data: bytes) -> Iterator[str]:
    if data:
        yield f"-----BEGIN {name}-----"
        yield from (data[i : i + _HASH_BYTES].hex() for i in range(0, len(data), _HASH_BYTES))
        yield f"-----END {name}-----"


log.add_command(upkeep.recover)
log.add_command(succession.succeed)
