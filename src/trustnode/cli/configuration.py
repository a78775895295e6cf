"""``trustnode config``: check and show the settings of a node.

Decides: how settings are shown. Leaves to others: which there are and where each comes from (``trustnode.config``).
"""

from __future__ import annotations

import os
from typing import Any

import click

from trustnode.cli import asking, output
from trustnode.cli.lazy import Group


@click.group(cls=Group)
def config() -> None:
    """Settings of a node: flag beats environment beats file beats default."""


@config.command()
def check() -> None:
    """Check the settings; an unknown key is an error with a suggestion."""
    from trustnode import config as settings

    home = asking.home()
    loaded = settings.load(home, os.environ)
    given = sum(origin != "default" for origin in loaded.origins.values())
    data = {"home": str(home), "file": settings.FILE_NAME, "settings": len(loaded.origins), "given": given, "ok": True}
    output.show(data, f"ok       {home / settings.FILE_NAME}: {given} of {len(loaded.origins)} settings given")


@config.command()
@click.option("--origin", is_flag=True, help="Where each value comes from.")
@click.argument("keys", nargs=-1)
def show(origin: bool, keys: tuple[str, ...]) -> None:
    """Show the settings in force, or those of KEYS (section or section.name)."""
    from trustnode import config as settings
    from trustnode.vocabulary import unknown

    loaded = settings.load(asking.home(), os.environ)
    sections = {key.partition(".")[0] for key in settings.SETTINGS}
    for key in keys:
        if key not in settings.SETTINGS and key not in sections:
            raise unknown("key", key, [*sections, *settings.SETTINGS])
    chosen = [key for key in settings.SETTINGS if not keys or key in keys or key.partition(".")[0] in keys]
    values = {key: _value(loaded.config, key) for key in chosen}
    items = [
        {"key": key, "value": values[key], "origin": loaded.origins[key], "unit": settings.SETTINGS[key].unit}
        for key in chosen
    ]
    rows = [(key, _text(values[key]), *([loaded.origins[key]] if origin else [])) for key in chosen]
    output.show_list(items, output.table(("KEY", "VALUE", *(["ORIGIN"] if origin else [])), rows, flexible=1))


def _value(loaded: Any, key: str) -> Any:
    section, _, name = key.partition(".")
    value = getattr(getattr(loaded, section), name)
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
