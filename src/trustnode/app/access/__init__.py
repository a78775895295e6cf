"""Accesses: ``serve`` where we hold the data, ``broker`` where a peer does (protocol 6)."""

from trustnode.app.access.acknowledging import Settlement, prepare_act, receipt_of, recover
from trustnode.app.access.admission import Asker, check_held_at, policy_request
from trustnode.app.access.carrying import broker, broker_read
from trustnode.app.access.opening import Part, Prepared, open_session, prepared_product
from trustnode.app.access.serving import Outcome, Sink, SmallRead, read, serve
from trustnode.wire.convert import Ticket

__all__ = [
    "Asker",
    "Outcome",
    "Part",
    "Prepared",
    "Settlement",
    "Sink",
    "SmallRead",
    "Ticket",
    "broker",
    "broker_read",
    "check_held_at",
    "open_session",
    "policy_request",
    "prepare_act",
    "prepared_product",
    "read",
    "receipt_of",
    "recover",
    "serve",
]
