"""What the level of the data demands of an offer, whatever its terms say.

Decides: which terms and approvals a level excludes, and the lines shown as ``added by GENERAL_3``. Leaves to others:
how a level is determined (``catalog``) and who approves (``contract``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from trustnode import vocabulary
from trustnode.core.policy.terms import Terms
from trustnode.errors import error

APPROVALS: Final = ("automatic", "provider", "provider and venue")
"""From the weakest to the strongest."""


class Demand(NamedTuple):
    """Controls of one level (market 13)."""

    approval: str
    """The weakest approval it accepts."""
    results_only: bool
    all_columns: bool
    """Whether ``columns = "all"`` may stand there."""
    signed_requests: bool
    """Whether each request must be signed by the participant (protocol 6.2)."""


LEVELS: Final[Mapping[str, Demand]] = {
    "GENERAL_1": Demand("automatic", results_only=False, all_columns=True, signed_requests=False),
    "GENERAL_2": Demand("automatic", results_only=False, all_columns=False, signed_requests=False),
    "GENERAL_3": Demand("provider", results_only=False, all_columns=False, signed_requests=True),
    "GENERAL_4": Demand("provider and venue", results_only=True, all_columns=False, signed_requests=True),
    "IMPORTANT": Demand("provider and venue", results_only=True, all_columns=False, signed_requests=True),
}
"""Closed. CORE is missing on purpose: it is refused at registration."""


def demand(level: str) -> Demand:
    """The controls of a level.

    Raises:
        LEVEL_FORBIDDEN: CORE, which no node handles.
        VOCABULARY_UNKNOWN: no such level.
    """
    if level == "CORE":
        raise error("LEVEL_FORBIDDEN", "CORE data are not traded here", field="level")
    if level not in LEVELS:
        raise vocabulary.unknown("level", level, LEVELS)
    return LEVELS[level]


def check(level: str, terms: Terms, approval: str | None = None) -> None:
    """Refuse terms, or an approval, that the level does not accept.

    Raises:
        LEVEL_FORBIDDEN: names the line and the level.
        VOCABULARY_UNKNOWN: no such level or approval.
    """
    wanted = demand(level)
    if terms.columns == "all" and not wanted.all_columns:
        raise error(
            "LEVEL_FORBIDDEN", f'columns = "all" only at GENERAL_1; at {level} name each column', field="columns"
        )
    if wanted.results_only and terms.result != "aggregates":
        raise error("LEVEL_FORBIDDEN", f'{level}: results only; write result = "aggregates"', field="result")
    if approval is None:
        return
    if approval not in APPROVALS:
        raise vocabulary.unknown("approval", approval, APPROVALS)
    if APPROVALS.index(approval) < APPROVALS.index(wanted.approval):
        raise error("LEVEL_FORBIDDEN", f"{level} asks for the approval of: {wanted.approval}", field="approval")


class Added(NamedTuple):
    """A line that the level adds to the terms; nobody can take it off."""

    key: str
    words: str
    zh: str
    how: str


_CONTRACT: Final = Added(
    "contract",
    "before any delivery; encrypted and logged",
    "先签合约，加密传输并留痕",
    "no agreement in force, no data",
)
_APPROVAL: Final[Mapping[str, Added]] = {
    "provider": Added("approval", "by the provider", "提供方审批", "a gate of the negotiation"),
    "provider and venue": Added(
        "approval", "by the provider and the venue", "提供方与场所审批", "a gate of the negotiation"
    ),
}
_REQUEST: Final = Added("request", "signed by the participant", "由参与方签名请求", "checked on each request")
_RESULT: Final = Added("result", "results only", "仅输出结果", "in the plan")


def added(level: str) -> tuple[Added, ...]:
    """The lines that the level adds, each enforced by the node."""
    wanted = demand(level)
    return (
        *(() if wanted.all_columns else (_CONTRACT,)),
        *((_APPROVAL[wanted.approval],) if wanted.approval in _APPROVAL else ()),
        *((_REQUEST,) if wanted.signed_requests else ()),
        *((_RESULT,) if wanted.results_only else ()),
    )
