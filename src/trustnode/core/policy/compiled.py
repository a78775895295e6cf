"""A policy made ready: the decision, the contract of the plan, the counters, the duties.

Decides: what a policy in force lets one request do, and why not. Leaves to others: where attributes come from
(certificate, registry, clock, agreement), keeping compiled policies by digest and reserving counters (``app.access``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

import msgspec

from trustnode.core.policy import conflict, counters, duties, evaluate, odrl, rows, words
from trustnode.core.policy.counters import Counter
from trustnode.core.policy.duties import Owed
from trustnode.core.policy.governed import Governed
from trustnode.core.policy.odrl import Constraint, Permission, Policy
from trustnode.core.policy.plan import Plan
from trustnode.core.policy.premises import PURPOSE_WORDS, SERVED, ReadyRule, ready, unknown
from trustnode.core.policy.privacy import Budget
from trustnode.core.policy.schema import Schema
from trustnode.errors import TrustnodeError, error

Outcome = Literal["ALLOW", "CONDITIONAL", "DENY", "DEFAULT_DENY"]
"""The four of TC609-6-2025-15 7.1.2.3 c."""
Operation = Literal["read", "aggregate"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision may know. Everything but purpose and operation comes from sources the asker does not control."""

    operation: Operation
    purpose: str
    """The claim; recorded with the access."""
    now: datetime
    """The one evaluation instant, with a zone."""
    start: datetime
    """When the agreement came into force."""
    consumer: str
    """Participant identifier, as the agreement's ``assignee`` has it."""
    roles: frozenset[str] = frozenset()
    venue: str = ""
    spaces: frozenset[str] = frozenset()
    areas: frozenset[str] = frozenset()
    """Country and administrative areas of the receiving node, all levels: ``CN``, ``33``, ``3300``."""
    assurance: frozenset[str] = frozenset()
    fulfilled: frozenset[str] = frozenset()
    """Names of duties that evidence shows as done (``Owed.name``)."""
    violated: frozenset[str] = frozenset()
    """Names of duties that are overdue."""

    @property
    def membership(self) -> frozenset[str]:
        """Venue and spaces, as ``who`` names them; empty where nothing is known."""
        venue = (f"venue:{self.venue}",) if self.venue else ()
        return frozenset((*venue, *(f"space:{space}" for space in self.spaces)))


class Decision(msgspec.Struct, frozen=True):
    """What the policy says to one request."""

    outcome: Outcome
    reason: str = ""
    """Key of ``errors.REASONS``; empty when allowed."""
    words: str = ""
    """The term that decided, in words."""
    path: str = ""
    """Where in the policy it stands."""

    def refusal(self) -> TrustnodeError:
        """The error that says this; only for what was not allowed."""
        step = {"next_step": _CONFIRM} if self.reason == "PRECONDITION_OPEN" else {}
        return error(self.reason, self.words, path=self.path, **step)


_CONFIRM: Final = "Do it; who is paid then confirms it: trustnode agreement fulfil AGREEMENT DUTY"
ALLOWED: Final = Decision("ALLOW")


class CompiledPolicy:
    """A policy ready to decide. Immutable; equal policies give equal answers, so it may be kept by digest."""

    def __init__(self, policy: Policy) -> None:
        """Compile; ``load`` checks more and says what is refused."""
        self.policy = policy
        self.digest = odrl.digest(policy)
        read = [(duties.read(duty, path, place), place) for path, duty, place in duties.places(policy)]
        self.duties: tuple[Owed, ...] = tuple(duties.owed(duty, place) for duty, place in read)
        self.counters: tuple[Counter, ...] = ()
        self.permitted: tuple[str, ...] = tuple(permission.action for permission in policy.permission)
        """Every action that some permission lets through, ``distribute`` and ``derive`` included."""
        self._rule, self._permission = _served(policy)
        self._plan: Plan | None = None
        own = f"{self._rule.path}.duty[" if self._rule else "-"
        if self._rule and self._permission:
            self.counters = counters.read(self._permission, self._rule.path)
            in_plan = [duty for duty, _ in read if duty.path.startswith(own) and duty.duty.timing == "PARALLEL"]
            self._plan = Plan(self._rule.action, self._rule.path, tuple(in_plan), _epsilon(self._permission))
        self._allowed = SERVED[self._rule.action] if self._rule else ()
        self._blocking = _blocking(policy)
        self._before = tuple(owed for owed in self.duties if owed.timing == "BEFORE" and owed.path.startswith(own))
        self._after = tuple(owed for owed in self.duties if owed.timing == "AFTER")
        self.waits_for_duties = bool(self._before) or any(owed.kept == "proven" for owed in self._after)
        """Whether a decision depends on what was shown as done, or is overdue."""
        self._purpose_words = _purpose_words(policy, self._permission)

    @property
    def aggregate_only(self) -> bool:
        """Whether only aggregates leave."""
        return self._plan is not None and self._plan.aggregate is not None

    @property
    def is_marked(self) -> bool:
        """Whether every copy carries a mark of its own."""
        return self._plan is not None and self._plan.mark is not None

    @property
    def budget(self) -> Budget | None:
        """What questions cost where answers are noised; None: they are exact."""
        return self._plan.budget if self._plan else None

    def decide(self, request: Request) -> Decision:
        """Decide one request, in the order of odrl 2.1: right holder, prohibitions, permission, duties.

        Counters are not looked at: they are reserved last, so that a refusal consumes none.
        """
        refused = self._refuse_stranger(request) or self._refuse_prohibited(request)
        if refused is not None:
            return refused
        if self._rule is None or request.operation not in self._allowed:
            return self._not_served()
        for test, reason, text, path in self._rule.premises:
            if test(request) is not True:
                said = self._purpose_words if reason == "PURPOSE_NOT_AGREED" else text
                return Decision("DEFAULT_DENY", reason, said, path)
        return self._refuse_owing(request) if self._before or request.violated else ALLOWED

    def check_purpose(self, purpose: str) -> None:
        """Whether data may be used for a purpose at all, before there is an agreement to decide by.

        Raises:
            TrustnodeError: PURPOSE_NOT_AGREED, with the purposes that are agreed and those that never are.
        """
        permission = self._permission
        asked = [part for part in (permission.constraint if permission else ()) if part.left == "purpose"]
        never = [
            rule.constraint
            for rule in self.policy.prohibition
            if rule.constraint and all(part.left == "purpose" for part in rule.constraint)
        ]
        agreed = purpose in PURPOSE_WORDS and all(purpose in conflict.purposes(part) for part in asked)
        if not agreed or any(all(purpose in conflict.purposes(part) for part in parts) for parts in never):
            raise error("PURPOSE_NOT_AGREED", self._purpose_words, purpose=purpose)

    def _refuse_stranger(self, request: Request) -> Decision | None:
        """An offer grants nothing; an agreement grants to its assignee alone. An unknown purpose is none."""
        if self.policy.type != "Agreement" or request.consumer != self.policy.assignee:
            return Decision("DEFAULT_DENY", "GRANT_INVALID", "no agreement with this consumer")
        if request.purpose not in PURPOSE_WORDS:
            return Decision("DEFAULT_DENY", "PURPOSE_NOT_AGREED", self._purpose_words)
        return None

    def _refuse_prohibited(self, request: Request) -> Decision | None:
        for rule in self._blocking.get(request.operation, ()):
            if rule.holds(request) is not False:
                if any(premise.reason == "PURPOSE_NOT_AGREED" for premise in rule.premises):
                    return Decision("DENY", "PURPOSE_NOT_AGREED", self._purpose_words, rule.path)
                return Decision("DENY", "DENIED", f"{rule.action} is forbidden", rule.path)
        return None

    def _not_served(self) -> Decision:
        if self._rule is None or self._plan is None or not self._plan.aggregate:
            return Decision("DEFAULT_DENY", "DEFAULT_DENIED", "the terms do not allow it")
        text = f"aggregates only, groups of {self._plan.min_group} or more"
        return Decision("DENY", "DENIED", text, self._rule.path)

    def _refuse_owing(self, request: Request) -> Decision:
        for owed in self._after:
            if owed.name in request.violated:
                return Decision("DEFAULT_DENY", "DENIED", f"overdue: {owed.words}", owed.path)
        for owed in self._before:
            if owed.name not in request.fulfilled:
                return Decision("CONDITIONAL", "PRECONDITION_OPEN", f"{owed.name} first: {owed.words}", owed.path)
        return ALLOWED

    def expires(self, start: datetime) -> datetime | None:
        """When the permission ends for an agreement in force since ``start``; None: it has no end."""
        conditions = self._permission.constraint if self._permission else ()
        return min((end for part in conditions if (end := _end(part, start)) is not None), default=None)

    def governed(self, schema: Schema, *, table: str, consumer_id: str = "", consumer_area: str = "") -> Governed:
        """What a query may see: the contract of the plan.

        Args:
            schema: Columns the source has now; one that is gone is refused, one that came is not delivered.
            table: Name of the table in SQL.
            consumer_id: Verified identifier, for ``{consumer.id}``.
            consumer_area: Verified area, for ``{consumer.area}``.

        Raises:
            DEFAULT_DENIED: nothing is permitted, or an attribute the rows depend on is not known.
            VOCABULARY_UNKNOWN, FIELD_FORMAT: the policy does not fit the columns.
        """
        if self._plan is None:
            raise error("DEFAULT_DENIED", "the terms let nothing be read")
        attributes = dict(zip(rows.PLACEHOLDERS, (consumer_id, consumer_area), strict=True))
        return self._plan.governed(schema, table, attributes)


def _served(policy: Policy) -> tuple[ReadyRule | None, Permission | None]:
    """The permission that serves data. Several are refused: parts of permissions are never combined (odrl 2.6)."""
    found: list[tuple[ReadyRule, Permission]] = []
    for number, permission in enumerate(policy.permission):
        rule = ready(permission, f"permission[{number}]", "permission")
        if rule.action in SERVED:
            found.append((rule, permission))
        elif any(duty.timing == "PARALLEL" for duty in permission.duty):
            unknown(f"{rule.path}.duty", f"nothing is planned for {rule.action}")
    if len(found) > 1:
        path = found[1][0].path
        raise error("POLICY_CONFLICT", f"{path}: a policy serves data by one permission", field=path)
    return found[0] if found else (None, None)


def _epsilon(permission: Permission) -> tuple[str, words.Window] | None:
    """What all questions may cost, and in which window."""
    found = [part for part in permission.constraint if part.left == words.EPSILON]
    if not found:
        return None
    part = found[0]
    window = words.WINDOWS.get(part.unit or "", "none")
    is_plain = part.operator == "lteq" and len(part.values) == 1 and bool(part.unit) == (window != "none")
    if len(found) > 1 or not is_plain or isinstance(part.right, odrl.Typed):
        unknown(words.EPSILON, "one number, lteq, in one window")
    return part.values[0], window


def _blocking(policy: Policy) -> Mapping[str, tuple[ReadyRule, ...]]:
    """The prohibitions that reach each operation."""
    found = [ready(rule, f"prohibition[{number}]", "prohibition") for number, rule in enumerate(policy.prohibition)]
    return {operation: tuple(rule for rule in found if words.covers(rule.action, operation)) for operation in SERVED}


def _purpose_words(policy: Policy, permission: Permission | None) -> str:
    """``agreed: credit-scoring; never: marketing``."""
    allowed = [part for part in (permission.constraint if permission else ()) if part.left == "purpose"]
    agreed = [word for part in allowed if part.operator != "isNoneOf" for word in part.values]
    conditions = [part for rule in policy.prohibition for part in rule.constraint if part.left == "purpose"]
    never = [word for part in conditions for word in part.values]
    return f"agreed: {', '.join(agreed) or 'any known purpose'}" + (f"; never: {', '.join(never)}" if never else "")


def _end(constraint: Constraint, start: datetime) -> datetime | None:
    if constraint.operator not in ("lt", "lteq"):
        return None
    if constraint.left == "dateTime":
        return evaluate.read_moment(constraint.values[0]).end
    if constraint.left == "elapsedTime":
        return evaluate.read_duration(constraint.values[0]).after(start)
    return None


def load(policy: Policy) -> CompiledPolicy:
    """Make a policy ready, refusing whatever this node would not keep.

    Args:
        policy: An Offer, to check and explain it, or an Agreement, to decide with it.

    Raises:
        VOCABULARY_UNKNOWN: an unknown profile, action, operand, operator, unit or datatype; names the path.
        FIELD_FORMAT, FIELD_MISSING: a value that cannot be read, a parameter that is missing; names the path.
        FIELD_TOO_LONG: beyond a limit.
        POLICY_CONFLICT: rules that contradict each other, or that could be combined.
    """
    if policy.profile != odrl.PROFILE:
        unknown("profile", f"{policy.profile!r} is not known here")
    odrl.check_limits(policy)
    compiled = CompiledPolicy(policy)
    conflict.check(policy)
    return compiled
