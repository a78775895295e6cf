"""``trustnode trace``: whose copy a file is that turned up somewhere.

Decides: what is typed and shown, and the words of the verdict. Leaves to others: finding out (``tracing``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustnode.cli import asking, output
from trustnode.cli.lazy import Command, of_the_node
from trustnode.core.identifier import short_name
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.tracing import Copy, Named, Traced

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.argument("suspect", type=FILE)
@click.option("--product", required=True, metavar="NAME", help="Product that the rows are of.")
@click.option("--key", default="", metavar="COLUMN", help="What the file calls the column that names the rows.")
@click.option("--column", default="", metavar="COLUMN", help="What the file calls the column that carries the marks.")
@click.option("--original", type=FILE, help="The rows as they were delivered, where the source has changed since.")
@click.option("--evidence", "target", type=click.Path(dir_okay=False, path_type=Path), help="File for the evidence.")
def trace(suspect: Path, product: str, key: str, column: str, original: Path | None, target: Path | None) -> None:
    """Find out whose copy SUSPECT is: a .csv or .parquet with rows of a product whose copies are marked.

    For the operator of the node that delivered; it need not run. Compares the file with the source and names a
    recipient only where an innocent would agree as well by chance in less than one case of a thousand million.
    """
    doing = _tracing()
    found = doing.trace(asking.home(), product, doing.Suspicious(suspect, column, key), original=original)
    if target is not None:
        _write(doing.evidence(found), target)
    output.show(_as_data(found), *_lines(found))


def _tracing() -> Any:
    """Imported when it is needed, like the node itself: it brings the engine."""
    with of_the_node():
        from trustnode import tracing as found
    return found


def _write(evidence: dict[str, Any], target: Path) -> None:
    if target.exists():
        raise error("DUPLICATE", f"{target} is there already; nothing was written", next_step="Choose another name.")
    target.touch(mode=0o600)
    target.write_text(json.dumps(evidence, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    output.note(f"written  {target}: it holds the key of these marks; show it to those alone who have to judge")


def _as_data(found: Traced) -> dict[str, Any]:
    return {
        "product": found.product,
        "file": {"name": found.file, "sha256": found.sha256, "rows": found.rows, "known_rows": found.known},
        "bits_seen": found.bits,
        "recipients": [
            {
                "consumer": one.name,
                "agreements": [copy.agreement for copy in one.copies],
                "bits_seen": one.suspect.seen,
                "bits_agreeing": one.suspect.agreeing,
                "chance": f"{one.suspect.chance:.3e}",
                "marker_rows": one.marker_rows,
                "marker_rows_delivered": _delivered(one),
                "is_accused": one in found.accused,
                "is_committed": all(copy.is_committed for copy in one.copies),
            }
            for one in found.recipients
        ],
        "pairs": [
            {
                "consumers": list(pair.names),
                "bits_told": pair.seen,
                "bits_agreeing": pair.agreeing,
                "chance": f"{pair.chance:.3e}",
            }
            for pair in found.pairs
        ],
    }


def _delivered(one: Named) -> int:
    return one.copy.table.mark.marker_rows if one.copy.table.mark else 0


def _lines(found: Traced) -> Iterator[str]:
    yield from output.pairs(
        [
            ("file", f"{output.printable(found.file)}: {found.rows:,} rows, {found.known:,} of them marked in a copy"),
            ("bits", f"{found.bits} of 64 seen"),
        ]
    )
    rows = [
        (
            _short(one.name),
            ", ".join(short_name(copy.agreement) for copy in one.copies),
            str(one.suspect.seen),
            str(one.suspect.agreeing),
            f"{one.suspect.chance:.0e}",
        )
        for one in found.recipients
    ]
    yield ""
    yield from output.table(("RECIPIENT", "AGREEMENT", "SEEN", "AGREE", "CHANCE"), rows, flexible=0)
    yield ""
    for one in found.recipients:
        if one.marker_rows:
            yield f"markers  {one.marker_rows} of {_delivered(one)} marker rows of {_short(one.name)} are in the file"
    yield from _verdict(found)


def _short(name: str) -> str:
    return output.printable(name.removeprefix("spiffe://").replace("/participant/", "/"))


def _verdict(found: Traced) -> Iterator[str]:
    if not found.accused:
        yield "verdict  not enough: no recipient agrees so well that chance is ruled out (at most 1e-09)"
        return
    for pair in found.pairs:
        yield (
            f"verdict  {' and '.join(map(_short, pair.names))} put their copies together: "
            f"{pair.agreeing} of {pair.seen} bits, by chance {pair.chance:.0e}"
        )
    for one in found.accused:
        if one.name not in found.paired:
            yield (
                f"verdict  this is the copy of {_short(one.name)}: {one.suspect.agreeing} of {one.suspect.seen} bits; "
                f"that an innocent agrees so well: {one.suspect.chance:.0e}"
            )
    for one in found.accused:
        yield from (_commitment(copy) for copy in one.copies)


def _commitment(copy: Copy) -> str:
    about = f"of {_short(copy.consumer)} before the first delivery under {short_name(copy.agreement)}"
    if copy.is_committed:
        return f"log      entry {copy.log_index:,} committed to the mark {about}"
    return f"log      no entry commits to the mark {about}: others need not believe it"
