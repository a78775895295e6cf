"""Credentials of sources: what a database or an object store asks for, in files that only the node's owner reads.

Decides: where such a file lies, what may stand in it, that it serves only the address it was written for. Leaves to
others: how a source is opened with it (``engine.source``). Nothing of it goes into a product, a log or an answer.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from trustnode.errors import TrustnodeError, error
from trustnode.keys.files import PRIVATE_MODE

FOLDER: Final = "credentials"
"""Below the node's home."""
KEYS: Final[Mapping[str, frozenset[str]]] = {
    "postgres": frozenset({"password"}),
    "s3": frozenset({"access_key", "secret_key", "session_token"}),
}
"""Kind of source -> keys that its file may have besides ``location``."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def read_credentials(home: Path, name: str, kind: str, location: str) -> dict[str, str]:
    """Read the credentials for one source.

    Args:
        home: Folder of the node, or of the provider's profile.
        name: What the product file calls them.
        kind: Of the source.
        location: Address the source wants to use them at.

    Raises:
        TrustnodeError: CONFIG_INVALID, in words for the provider; no path of this machine and no secret stands in it.
    """
    if not _NAME.fullmatch(name):
        raise _bad("a name of credentials is small letters, digits, - and _; it is no path")
    found = _read(home / FOLDER / f"{name}.toml", f"{FOLDER}/{name}.toml")
    written_for = found.pop("location", "")
    if not covers(written_for, location):
        raise _bad(f"{FOLDER}/{name}.toml is not for this address: its location must name the same one")
    if unknown := found.keys() - KEYS.get(kind, frozenset()):
        known = ", ".join(sorted(KEYS.get(kind, ()))) or "none"
        raise _bad(
            f"{FOLDER}/{name}.toml: {', '.join(sorted(unknown))[:128]} is not known; a {kind} source takes {known}"
        )
    return found


def covers(written_for: str, location: str) -> bool:
    """Whether credentials for one address serve another: same role, host, port and options; the path lies below.

    Otherwise whoever may register a product could have a password sent to a host of their own.
    """
    try:
        ours, theirs = urlsplit(written_for), urlsplit(location)
        is_same = _origin(ours) == _origin(theirs)
    except ValueError:
        return False
    if not ours.scheme or not is_same or ".." in theirs.path:
        return False
    own, other = ours.path.rstrip("/"), theirs.path.rstrip("/")
    return own == other or other.startswith(f"{own}/")


def _origin(parts: SplitResult) -> tuple[str, str, list[tuple[str, str]]]:
    return parts.scheme, parts.netloc, sorted(parse_qsl(parts.query, keep_blank_values=True))


def _read(path: Path, shown: str) -> dict[str, str]:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        step = f"Write it below the home of node or profile: location = the address, password = ...; chmod 600 {shown}"
        raise _bad(f"{shown} is not there or cannot be read", next_step=step) from None
    if mode & 0o077:
        step = f"Run in the home: chmod 600 {shown}; if others have read it, replace the password."
        raise _bad(f"{shown} is open to others (mode {mode & 0o777:04o}, wanted {PRIVATE_MODE:04o})", next_step=step)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise _bad(f"{shown} is no TOML") from None
    if not all(isinstance(value, str) for value in found.values()):
        raise _bad(f"{shown}: every key has a text")
    return found


def _bad(message: str, **more: str) -> TrustnodeError:
    return error("CONFIG_INVALID", message, field="credentials", **more)
