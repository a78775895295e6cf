"""Proof: ``evidence``, ``verify``.

Decides: what is shown of a story and a bundle. Leaves to others: checking (``core.evidence``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from trustnode.cli import asking, exit_status, output, session
from trustnode.cli.lazy import Command, Group
from trustnode.errors import REASONS, error

if TYPE_CHECKING:
    from trustnode.cli.story import Event
    from trustnode.core.evidence.report import Report

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
    mark = any(one.witnessed for one in events)
    lines = [f"{output.local_time(one.time):<26}  {one.event:<18}  {_told(one, mark=mark)}" for one in events]
    if events and not mark:
        lines.append("unwitnessed: no quorum has cosigned any of this yet")
    output.show_list([one._asdict() for one in events], lines)


def _told(event: Event, *, mark: bool) -> str:
    return output.printable(event.text) + ("  [unwitnessed]" if mark and not event.witnessed else "")


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


@evidence.command()
@click.argument("entries", type=click.IntRange(min=0), nargs=-1)
@click.option("--object", "named", nargs=2, metavar="KIND ID", help="Every entry about one object instead.")
@click.option("--document", "documents", multiple=True, metavar="SHA256", help="A kept document that goes too.")
@click.option("--reason", required=True, help="Why: a word of EraseReason, such as PURPOSE_REACHED or ORDER.")
@click.option("--authority", required=True, help="Who asked or ordered, on what ground. No name of a person.")
def erase(
    entries: tuple[int, ...], named: tuple[str, str] | None, documents: tuple[str, ...], reason: str, authority: str
) -> None:
    """Erase what ENTRIES of this node's log say, for good. Every proof and every bundle still verifies.

    For the operator. The act is signed and logged. Copies elsewhere (backups, mirrors, the other party) stay.
    """
    kind, object = named or ("", "")
    with session.operator() as node:
        node.erase(entries, kind, object, documents, reason=reason, authority=authority)
    what = f"{kind} {object}" if named else f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    data = {"entries": list(entries), "object": object, "documents": list(documents), "reason": reason}
    output.show(data, f"erased   {what}: no trace is left in the database files; the gap is logged as log.erase")


@click.command(cls=Command)
@click.argument("bundle", type=FILE)
@click.argument("other", type=FILE, required=False)
@click.option("--trust", "cards", multiple=True, type=FILE, metavar="CARD", help="Card of a venue you have compared.")
@click.option("--anchor", "anchors", multiple=True, metavar="DOMAIN=FINGERPRINT", help="A venue you trust.")
@click.option("--policy", type=FILE, help="A witness policy of your own, besides that of the agreement.")
@click.option("--report", "form", type=click.Choice(["html"]), help="Write a page that a person files.")
@click.option("-o", "target", type=click.Path(dir_okay=False, path_type=Path), help="File for the page.")
@click.pass_context
def verify(
    ctx: click.Context, bundle: Path, other: Path | None, cards: tuple[Path, ...], anchors: tuple[str, ...],
    policy: Path | None, form: str | None, target: Path | None,
) -> None:  # fmt: skip
    """Check a bundle: no node, no network. With a profile and nothing else named, its own anchors count.

    With a second bundle both are checked, and what only one of the two venues has logged is named.
    """
    from trustnode.sdk.bundle import verify as check

    if other is not None and form:
        raise error("USAGE", "a page tells of one bundle", next_step="Leave the second file out.")
    known, text = _anchors(anchors, cards), policy.read_text() if policy else ""
    reports = [check(file, trust=cards, anchor=known, witness_policy=text) for file in (bundle, other) if file]
    if form:
        _write_page(bundle, reports[0], target)
    elif other is None:
        output.show(msgspec.to_builtins(reports[0]), *_printed(reports[0]))
    else:
        ctx.exit(_show_both(bundle, other, reports))
    ctx.exit(exit_status.DONE if reports[0].is_verified else _NOT_VERIFIED)


def _printed(report: Report) -> list[str]:
    from trustnode.core.evidence.report import lines

    return [output.printable(line) for line in lines(report)]


def _write_page(bundle: Path, report: Report, target: Path | None) -> None:
    from trustnode.core.evidence.report import summary
    from trustnode.sdk.bundle import page

    html = page(bundle, report, language="zh" if output.lang() == "zh" else "en")
    if target is None:
        click.echo(html, nl=False)
        return
    target.write_text(html, encoding="utf-8")
    output.show({"file": str(target), "verdict": report.verdict}, f"written  {target}", summary(report))


def _show_both(bundle: Path, other: Path, reports: list[Report]) -> int:
    """Both results and what differs; the exit status. A log that tells two stories is never verified."""
    from trustnode.sdk.bundle import compare

    readable = all(report.agreement for report in reports)
    found = compare(bundle, other) if readable else ()
    blocks = [[str(file), *_printed(report), ""] for file, report in zip((bundle, other), reports, strict=True)]
    said = [f"differs  {_clock(one.time)}{output.printable(one.text)}" for one in found]
    data: dict[str, Any] = {"reports": msgspec.to_builtins(reports), "differences": msgspec.to_builtins(found)}
    nothing = "both files tell of the same reads; no entry is in one log only"
    output.show(data, *blocks[0], *blocks[1], *(said or [nothing] if readable else []))
    holds = all(report.is_verified for report in reports) and all(one.kind == "entry" for one in found)
    return exit_status.DONE if holds else _NOT_VERIFIED


def _clock(time: str) -> str:
    return f"{output.local_time(time)}  " if time else ""


_NOT_VERIFIED: Final = REASONS["VERIFICATION_FAILED"].exit_status


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
