"""The ODRL subset a node understands, in the JSON shape of the Dataspace Protocol 2025-1.

Decides: which keys, shapes and sizes a policy may have, its canonical bytes, and when two policies say the same.
Leaves to others: which words an action or an operand may be (``words``), what a policy means (``compiled``) and how
readable terms become one (``compile``).

Inside the schema ``#/definitions/Offer`` and ``Agreement`` of DSP 2025-1, narrower where that schema is open: an
unknown key is refused, because a peer that sends one believes that it binds (odrl 4.2).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec

from trustnode.errors import error

PROFILE: Final = "urn:trustnode:policy:1"
"""The vocabulary profile of every policy of this node; ``tn:`` abbreviates it. Another profile is refused."""

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 16
MAX_CONSTRAINTS: Final = 1000
MAX_OPERANDS: Final = 4096
"""Right-operand values in one policy (odrl 3, rule 6)."""

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Value = Annotated[str, msgspec.Meta(max_length=4096)]
Operator = Literal[
    "eq", "neq", "lt", "lteq", "gt", "gteq", "isA", "isAnyOf", "isNoneOf", "isAllOf", "hasPart", "isPartOf"
]
Strategy = Literal["perm", "prohibit", "invalid"]
Timing = Literal["BEFORE", "PARALLEL", "AFTER"]
"""When a duty is due: before the first byte, by the node while data flow, or later (odrl 2.5)."""


class Typed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value with its datatype; DSP forbids JSON numbers, so ``value`` is text."""

    value: Value = msgspec.field(name="@value")
    type: Word = msgspec.field(name="@type")


RightOperand = Value | Typed | Annotated[tuple[Value, ...], msgspec.Meta(min_length=1, max_length=MAX_OPERANDS)]
Constraints = Annotated[tuple["Constraint", ...], msgspec.Meta(min_length=1, max_length=MAX_CONSTRAINTS)]


class Constraint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An atomic comparison, or exactly one of ``and``, ``or``, ``xone``, ``andSequence`` over constraints.

    One Struct for both, because JSON gives no tag to tell them apart; the constructor refuses every mixture.
    """

    left: Word | None = msgspec.field(name="leftOperand", default=None)
    operator: Operator | None = None
    right: RightOperand | None = msgspec.field(name="rightOperand", default=None)
    unit: Word | None = None
    """Currency of a sum, or the window of a counter: ``tn:perDay``."""
    all_of: Constraints | None = msgspec.field(name="and", default=None)
    any_of: Constraints | None = msgspec.field(name="or", default=None)
    one_of: Constraints | None = msgspec.field(name="xone", default=None)
    sequence: Constraints | None = msgspec.field(name="andSequence", default=None)

    def __post_init__(self) -> None:
        logical = sum(part is not None for part in (self.all_of, self.any_of, self.one_of, self.sequence))
        atomic = sum(part is not None for part in (self.left, self.operator, self.right))
        if (logical, atomic) not in ((1, 0), (0, 3)) or (logical and self.unit is not None):
            raise ValueError(
                "a constraint is leftOperand, operator and rightOperand, or one of and, or, xone, andSequence"
            )

    @property
    def parts(self) -> tuple[Constraint, ...]:
        """The operands of a logical constraint; empty for a comparison."""
        return self.all_of or self.any_of or self.one_of or self.sequence or ()

    @property
    def values(self) -> tuple[str, ...]:
        """The right operand as a tuple of texts; empty for a logical constraint."""
        if self.right is None:
            return ()
        if isinstance(self.right, Typed):
            return (self.right.value,)
        return (self.right,) if isinstance(self.right, str) else self.right


RuleConstraints = Annotated[tuple[Constraint, ...], msgspec.Meta(max_length=MAX_CONSTRAINTS)]


class Duty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something to be done: a condition of a permission, or an obligation of its own."""

    action: Word
    constraint: RuleConstraints = ()
    """Parameters and deadline."""
    timing: Timing = msgspec.field(name="tn:timing", default="BEFORE")
    """A duty that says nothing is a pre-condition (odrl 2.5)."""


class Permission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Lets one action through when every constraint holds."""

    action: Word
    constraint: RuleConstraints = ()
    duty: Annotated[tuple[Duty, ...], msgspec.Meta(max_length=256)] = ()


class Prohibition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Blocks one action and those below it unless a constraint certainly fails."""

    action: Word
    constraint: RuleConstraints = ()


Rule = Permission | Prohibition | Duty


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An offer, which grants nothing, or an agreement, which is evaluated when data are asked for."""

    id: Word = msgspec.field(name="@id")
    type: Literal["Offer", "Agreement"] = msgspec.field(name="@type")
    profile: Word
    conflict: Strategy | Annotated[tuple[Strategy, ...], msgspec.Meta(min_length=1, max_length=3)] | None = None
    """Which rule wins where two meet; several when policies were merged. Rules that meet are refused all the same."""
    permission: Annotated[tuple[Permission, ...], msgspec.Meta(max_length=64)] = ()
    prohibition: Annotated[tuple[Prohibition, ...], msgspec.Meta(max_length=64)] = ()
    obligation: Annotated[tuple[Duty, ...], msgspec.Meta(max_length=64)] = ()
    target: Word | None = None
    assigner: Word | None = None
    assignee: Word | None = None

    def __post_init__(self) -> None:
        if not (self.permission or self.prohibition):
            raise ValueError("a policy has a permission or a prohibition")
        parties = (self.target, self.assigner, self.assignee)
        if self.type == "Agreement" and None in parties:
            raise ValueError("an Agreement names target, assigner and assignee")


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Policy)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def encode(policy: Policy) -> bytes:
    """Canonical bytes: sorted keys, nothing spelled out that is default (RFC 8785 in this value domain)."""
    return _encoder.encode(policy)


def digest(policy: Policy) -> str:
    """SHA-256 of the canonical bytes, lower-case hex: ``policy_sha256`` of agreements and receipts."""
    return hashlib.sha256(encode(policy)).hexdigest()


def decode(data: bytes) -> Policy:
    """Read a policy somebody wrote; key order and white space are free, everything else is strict.

    Raises:
        FIELD_TOO_LONG: beyond a limit of odrl 3 rule 6.
        MESSAGE_UNPARSABLE: not JSON of this shape, or a key twice.
    """
    if len(data) > MAX_BYTES:
        raise error("FIELD_TOO_LONG", f"a policy has at most {MAX_BYTES} bytes", field="policy")
    _refuse_deep(data)
    try:
        json.loads(data, object_pairs_hook=_unique)
        policy = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError) as cause:
        raise error("MESSAGE_UNPARSABLE", f"not a policy: {cause}", field="policy") from None
    check_limits(policy)
    return policy


def _refuse_deep(data: bytes) -> None:
    """Bound nesting before a recursive parser sees it."""
    depth = 0
    for byte in _STRING.sub(b"", data):
        depth += (byte in b"{[") - (byte in b"}]")
        if depth > 2 * MAX_DEPTH + 6:
            raise error("FIELD_TOO_LONG", f"a policy nests at most {MAX_DEPTH} constraints", field="policy")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def rules(policy: Policy) -> Iterator[tuple[str, Rule]]:
    """Every rule with its JSON path, duties of permissions after their permission."""
    for number, permission in enumerate(policy.permission):
        yield f"permission[{number}]", permission
        for index, duty in enumerate(permission.duty):
            yield f"permission[{number}].duty[{index}]", duty
    for number, prohibition in enumerate(policy.prohibition):
        yield f"prohibition[{number}]", prohibition
    for number, duty in enumerate(policy.obligation):
        yield f"obligation[{number}]", duty


def constraints(rule: Rule, path: str) -> Iterator[tuple[str, int, Constraint]]:
    """Every constraint below a rule, outermost first: path, depth from 1, constraint."""
    pending = [(f"{path}.constraint[{n}]", 1, part) for n, part in enumerate(rule.constraint)]
    while pending:
        found = pending.pop(0)
        yield found
        pending += [(f"{found[0]}[{n}]", found[1] + 1, part) for n, part in enumerate(found[2].parts)]


def check_limits(policy: Policy) -> None:
    """Refuse a policy that is larger than any honest one (odrl 3, rule 6).

    Raises:
        FIELD_TOO_LONG: names the limit.
    """
    found = [item for path, rule in rules(policy) for item in constraints(rule, path)]
    measured = {
        "bytes": (len(encode(policy)), MAX_BYTES),
        "constraints inside each other": (max((depth for _, depth, _ in found), default=0), MAX_DEPTH),
        "constraints": (len(found), MAX_CONSTRAINTS),
        "right-operand values": (sum(len(part.values) for _, _, part in found), MAX_OPERANDS),
    }
    for what, (size, limit) in measured.items():
        if size > limit:
            raise error("FIELD_TOO_LONG", f"a policy has at most {limit} {what}", field="policy")


def identified(policy: Policy) -> Policy:
    """Give an offer the identifier that its content demands, so that the same terms have the same digest."""
    blank = msgspec.structs.replace(policy, id=f"{PROFILE}:unnamed")
    return msgspec.structs.replace(policy, id=f"urn:trustnode:terms:{digest(blank)}")


def agreement(offer: Policy, *, target: str, assigner: str, assignee: str) -> Policy:
    """The agreement that an offer becomes: same rules, same identifier, parties named."""
    return msgspec.structs.replace(offer, type="Agreement", target=target, assigner=assigner, assignee=assignee)


def same_terms(one: Policy, other: Policy) -> bool:
    """Whether two policies differ in nothing but type, target and parties (odrl 3, rule 11)."""
    return encode(_bare(one)) == encode(_bare(other))


def _bare(policy: Policy) -> Policy:
    return msgspec.structs.replace(policy, type="Offer", target=None, assigner=None, assignee=None)
