"""Who somebody is: SPIFFE names, the bundles of trust domains, certificate chains, venue cards.

Decides: which certificate is which caller, which roots vouch for a domain, which card speaks for a venue. Leaves to
others: what a caller may do (``rpc.methods``, the guards of the nouns), where keys are kept (``trustnode.keys``).
"""

from trustnode.core.identity.bundle import Bundle, import_bundle, parse_jwks
from trustnode.core.identity.card import (
    Card,
    CardBundle,
    CardKey,
    ProtocolRange,
    RootKeys,
    accept_card,
    bundle_of,
    check_card,
    check_fingerprint,
    check_follows,
    fingerprint,
    is_signed_by,
    log_number,
    log_origin,
    node_dns,
    parse_fingerprint,
    parse_log_origin,
    vouched,
    witness_name,
)
from trustnode.core.identity.chain import DenyList, VerifiedChain, reverify
from trustnode.core.identity.spiffe import (
    Caller,
    CallerKind,
    SpiffeId,
    caller_of,
    parse_spiffe_id,
    participant_of,
)
from trustnode.core.identity.succession import accept_versions, in_order, proven_later, vouched_over

__all__ = [
    "Bundle",
    "Caller",
    "CallerKind",
    "Card",
    "CardBundle",
    "CardKey",
    "DenyList",
    "ProtocolRange",
    "RootKeys",
    "SpiffeId",
    "VerifiedChain",
    "accept_card",
    "accept_versions",
    "bundle_of",
    "caller_of",
    "check_card",
    "check_fingerprint",
    "check_follows",
    "fingerprint",
    "import_bundle",
    "in_order",
    "is_signed_by",
    "log_number",
    "log_origin",
    "node_dns",
    "parse_fingerprint",
    "parse_jwks",
    "parse_log_origin",
    "parse_spiffe_id",
    "participant_of",
    "proven_later",
    "reverify",
    "vouched",
    "vouched_over",
    "witness_name",
]
