"""``trustnode card``: the next version of our venue card, signed by roots that are here or elsewhere.

Decides: what an operator types and sees, and that a version is installed only when it is complete. Leaves to others:
what a version lists (``keys.cards``), telling peers (the node). Our card as a file for others: ``trustnode peer card``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from trustnode.cli import asking, exit_status, output, session, source
from trustnode.cli.lazy import Group
from trustnode.errors import TrustnodeError, error

if TYPE_CHECKING:
    from trustnode.core.document import Document
    from trustnode.core.identity import RootKeys
    from trustnode.keys import FileSigner
    from trustnode.keys.cards import Signed

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
key_option = click.option("--key", "key_files", multiple=True, type=FILE, help="A root key file; may be repeated.")
draft_option = click.option(
    "--draft", type=click.Path(dir_okay=False, path_type=Path), help="Write it unsigned, for roots that are elsewhere."
)


class Made(NamedTuple):
    """A version and how far it is."""

    card: Document
    version: int
    fingerprint: str
    signed: Signed
    draft: str
    """File in which it waits for signatures; empty: installed."""
    reloaded: bool


@click.group(cls=Group)
def card() -> None:
    """Versions of your venue card."""


@card.command("next")
@draft_option
@key_option
@click.option("--roots", metavar="M/N", help="New root keys: N of them, of which M sign; the old ones sign this once.")
@click.option("--root", "publics", multiple=True, metavar="PUBLIC", help="Public key of a new root made elsewhere.")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="Folder for new root keys.")
@click.pass_context
def next_(
    ctx: click.Context, draft: Path | None, key_files: tuple[Path, ...], roots: str | None, publics: tuple[str, ...],
    into: Path | None,
) -> None:  # fmt: skip
    """Make the next version from settings and keys as they are now, and install it when its roots have signed."""
    home = asking.home()
    held, signers = _new_roots(home, roots, publics, into)
    made = make_next(home, draft=draft, key_files=key_files, roots=held, further=signers)
    show(ctx, made)


def _new_roots(
    home: Path, words: str | None, publics: Sequence[str], into: Path | None
) -> tuple[RootKeys | None, tuple[FileSigner, ...]]:
    """The roots that sign from now on, and those of them whose keys were made here."""
    if words is None:
        if publics:
            raise error("USAGE", "say how many of these roots must sign: --roots M/N")
        return None, ()
    from trustnode.core.identity import RootKeys
    from trustnode.keys.home import create_root_keys

    threshold, count = root_numbers(words)
    if publics and len(publics) != count:
        raise error("USAGE", f"--roots {words} needs {count} times --root, or none: then they are made here")
    folder, day = into or home, source.now()[:10]
    made = () if publics else create_root_keys(folder, count, stem=f"root-{day}")
    return RootKeys(threshold, tuple(publics) or tuple(one.public.hex() for one in made)), made


def root_numbers(words: str) -> tuple[int, int]:
    """``2/3``: how many root keys must sign, of how many.

    Raises:
        TrustnodeError: USAGE.
    """
    threshold, _, count = words.partition("/")
    if not (threshold.isdecimal() and count.isdecimal() and 1 <= int(threshold) <= int(count) <= 16):
        raise error("USAGE", f"{words} is not M/N with M of N root keys, at most 16", field="roots")
    return int(threshold), int(count)


def make_next(
    home: Path,
    *,
    draft: Path | None = None,
    key_files: Sequence[Path] = (),
    roots: RootKeys | None = None,
    further: Sequence[FileSigner] = (),
    log: int = 0,
    install: Callable[[Path, Document], Made] | None = None,
) -> Made:
    """Make the next version; install it when it is complete, else write it as a draft.

    Args:
        home: The node's folder.
        draft: File for an unsigned version.
        key_files: Root keys that are not in the folder.
        roots: New roots.
        further: Their keys.
        log: Number of the log that the version opens; 0: the log goes on.
        install: What is done with a complete version; None: ``install_card``.

    Raises:
        TrustnodeError: As ``keys.cards``; PRECONDITION_OPEN when signatures are missing and no draft was asked for.
    """
    import os

    from trustnode import config
    from trustnode.core.document import cosign, seal
    from trustnode.core.identity import check_card
    from trustnode.keys import FileSigner, load_node_keys, read_card, root_signers
    from trustnode.keys import cards as making

    node: Any = config.load(home, os.environ).config.node
    now, previous = source.now(), read_card(home)
    drafted = making.draft_card(
        keys=load_node_keys(home, node.trust_domain, now), id=source.new_id(), now=now, node_id=node.node_id,
        level=node.level, area=node.area, name=node.name, endpoints=tuple(node.endpoints) or (node.listen,),
        subject=node.subject or None, previous=check_card(previous, None), roots=roots, log=log,
    )  # fmt: skip
    signers = () if draft else (*root_signers(home), *further, *(FileSigner.load(path) for path in key_files))
    document = cosign(seal(drafted), *{one.public: one for one in signers}.values())
    if draft or not making.signed(document, previous).complete:
        return _as_draft(document, previous, draft or home / f"card-{drafted.version}.draft")
    return (install or install_card)(home, document)


def _as_draft(document: Document, previous: Document, path: Path) -> Made:
    from trustnode.core.identity import Card, fingerprint
    from trustnode.keys import cards as making

    making.write_draft(path, document, previous)
    version = session.Session.decode(document, Card).version
    return Made(document, version, fingerprint(document), making.signed(document, previous), str(path), False)


def install_card(home: Path, document: Document) -> Made:
    """Take a complete version in: the file, and the node if it runs."""
    import os

    from trustnode import config
    from trustnode.core.identity import fingerprint
    from trustnode.keys import cards as making
    from trustnode.keys import load_node_keys

    domain = config.load(home, os.environ).config.node.trust_domain
    previous, now = making.read_card(home), source.now()
    if document.digest == previous.digest:
        raise error("DUPLICATE", "this version is installed already")
    checked = making.check_next(document, previous, load_node_keys(home, domain, now), now)
    making.write_card(home, document)
    done = making.signed(document, previous)
    return Made(document, checked.value.version, fingerprint(document), done, "", reload_node(home))


def reload_node(home: Path) -> bool:
    """Have the running node take files over; False where none runs."""
    if not (home / "run" / "admin.sock").exists():
        return False
    try:
        with session.operator() as node:
            node.reload()
    except TrustnodeError as problem:
        if problem.reason != "PEER_UNREACHABLE":
            raise
        return False
    return True


def show(ctx: click.Context, made: Made, *first: str) -> None:
    """Say what became of a version; exit 10 while signatures are missing."""
    data = {
        "version": made.version, "fingerprint": made.fingerprint, "draft": made.draft, "installed": not made.draft,
        "spread": made.reloaded, "signed_by_old_roots": made.signed.old, "signed_by_new_roots": made.signed.new,
    }  # fmt: skip
    output.show(data, *first, *_lines(made))
    ctx.exit(exit_status.WAITS if made.draft else exit_status.DONE)


def _lines(made: Made) -> list[str]:
    if made.draft:
        return [
            f"draft    card {made.version} in {made.draft}: {missing(made.signed)}",
            f"then     trustnode card sign {made.draft} --key root.key; trustnode card install {made.draft}",
        ]
    spread = "peers follow by themselves" if made.reloaded else "the node tells its peers when it starts"
    return [f"card     {made.version} installed, fingerprint {made.fingerprint}", f"next     nothing: {spread}"]


def missing(signed: Signed) -> str:
    """Signatures that a version still needs, in words."""
    old, new = max(0, signed.old_needed - signed.old), max(0, signed.new_needed - signed.new)
    return f"signed by {signed.old} of the old roots ({old} missing) and {signed.new} of the new ({new} missing)"


@card.command()
@click.argument("draft", type=FILE)
@click.option("--key", "key_file", type=FILE, required=True, help="The root key file.")
def sign(draft: Path, key_file: Path) -> None:
    """Add one root signature to DRAFT. Needs no node and no network."""
    from trustnode.core.identity import Card, fingerprint
    from trustnode.keys import FileSigner
    from trustnode.keys import cards as making

    done = making.sign_draft(draft, FileSigner.load(key_file))
    document, _ = making.read_draft(draft)
    value = session.Session.decode(document, Card)
    mark = fingerprint(document)
    output.show(
        {"version": value.version, "trust_domain": value.trust_domain, "fingerprint": mark, "complete": done.complete},
        f"signed   {value.trust_domain} card {value.version}, fingerprint {mark}",
        f"next     trustnode card install {draft.name}" if done.complete else f"wants    {missing(done)}",
    )


@card.command()
@click.argument("draft", type=FILE)
@click.pass_context
def install(ctx: click.Context, draft: Path) -> None:
    """Take DRAFT in as our card, when enough old and new roots have signed it; peers follow by themselves."""
    from trustnode.keys import cards as making

    home = asking.home()
    document, _ = making.read_draft(draft)
    show(ctx, install_card(home, document))


@card.command()
@click.option("-o", "target", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File of the key.")
def root(target: Path) -> None:
    """Make a root key, on any machine, and print its public key for ``card next --root``."""
    from trustnode.keys import FileSigner, write_secret

    signer = FileSigner.generate()
    write_secret(target, signer.pem)
    output.show({"file": str(target), "public": signer.public.hex()}, f"root     {signer.public.hex()}  in {target}")
