"""Operators are people: who they are, what they order, and when an order is enough.

Decides: the roles, the signed act and its form in a file, that a far-reaching act needs two different people, and what
one person alone may do. Leaves to others: keeping operators (``app.operators``), carrying acts out (``maintenance``).
Source: surface 2 (administrators are people; acts marked (two)).

Whoever is asked to believe an act looks at signatures alone: each operator has a key of its own, in a file that only
its account can read, so that to open the node's socket, or to write into its folder, is not to be two people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple, get_args

import msgspec

from trustnode.core import clock
from trustnode.core.document import Document, Key, Statement, Text, check_times, decode, has_signature, pae
from trustnode.core.identifier import random_part
from trustnode.errors import error

Role = Literal["SYSTEM", "SECURITY", "AUDIT"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
MAY_ASK: Final = frozenset({"SYSTEM", "SECURITY"})
"""Roles that may order an act; any other operator may approve it. AUDIT looks, and approves."""
Act = Literal["admin.add", "admin.remove", "backup.restore", "log.recover", "log.succeed", "key.rotate", "key.revoke"]
ACTS: Final = "acts"
"""Folder of a home in which acts wait."""
CARRIED: Final = ".carried"
"""How the file of an act ends that was carried out on the files of the home and is not in the log yet."""
ACT_LIFE_S: Final = 86400.0
"""How long an act waits for a second person."""
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$(?!\n)")]


class Operator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person, with one role."""

    name: Name
    role: Role
    public: Key
    """Of the key in the person's own account."""
    account: str = ""
    """Name of that account, for people; nothing depends on it."""


class OperatorAct(Statement, tag="operator-act", kw_only=True, frozen=True):
    """What an operator orders; the second signature is the approval of another one."""

    act: Act
    arguments: Annotated[tuple[Text, ...], msgspec.Meta(max_length=16)] = ()
    asked_by: str = ""
    """Name of who asks; empty where no operator is registered."""

    @property
    def short(self) -> str:
        """The name that people type: ``trustnode approve 5H2M8QPD``."""
        return random_part(hashlib.sha256(self.id.encode()).digest()[:8])


class Ordered(NamedTuple):
    """An act that is enough."""

    value: OperatorAct
    asked_by: str
    approved_by: str
    """Empty: one person did it alone."""


def check_act(
    document: Document,
    operators: Sequence[Operator],
    *,
    domain: str,
    now: str,
    act: Act,
    arguments: tuple[str, ...],
    alone: bool = False,
) -> Ordered:
    """Check that an act is ordered by whom it has to be.

    Args:
        document: The act as signed.
        operators: All operators of the home.
        domain: Our trust domain.
        now: Instant of the check.
        act: What is about to be carried out.
        arguments: With what.
        alone: Whether one person may do it alone, because there is only one.

    Raises:
        TrustnodeError: HASH_MISMATCH, it orders something else; TIME_SKEW, it is over; SIGNATURE_INVALID;
            ROLE_NOT_ALLOWED; APPROVAL_MISSING, a second person has not signed.
    """
    value = decode(document, OperatorAct)
    check_times(value, now)
    if value.expires is None or value.expires > clock.shift(value.time, ACT_LIFE_S):
        raise error("TIME_SKEW", "an act of an operator ends within a day, or its approval could be used for ever")
    if (value.iss, value.act, value.arguments) != (domain, act, arguments):
        raise error("HASH_MISMATCH", "this act orders something else", field="act")
    signed = signers(document, operators)
    others = [one for one in signed if one.name != value.asked_by]
    if operators:
        _check_asker(value, signed)
    if others:
        return Ordered(value, value.asked_by, others[0].name)
    if len(operators) > 1:
        step = f"Another operator: trustnode approve {value.short}"
        raise error("APPROVAL_MISSING", f"{act} needs a second person", next_step=step)
    if not alone:
        step = "Add one: trustnode admin add NAME --role SECURITY --key FILE; or say that you are alone: --alone"
        raise error("APPROVAL_MISSING", f"{act} needs a second person, and this home has none", next_step=step)
    return Ordered(value, value.asked_by, "")


def _check_asker(value: OperatorAct, signed: Sequence[Operator]) -> None:
    asker = next((one for one in signed if one.name == value.asked_by), None)
    if asker is None:
        raise error("SIGNATURE_INVALID", f"{value.asked_by or 'nobody'} did not sign this act, or is no operator here")
    if asker.role not in MAY_ASK:
        raise error("ROLE_NOT_ALLOWED", f"{asker.name} has the role {asker.role}: it approves, and orders nothing")


def signers(document: Document, operators: Sequence[Operator]) -> list[Operator]:
    """Operators who signed an act."""
    message = pae(document.payload_type, document.payload)
    return [one for one in operators if has_signature(document, message, bytes.fromhex(one.public))]


def check_new(operators: Sequence[Operator], new: Operator) -> None:
    """Refuse a person who would be two, or two who would be one.

    Raises:
        TrustnodeError: DUPLICATE.
    """
    for one in operators:
        if one.name == new.name:
            raise error("DUPLICATE", f"{one.name} is an operator already, with the role {one.role}", field="name")
        if one.public == new.public:
            raise error("DUPLICATE", f"this key is the one of {one.name}: nobody holds two roles", field="key")
