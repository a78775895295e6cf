"""``trustnode store`` and ``trustnode backup``.

Decides: what an operator types and sees. Leaves to others: checking and copying (the node).
"""

from __future__ import annotations

from pathlib import Path

import click

from trustnode.cli import output, session
from trustnode.cli.lazy import Group
from trustnode.errors import error


@click.group(cls=Group)
def store() -> None:
    """The node's store."""


@store.command()
def check() -> None:
    """Check the store against itself and against what was signed; exit 8 names the first difference."""
    with session.operator() as node:
        done = node.check_store()
    lines = [f"{'ok' if check['ok'] else 'FAILED':<8} {check['name']}: {check['detail']}" for check in done["checks"]]
    output.show(done, *lines, f"sound    {done['entries']:,} entries checked")


@click.group(cls=Group)
def backup() -> None:
    """Copies of the node's store."""


@backup.command()
@click.option("-o", "target", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
def create(target: Path) -> None:
    """Write a consistent copy while the node runs. The keys are not in it."""
    if target.exists():
        raise error("DUPLICATE", f"{target} is there already; nothing was written", next_step="Choose another name.")
    with session.operator() as node:
        done = node.backup(target.resolve())
    digest = done["sha256"].hex()
    size = f"{done['size_bytes'] / 1e6:,.1f} MB"
    data = {**done, "sha256": digest, "file": str(target)}
    output.show(data, f"written  {target}: {size}, {done['entries']:,} entries, sha256 {digest[:16]}...")
