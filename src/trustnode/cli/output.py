"""What a command writes: lines and tables for people, one object for programs.

Decides: the forms of times, money, numbers and tables, and what goes to stdout or stderr (surface 4). Leaves to others:
the words themselves.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final, TextIO

import click

WIDTH: Final = 80
GAP: Final = "  "


def options() -> Mapping[str, Any]:
    """The common options of the running command."""
    context = click.get_current_context(silent=True)
    found = context.obj if context is not None else None
    return found if isinstance(found, dict) else {}


def _plain(value: object) -> str:
    """A value of a result that JSON has no form for: times in ISO 8601, bytes in hexadecimal, decimals as written."""
    if isinstance(value, date | time):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def is_json() -> bool:
    """Whether ``--json`` was given."""
    return bool(options().get("json"))


def lang() -> str:
    """``zh`` or ``en``."""
    return str(options().get("lang") or "en")


def show(data: Mapping[str, Any], *lines: str) -> None:
    """Write the result of a command: ``data`` with ``--json``, else the lines."""
    if is_json():
        click.echo(json.dumps(data, ensure_ascii=False, separators=(", ", ": "), default=_plain))
        return
    for line in lines:
        click.echo(line)


def show_list(items: Sequence[Mapping[str, Any]], lines: Iterable[str], next_page_token: str = "", **more: Any) -> None:
    """Write a list: ``{"items": [...], "next_page_token": ""}`` with ``--json``, else the lines."""
    show({"items": list(items), "next_page_token": next_page_token, **more}, *lines)


def note(text: str) -> None:
    """Write a remark to stderr; ``--quiet`` leaves it out."""
    if not options().get("quiet"):
        click.echo(text, err=True)


def acting(name: str, venue: str) -> None:
    """Say who is about to change something."""
    note(f"as {name} at {venue}")


def is_coloured(stream: TextIO) -> bool:
    """Whether a person looks at ``stream`` and did not forbid colour."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


# --- forms


def width(text: str) -> int:
    """Columns that ``text`` takes on a terminal: Chinese counts two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shorten(text: str, columns: int) -> str:
    """``text`` cut to ``columns``, with an ellipsis where something is missing."""
    if width(text) <= columns:
        return text
    kept = ""
    for character in text:
        if width(kept + character) > columns - 1:
            break
        kept += character
    return kept + "…"


def pad(text: str, columns: int) -> str:
    """``text`` filled with blanks to ``columns``."""
    return text + " " * (columns - width(text))


def printable(text: str) -> str:
    """``text`` without characters that would move the cursor or turn the line: names come from other venues."""
    return "".join(c if c == " " or c.isprintable() else "\ufffd" for c in text)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], flexible: int | None = None) -> list[str]:
    """Lines of a table of at most 80 columns.

    Args:
        headings: Names of the columns.
        rows: Their values.
        flexible: Number of the column that is shortened where the table is too wide; None: the widest.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(headings, *cells, strict=True)]
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - WIDTH
    while excess > 0:
        index = flexible if flexible is not None and widths[flexible] > 8 else widths.index(max(widths))
        cut = min(excess, max(widths[index] - 8, 1))
        if widths[index] <= 4:
            break
        widths[index] -= cut
        excess -= cut
    return [
        GAP.join(pad(shorten(cell, columns), columns) for cell, columns in zip(row, widths, strict=True)).rstrip()
        for row in [list(headings), *cells]
    ]


def wrapped(rows: Iterable[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Lines of a table whose long cells go on below, because none of their text may be missing."""
    lines = []
    for row in rows:
        cells = [wrap(printable(cell), columns) for cell, columns in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            lines.append(GAP.join(pad(part, columns) for part, columns in zip(parts, widths, strict=True)).rstrip())
    return lines


def wrap(text: str, columns: int) -> list[str]:
    """``text`` in lines of at most ``columns``, broken at blanks, or anywhere in a word that is longer."""
    lines, line = [], ""
    for word in text.split(" "):
        if line and width(f"{line} {word}") > columns:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
        while width(line) > columns:
            head = line
            while width(head) > columns:
                head = head[:-1]
            lines.append(head)
            line = line[len(head) :]
    return [*lines, line]


def pairs(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of names and values."""
    found = [(name, printable(value)) for name, value in rows if value]
    columns = max((width(name) for name, _ in found), default=0)
    return [f"{pad(name, columns)}{GAP}{value}" for name, value in found]


def local_time(time: str) -> str:
    """``2026-11-24 11:20:03 +08:00`` of an RFC 3339 text; empty stays empty."""
    if not time:
        return ""
    moment = datetime.fromisoformat(time).astimezone()
    offset = moment.strftime("%z")
    return f"{moment:%Y-%m-%d %H:%M:%S} {offset[:3]}:{offset[3:]}"


def day(time: str) -> str:
    """The day of an RFC 3339 text, local time."""
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d}" if time else ""


def last_day(time: str) -> str:
    """The last day before an instant: a period that ends at midnight ends with the day before."""
    return f"{datetime.fromisoformat(time).astimezone() - timedelta(milliseconds=1):%Y-%m-%d}" if time else ""


def money(fen: int) -> str:
    """``170.10 CNY`` of 17010 fen, ``free`` of none."""
    return f"{fen // 100}.{fen % 100:02d} CNY" if fen else "free"


def count(number: int, noun: str) -> str:
    """``1 peer``, ``8,505 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def age(seconds: float) -> str:
    """``2 s``, ``5 min``, ``3 h``, ``12 d``."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{max(0, int(seconds // size))} {unit}"
    return f"{int(seconds // 86400)} d"


def duration(seconds: float) -> str:
    """``12 d 4 h``, ``4 h 12 min``, ``9 s``: two units at most."""
    left, parts = int(seconds), []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        amount, left = divmod(left, size)
        if amount:
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2]) or "0 s"
