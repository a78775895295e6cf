"""Commands that are imported when they run, and the options that every command has.

Decides: how a group finds a command by name or alias, and the common options. Leaves to others: which commands there
are (``root``), what they do.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from click.core import ParameterSource

from trustnode.errors import error

ALIASES: Final[Mapping[str, str]] = {"ls": "list", "enroll": "enrol"}


@contextlib.contextmanager
def of_the_node() -> Iterator[None]:
    """Around the import of what only an installation with the node has.

    Raises:
        TrustnodeError: USAGE where this is the client alone.
    """
    try:
        yield
    except ImportError as missing:
        step = "Install it with: pip install 'trustnode[node]'"
        message = f"this installation is the client alone ({missing.name} is missing)"
        raise error("USAGE", message, next_step=step) from None


class Entry(NamedTuple):
    """Where a command lies, and its line in the help of its group."""

    target: str
    """``module:attribute`` below ``trustnode.cli``."""
    help: str


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.entries: Mapping[str, Entry] = entries or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return [*self.entries, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or of the name that the alias stands for."""
        name = ALIASES.get(cmd_name, cmd_name)
        entry = self.entries.get(name)
        if entry is None:
            return super().get_command(ctx, name)
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(f"trustnode.cli.{module}"), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.target} is no command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, with the full name of the command."""
        _, command, rest = super().resolve_command(ctx, args)
        return command.name if command else None, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one."""
        own = {name: command.get_short_help_str(60) for name, command in self.commands.items()}
        rows = [*((name, entry.help) for name, entry in self.entries.items()), *own.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Command(click.Command):
    """A command with the options that all have."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.extend(common_options())


class Group(LazyGroup):
    """A noun; its verbs are ``Command``."""

    command_class = Command


class ListingGroup(Group):
    """A noun that lists when no verb is named."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, invoke_without_command=True, **options)
        self.params.extend(common_options())


def common_options() -> list[click.Parameter]:
    """``--home``, ``--profile``, ``--json``, ``--quiet``, ``--debug``, ``--lang``."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
        found, name = ctx.ensure_object(dict), str(parameter.name)
        is_given = ctx.get_parameter_source(name) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
        if is_given or name not in found:  # a group has these options too, and its command must not undo them
            found[name] = value

    def option(*names: str, **settings: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=keep, **settings)

    return [
        option(
            "--home", type=click.Path(path_type=Path), envvar="TRUSTNODE_HOME", help="Folder of the node you operate."
        ),
        option("--profile", envvar="TRUSTNODE_PROFILE", help="Name or folder of the profile you act as."),
        option("--json", is_flag=True, help="One object in JSON."),
        option("--quiet", "-q", is_flag=True, help="Nothing on stderr but errors."),
        option("--debug", is_flag=True, help="Tracebacks of errors."),
        option(
            "--lang", type=click.Choice(["zh", "en"]), envvar="TRUSTNODE_LANG", default="en", help="Language of words."
        ),
    ]
