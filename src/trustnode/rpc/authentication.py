"""Who calls: the certificate of the connection, verified on every call against the bundle of the domain it claims.

Decides: which caller a connection is, and as what kind of caller this node treats it now. Leaves to others: the rules
of a chain (``core.identity``), what each kind may call (``methods``). Source: identity 4, steps 1 to 3 and 8.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from trustnode.core.identity import Bundle, Caller, DenyList, VerifiedChain, reverify
from trustnode.errors import TrustnodeError, error
from trustnode.rpc.methods import Audience

CACHED_IDENTITIES: Final = 4096
CACHED_REFUSALS: Final = 1024
REFUSAL_LIFE_S: Final = 5.0
"""How long a refusal is remembered: long enough to make a loop cheap, short enough for an operator to see a repair."""

V = TypeVar("V")
AuthContext = Mapping[str, Iterable[bytes]]


@dataclass(frozen=True, kw_only=True)
class TrustState:
    """Whom this node trusts about whom, at one moment."""

    own: str
    """Trust domain of this node; its bundle stands among the others."""
    bundles: Mapping[str, Bundle]
    """Trust domain -> roots, of our own domain and of every peer whose card is stored."""
    unconfirmed: frozenset[str] = frozenset()
    """Domains whose card no operator has confirmed: they may apply for peering and nothing else."""
    denied: DenyList = field(default_factory=DenyList)


class Trust:
    """The present ``TrustState``; replaced as a whole, without a restart."""

    def __init__(self, state: TrustState) -> None:
        self._state = state
        self._version = 1
        self._listeners: list[Callable[[], None]] = []

    @property
    def state(self) -> TrustState:
        """What holds now."""
        return self._state

    @property
    def version(self) -> int:
        """Changes with every replacement; part of the key of cached identities."""
        return self._version

    @property
    def roots_pem(self) -> bytes:
        """All roots, our own first: what TLS needs. That a chain ends in one of them proves no name (identity 3)."""
        state = self._state
        ordered = sorted(
            state.bundles.values(), key=lambda bundle: (bundle.trust_domain != state.own, bundle.trust_domain)
        )
        return b"".join(bundle.pem for bundle in ordered)

    def replace(self, state: TrustState) -> None:
        """Put another state in force; every listener hears of it before this returns."""
        self._state = state
        self._version += 1
        for listener in self._listeners:
            listener()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each replacement."""
        self._listeners.append(listener)


class Identified(NamedTuple):
    """A verified caller, and as what it counts now."""

    caller: Caller
    audience: Audience


class Authenticator:
    """Identifies callers; remembers verified chains and, briefly, refusals."""

    def __init__(self, trust: Trust, now: Callable[[], str], monotonic: Callable[[], float]) -> None:
        self._trust = trust
        self._now = now
        self._monotonic = monotonic
        self._chains: OrderedDict[tuple[int, bytes], VerifiedChain] = OrderedDict()
        self._refusals: OrderedDict[tuple[int, bytes], tuple[float, str, str]] = OrderedDict()

    def operator(self) -> Identified:
        """The operator: whoever could open the local socket."""
        own = self._trust.state.own
        return Identified(Caller("OPERATOR", "", own, "", "operator", "", "", ""), "OPERATOR")

    def identify(self, auth_context: AuthContext) -> Identified:
        """Identify the caller of one call.

        Raises:
            TrustnodeError: CERTIFICATE_NAME or IDENTITY_*.
        """
        if _only(auth_context, "transport_security_type") != b"ssl":
            raise error("IDENTITY_UNKNOWN", "the connection is not TLS")
        if _only(auth_context, "ssl_tls_version") != b"TLSv1.3":
            raise error("IDENTITY_UNKNOWN", "the connection is older than TLS 1.3")
        leaf, chain = _only(auth_context, "x509_pem_cert"), _only(auth_context, "x509_pem_cert_chain")
        return self.judge(self._verified(leaf, chain).caller)

    def judge(self, caller: Caller) -> Identified:
        """Say as what a verified caller counts now; read on every call and again during streams, never cached.

        Raises:
            TrustnodeError: IDENTITY_REVOKED, IDENTITY_UNKNOWN, IDENTITY_WRONG_DOMAIN.
        """
        state = self._trust.state
        if caller.kind == "OPERATOR":
            return Identified(caller, "OPERATOR")
        if state.denied.denies(caller):
            raise error("IDENTITY_REVOKED", "this identity was taken back")
        if caller.trust_domain not in state.bundles:
            raise error("IDENTITY_UNKNOWN", "nobody here vouches for this trust domain")
        if caller.kind != "PEER":
            # Another venue's participants and invitations are that venue's business (protocol 1.1).
            if caller.trust_domain != state.own:
                raise error("IDENTITY_WRONG_DOMAIN", "participants call the node of their own venue")
            return Identified(caller, caller.kind)
        if caller.trust_domain == state.own:
            return Identified(caller, "SELF")
        return Identified(caller, "UNCONFIRMED_PEER" if caller.trust_domain in state.unconfirmed else "PEER")

    def _verified(self, leaf: bytes, chain: bytes) -> VerifiedChain:
        key = (self._trust.version, hashlib.sha256(leaf + b"|" + chain).digest())
        found = self._chains.get(key)
        if found is not None and found.expires > self._now():
            self._chains.move_to_end(key)
            return found
        self._raise_remembered(key)
        try:
            found = reverify(leaf, chain, self._trust.state.bundles, self._now())
        except TrustnodeError as refusal:
            until = self._monotonic() + REFUSAL_LIFE_S
            _remember(self._refusals, key, (until, refusal.reason, refusal.message), CACHED_REFUSALS)
            raise
        _remember(self._chains, key, found, CACHED_IDENTITIES)
        return found

    def _raise_remembered(self, key: tuple[int, bytes]) -> None:
        until, reason, message = self._refusals.get(key, (0.0, "", ""))
        if reason and until > self._monotonic():
            raise error(reason, message)


def _only(auth_context: AuthContext, name: str) -> bytes:
    """The value of a property that may stand once; empty if absent or repeated."""
    values = list(auth_context.get(name, ()))
    return values[0] if len(values) == 1 else b""


def _remember(cache: OrderedDict[tuple[int, bytes], V], key: tuple[int, bytes], value: V, limit: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > limit:
        cache.popitem(last=False)
