"""What it costs to know who calls: the chain verified again, and found in the cache."""

from __future__ import annotations

import contextlib
import statistics
import time
from datetime import UTC, datetime

from cryptography import x509
from harness import Result

from trustnode.core import clock
from trustnode.errors import TrustnodeError
from trustnode.keys.authority import pem_of
from trustnode.rpc.authentication import Authenticator, Trust, TrustState
from trustnode.testing.certificates import Leaf, Venue

ROUNDS = 400


def _context(chain_pem: bytes) -> dict[str, list[bytes]]:
    leaf, *rest = x509.load_pem_x509_certificates(chain_pem)
    values = {
        "x509_pem_cert": pem_of(leaf), "x509_pem_cert_chain": pem_of(*rest), "transport_security_type": b"ssl",
        "ssl_tls_version": b"TLSv1.3",
    }  # fmt: skip
    return {name: [value] for name, value in values.items()}


def _us(authenticator: Authenticator, context: dict[str, list[bytes]]) -> float:
    started = time.perf_counter()
    with contextlib.suppress(TrustnodeError):
        authenticator.identify(context)
    return (time.perf_counter() - started) * 1e6


def run(_only: str) -> list[Result]:
    """Measure."""
    now = clock.text(datetime.now(UTC))
    own, other = (Venue.create(f"venue-{name}.example", now) for name in "ab")
    trust = Trust(TrustState(own="venue-a.example", bundles={one.trust_domain: one.bundle() for one in (own, other)}))
    known = _context(other.node().chain_pem)
    forged = _context(other.leaf(Leaf(uris=("spiffe://venue-a.example/node/1",))).chain_pem)
    fresh, refused = [], []
    for _ in range(ROUNDS):
        authenticator = Authenticator(trust, lambda: now, time.monotonic)
        fresh.append(_us(authenticator, known))
        refused.append(_us(authenticator, forged))
    cached = [_us(authenticator, known) for _ in range(ROUNDS * 10)]
    again = [_us(authenticator, forged) for _ in range(ROUNDS * 10)]
    base, value = statistics.median(fresh), statistics.median(cached)
    note = f"refused {statistics.median(refused):,.0f} us the first time, {statistics.median(again):.1f} us remembered"
    return [Result("identity", value, "us", "not cached", base, value / base, "<= 10 us", value <= 10, note)]
