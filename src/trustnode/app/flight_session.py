"""What a stock client says beside a query: under which agreements it reads, and the session that remembers it.

Decides: which agreements are meant (the query's own schemas, then the header of the call, then the session option), how
many sessions one caller may hold and for how long. Leaves to others: whether they are the caller's, and may be joined
(``handles``), cookies and messages (``rpc.flight_actions``). Source: data-plane 2.3, 3.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from trustnode.core import clock
from trustnode.core.identifier import SCHEMA_PREFIX
from trustnode.core.identity import Caller
from trustnode.errors import error

Names = tuple[str, ...]
"""Names of agreements, the first one first."""
OPTION: Final = "agreement"
MAX_SESSIONS_OF_ONE: Final = 64
MAX_VALUE: Final = 256
LIFE_S: Final = 3600.0
"""A session that was not used for so long is forgotten."""
_NAMED: Final = re.compile(
    rf"""'(?:[^']|'')*' | --[^\n]* | /\*.*?\*/ | (?<![\w."])"?{SCHEMA_PREFIX}(?P<short>[0-9a-z]{{8}})"?\s*\.""",
    re.ASCII | re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
"""Text and comments, which name nothing, or the schema of an agreement before a table."""


def agreements_named(sql: str) -> Names:
    """Short names of the agreements whose schemas a query names, as they come.

    Only a hint where to plan it: the worker of those agreements resolves every table again and knows no other schema.
    """
    return tuple(dict.fromkeys(match["short"].upper() for match in _NAMED.finditer(sql) if match["short"]))


def plain_names(text: str) -> Names:
    """Agreements as they are looked up, given with commas between them; the schema of one means the agreement too."""
    return tuple(dict.fromkeys(_plain(name.strip()) for name in text.split(",") if name.strip()))


def _plain(name: str) -> str:
    short = name[len(SCHEMA_PREFIX) :]
    return short.upper() if name.lower().startswith(SCHEMA_PREFIX) else name


@dataclass
class Session:
    """What one connection of a stock client has set."""

    owner: tuple[str, str]
    until: str
    options: dict[str, str] = field(default_factory=dict)


@dataclass
class Sessions:
    """Sessions by the cookie that names them; a cookie is good for the certificate it was given to."""

    _held: dict[str, Session] = field(default_factory=dict)

    def open(self, caller: Caller, now: str) -> str:
        """A new session; the caller's least recently used one makes room.

        Returns:
            Its cookie.
        """
        self._held = {key: held for key, held in self._held.items() if held.until > now}
        mine = [key for key, held in self._held.items() if held.owner[0] == caller.spiffe_id]
        if len(mine) >= MAX_SESSIONS_OF_ONE:
            del self._held[min(mine, key=lambda key: self._held[key].until)]
        cookie = secrets.token_urlsafe(24)
        self._held[cookie] = Session(_owner(caller), clock.shift(now, LIFE_S))
        return cookie

    def get(self, caller: Caller, cookie: str, now: str) -> Session | None:
        """The session of a cookie; None for one that is over, unknown or somebody else's."""
        held = self._held.get(cookie)
        if held is None or held.owner != _owner(caller) or held.until <= now:
            return None
        held.until = clock.shift(now, LIFE_S)
        return held

    def close(self, caller: Caller, cookie: str) -> None:
        """Forget a session."""
        held = self._held.get(cookie)
        if held is not None and held.owner == _owner(caller):
            del self._held[cookie]


def agreements_for(sql: str, header: str, session: Session | None) -> Names:
    """The agreements a query is read under: those it names, else what stands beside it.

    Raises:
        TrustnodeError: FIELD_MISSING when nothing says.
    """
    beside = header or (session.options.get(OPTION, "") if session else "")
    named = agreements_named(sql) or (plain_names(beside) if len(beside) <= MAX_VALUE else ())
    if not named:
        step = "Write the table as agreement_<short name>.<table>; GetTables lists them. Or send a header."
        message = "say under which agreement: write agreement_<short name>.<table>, or send header trustnode-agreement"
        raise error("FIELD_MISSING", message, field="agreement", next_step=step)
    return named


def _owner(caller: Caller) -> tuple[str, str]:
    return caller.spiffe_id, caller.leaf_sha256
