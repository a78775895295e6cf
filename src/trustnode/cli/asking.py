"""Who is asking: the operator of a node, or somebody with a profile.

Decides: which of both a command acts as, and when it asks before it destroys. Leaves to others: connecting (``sdk``).
Source: surface, "Who is asking".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from trustnode.cli import output
from trustnode.errors import error

CONFIGURATION: Final = "trustnode.toml"


def is_operator() -> bool:
    """Whether a command that both may call was called by the operator of a node.

    Raises:
        TrustnodeError: USAGE when both ``--home`` and ``--profile`` are set, and both fit.
    """
    options = output.options()
    home, profile = options.get("home"), options.get("profile")
    if home and profile:
        raise error(
            "USAGE",
            f"--home {home} and --profile {profile} are both set, and both fit",
            next_step="Leave one of them out; unset TRUSTNODE_HOME or TRUSTNODE_PROFILE.",
        )
    return bool(home) or (not profile and _here() is not None)


def home() -> Path:
    """Folder of the node that the operator means.

    Raises:
        TrustnodeError: USAGE when none is named, CONFIG_INVALID when there is no node in it.
    """
    named = output.options().get("home") or _here()
    if not named:
        raise error("USAGE", "no node is named", next_step="Add --home DIR, or set TRUSTNODE_HOME.")
    folder = Path(named)
    if not (folder / CONFIGURATION).is_file():
        step = f"Make one with: trustnode init --home {folder}"
        raise error("CONFIG_INVALID", f"{folder} holds no node: {CONFIGURATION} is missing", next_step=step)
    return folder


def _here() -> Path | None:
    return Path() if Path(CONFIGURATION).is_file() else None


def profile() -> str | None:
    """Name or folder of the profile that was named; None: the SDK looks for the only one."""
    named = output.options().get("profile")
    return str(named) if named else None


def confirm(question: str, *, yes: bool, dry_run: bool = False) -> None:
    """Ask before something that destroys or reaches far.

    Raises:
        TrustnodeError: USAGE without terminal and without ``--yes``.
        click.exceptions.Exit: After ``--dry-run``, and when the answer is no.
    """
    if dry_run:
        output.note("nothing was changed (--dry-run)")
        raise click.exceptions.Exit(0)
    if yes:
        return
    if not sys.stdin.isatty():
        raise error("USAGE", f"{question} Nobody can answer: this is no terminal", next_step="Add --yes, or --dry-run.")
    if not click.confirm(question, default=False, err=True):
        raise click.exceptions.Exit(1)


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show the effect, change nothing.")
