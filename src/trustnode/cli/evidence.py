"""Proof: ``evidence``, ``verify``, ``log``.

Decides: what is shown of a story, a bundle and a log. Leaves to others: checking (``core.evidence``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
import msgspec

from trustnode.cli import asking, exit_status, output, session
from trustnode.cli.lazy import Command, Group
from trustnode.errors import REASONS, error

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def evidence() -> None:
    """What happened under an agreement, and the proof of it."""


@evidence.command()
@click.argument("agreement")
def story(agreement: str) -> None:
    """Tell what happened under AGREEMENT: one line an event, refusals too."""
    from trustnode.cli.story import tell

    with session.connect() as connection:
        events = tell(connection, agreement)
    lines = [f"{output.local_time(one.time):<26}  {one.event:<18}  {output.printable(one.text)}" for one in events]
    output.show_list([one._asdict() for one in events], lines)


@evidence.command()
@click.argument("agreement")
@click.option("-o", "target", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
def bundle(agreement: str, target: Path) -> None:
    """Write everything about AGREEMENT into one file that a stranger can verify."""
    if target.exists():
        raise error("DUPLICATE", f"{target} is there already; nothing was written", next_step="Choose another name.")
    with session.connect() as connection:
        size, digest = connection.bundle(agreement, target)
    data = {"file": str(target), "size_bytes": size, "sha256": digest}
    output.show(data, f"written  {target}: {size:,} bytes, sha256 {digest[:16]}...")


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trust", "cards", multiple=True, type=FILE, metavar="CARD", help="Card of a venue you have compared.")
@click.option("--anchor", "anchors", multiple=True, metavar="DOMAIN=FINGERPRINT", help="A venue you trust.")
@click.pass_context
def verify(ctx: click.Context, bundle: Path, cards: tuple[Path, ...], anchors: tuple[str, ...]) -> None:
    """Check a bundle: no node, no network. With a profile and nothing else named, its own anchors count."""
    from trustnode.core.evidence.report import lines
    from trustnode.sdk.bundle import verify as check

    report = check(bundle, trust=cards, anchor=_anchors(anchors, cards))
    data: dict[str, Any] = msgspec.to_builtins(report)
    output.show(data, *lines(report))
    ctx.exit(exit_status.DONE if report.is_verified else REASONS["VERIFICATION_FAILED"].exit_status)


def _anchors(texts: tuple[str, ...], cards: tuple[Path, ...]) -> dict[str, str]:
    """``DOMAIN=FINGERPRINT``; with a profile and nothing else named, its own anchors."""
    from trustnode.core.identity import parse_fingerprint

    found = {}
    for text in texts:
        domain, separator, mark = text.partition("=")
        if not separator:
            raise error("USAGE", f"--anchor {text}: write DOMAIN=FINGERPRINT")
        found[domain] = parse_fingerprint(mark)
    if not found and not cards and asking.profile():
        from trustnode.sdk.profile import Profile

        found = dict(Profile.open(asking.profile()).settings.anchors)
    return found


@click.group(cls=Group)
def log() -> None:
    """The evidence log of the node."""


@log.command()
def status() -> None:
    """How long the log is, and who has cosigned it."""
    from trustnode.core.evidence.checkpoint import parse_checkpoint

    with session.connect() as connection:
        note = connection.checkpoint()
    text, _, signatures = note.decode("utf-8", "replace").rpartition("\n\n")
    found = parse_checkpoint(f"{text}\n")
    names = [line.split(" ")[1] for line in signatures.splitlines() if line.count(" ") >= 2]
    others = [name for name in names if name != found.origin]
    data = {"origin": found.origin, "size": found.size, "root": found.root.hex(), "cosigned_by": others}
    rows = [
        ("log", found.origin),
        ("entries", f"{found.size:,}"),
        ("root", found.root.hex()),
        ("cosigned", f"by {', '.join(others) or 'nobody'}; not checked here"),
    ]
    output.show(data, *output.pairs(rows))
