"""``trustnode store`` and ``trustnode backup``.

Decides: what an operator types and sees. Leaves to others: checking and copying (the node), restoring (``upkeep``).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from trustnode.cli import asking, output, session, upkeep
from trustnode.cli.lazy import Group
from trustnode.errors import error

SOCKET: Final = Path("run") / "admin.sock"


@click.group(cls=Group)
def store() -> None:
    """The node's store."""


@store.command()
def check() -> None:
    """Compare the store with its log; exit 8 names the first difference.

    Works on a running node, which goes on as a reader when something differs, and on one that is stopped.
    """
    if not _runs(asking.home()):
        _check_stopped()
        return
    with session.operator() as node:
        done = node.check_store()
    lines = [f"{'ok' if check['ok'] else 'FAILED':<8} {check['name']}: {check['detail']}" for check in done["checks"]]
    output.show(done, *lines, f"sound    {done['entries']:,} entries checked")


def _runs(home: Path) -> bool:
    """Whether a node answers here; one that was killed leaves its socket behind."""
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(str(home / SOCKET))
        except OSError:
            return False
        return True


def _check_stopped() -> None:
    """The files themselves, while no node holds them."""
    from trustnode import home as homes

    found = homes.check_stopped(asking.home())
    if found.differences:
        more = f"; and {len(found.differences) - 1} more" if len(found.differences) > 1 else ""
        raise error("STORE_CORRUPT", f"{found.differences[0]}{more}")
    output.show({"entries": found.entries}, f"sound    {found.entries:,} entries checked; the node is stopped")


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


@backup.command(name="list")
def list_() -> None:
    """Backups that were made here, the newest first."""
    with session.operator() as node:
        found = node.call("AdminService/ListBackups", {})["backups"]
    rows = [
        (output.local_time(one["made_at"]), f"{one['entries']:,}", _tested(one), one["path"]) for one in found
    ]  # fmt: skip
    output.show_list(found, output.table(("MADE", "ENTRIES", "TESTED", "FILE"), rows, flexible=3) if rows else [])


def _tested(one: Mapping[str, Any]) -> str:
    return output.day(one["tested_at"]) if one["tested_at"] else "never"


@backup.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def test(file: Path) -> None:
    """Restore FILE into a scratch folder, verify all of it, compare it with the log of the node that runs."""
    with session.operator() as node:
        done = node.call("AdminService/TestBackup", {"path": str(file.resolve())})["backup"]
    output.show(done, f"sound    {file}: {done['entries']:,} entries restored in a scratch folder, all of it verified")


backup.add_command(upkeep.restore)
