"""Refusals become entries, without letting one caller fill the log.

Decides: that the first refusal of a caller for a reason in a minute is logged as it is, and the others as one number
when the minute is over. Leaves to others: which refusals are evidence (who raises sets ``record``). The counts of the
running minute are memory: a kill loses them, never the first of each kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from trustnode.errors import TrustnodeError
from trustnode.store.unit import RefusalRecord

MAX_CALLERS: Final = 4096
"""Pairs of caller and reason that are told apart in a minute; those beyond share one count for each reason."""

Log = Callable[[RefusalRecord], None]
_EVERYBODY_ELSE: Final = "*"


class _Count(NamedTuple):
    first: RefusalRecord
    more: int
    same_object: bool


class Refusals:
    """What was refused in the running minute."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._minute = ""
        self._counts: dict[tuple[str, str], _Count] = {}

    @property
    def waiting(self) -> bool:
        """Whether something counted is not logged yet."""
        return any(count.more for count in self._counts.values())

    def record(self, refusal: TrustnodeError, log: Log) -> None:
        """Log a refusal or count it."""
        record = refusal.record
        if not isinstance(record, RefusalRecord):
            return
        key = self._key(record, refusal.reason)
        before = self._counts.get(key)
        if before is None:
            log(_with_reason(record, refusal.reason))
            self._counts[key] = _Count(record, record.times - 1, same_object=True)
            return
        same = before.same_object and (record.object_kind, record.object) == (
            before.first.object_kind,
            before.first.object,
        )
        self._counts[key] = _Count(before.first, before.more + record.times, same)

    def turn(self, now: str, log: Log) -> None:
        """Log the counts of a minute that is over.

        Args:
            now: Canonical time; empty: end of the program, every minute is over.
            log: Appends an entry.
        """
        minute = now[:16]
        if minute == self._minute:
            return
        for (_, reason), count in self._counts.items():
            if count.more:
                log(self._summary(count, reason))
        self._minute = minute
        self._counts.clear()

    def forget(self) -> None:
        """Drop all memory: the batch that held the first entries was lost."""
        self._counts.clear()

    def _key(self, record: RefusalRecord, reason: str) -> tuple[str, str]:
        key = (record.caller or str(record.fields.get("actor", "")), reason)
        return key if key in self._counts or len(self._counts) < MAX_CALLERS else (_EVERYBODY_ELSE, reason)

    def _summary(self, count: _Count, reason: str) -> RefusalRecord:
        actor = {"actor": count.first.fields["actor"]} if "actor" in count.first.fields else {}
        fields = {**actor, "reason_code": reason, "amount": count.more, "unit": "refusals"}
        if count.same_object:
            return RefusalRecord(
                object_kind=count.first.object_kind, object=count.first.object, event=count.first.event, fields=fields
            )
        return RefusalRecord(object_kind="node", object=self._node_id, event="lifecycle.refuse", fields=fields)


def _with_reason(record: RefusalRecord, reason: str) -> RefusalRecord:
    fields = {"reason_code": reason, **record.fields}
    return RefusalRecord(object_kind=record.object_kind, object=record.object, event=record.event, fields=fields)
