"""The certificate of the HTTPS listener: the operator's own, or that of the node.

Decides: that a certificate which cannot serve is refused before it is shown, and that a new one takes effect at the
next handshake. Leaves to others: when to look again (``node``), issuing the node's own (``keys``).
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from trustnode.config import Web
from trustnode.core import clock
from trustnode.errors import TrustnodeError, error
from trustnode.keys import Credential


def credential(home: Path, settings: Web, own: Credential) -> Credential:
    """What the listener shows: the files of the configuration where they are named, else the node's own.

    Args:
        home: Folder to which relative paths belong.
        settings: The configuration of the listener.
        own: Key and chain of the node.

    Raises:
        TrustnodeError: CONFIG_INVALID where only one of both files is named, or one cannot be read.
    """
    if not settings.certificate and not settings.key:
        return own
    if not (settings.certificate and settings.key):
        raise error("CONFIG_INVALID", "web.certificate and web.key belong together", field="web.certificate")
    return Credential(_read(home / settings.key, "web.key"), _read(home / settings.certificate, "web.certificate"))


def new_context() -> ssl.SSLContext:
    """TLS 1.3 that asks nobody for a certificate; ``show`` gives it one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def show(context: ssl.SSLContext, shown: Credential, now: str) -> None:
    """Show this certificate from the next handshake on.

    Raises:
        TrustnodeError: CONFIG_INVALID where it is expired or malformed, or has another key; the old one stays then.
    """
    _check_time(shown, now)
    _load(new_context(), shown)  # a pair that does not fit would leave half of it behind
    _load(context, shown)


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise error("CONFIG_INVALID", f"{path.name} cannot be read: {problem.strerror}", field=field) from None


def _check_time(shown: Credential, now: str) -> None:
    try:
        leaf = x509.load_pem_x509_certificate(shown.chain_pem)
    except ValueError:
        raise _unusable("the certificate of the web listener is not one in PEM") from None
    if not leaf.not_valid_before_utc <= clock.moment(now) < leaf.not_valid_after_utc:
        raise _unusable(f"the certificate of the web listener ends at {clock.text(leaf.not_valid_after_utc)}")


def _load(context: ssl.SSLContext, shown: Credential) -> None:
    with _in_memory(shown.key_pem + b"\n" + shown.chain_pem) as path:
        try:
            # an encrypted key must not make OpenSSL ask on the terminal
            context.load_cert_chain(path, password=lambda: "")
        except (ssl.SSLError, ValueError) as problem:
            raise _unusable(f"the certificate of the web listener cannot be used: {_words(problem)}") from None


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A file that never reaches a disk: OpenSSL takes keys from files only."""
    handle = os.memfd_create("certificate")
    try:
        os.write(handle, data)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _words(problem: Exception) -> str:
    return getattr(problem, "reason", None) or type(problem).__name__


def _unusable(message: str) -> TrustnodeError:
    return error("CONFIG_INVALID", message, field="web.certificate")
