"""``trustnode demo``: the story lies in ``trustnode.demo``; this is only its door."""

from __future__ import annotations

import importlib

import click

from trustnode.cli.lazy import Command


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Stop by itself; exit 0 only if every step held.")
@click.option("--dir", "directory", type=click.Path(file_okay=False), default="demo", help="Folder for nodes and data.")
@click.pass_context
def demo(ctx: click.Context, once: bool, directory: str) -> None:
    """Four exchanges on this machine, real data, one story; then they stay up until Ctrl-C."""
    module = importlib.import_module("trustnode.demo")
    ctx.exit(int(module.main(once=once, directory=directory) or 0))
