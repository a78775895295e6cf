"""Every document type of this node: importing this module closes the table that ``document.decode`` reads."""

from __future__ import annotations

from typing import Final

from trustnode.core.access import AccessRequest, Receipt, ReceiptAck
from trustnode.core.catalog import Binding, CatalogRecord, Listing, Registration
from trustnode.core.contract import Act, Agreement, Delegation, NegotiationMessage, Offer
from trustnode.core.document import PAYLOADS, Statement, name_of
from trustnode.core.duty import DutyProof
from trustnode.core.evidence.erasure import Erasure
from trustnode.core.evidence.head import ChainHead
from trustnode.core.identity import Card
from trustnode.core.operator import OperatorAct
from trustnode.core.participant import Invitation, ParticipantKey
from trustnode.core.peering import PeerAgreement, Status

ALL: Final[tuple[type[Statement], ...]] = (
    AccessRequest,
    Act,
    Agreement,
    Binding,
    Card,
    CatalogRecord,
    ChainHead,
    Delegation,
    DutyProof,
    Erasure,
    Invitation,
    Listing,
    NegotiationMessage,
    Offer,
    OperatorAct,
    ParticipantKey,
    PeerAgreement,
    Receipt,
    ReceiptAck,
    Registration,
    Status,
)
PAYLOADS.update({name_of(kind): kind for kind in ALL})
