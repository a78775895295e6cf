"""The evidence bundle of an agreement: fetched into a file, verified offline.

Decides: that a file is whole before it has its name. Leaves to others: what is in it and whether it proves anything
(``core.evidence``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from trustnode.core import card_file, envelope
from trustnode.core.document import Document
from trustnode.errors import InvalidRequest, error

if TYPE_CHECKING:
    from trustnode.core.evidence.compare import Difference
    from trustnode.core.evidence.report import Report
    from trustnode.sdk.connection import Node

MAX_BUNDLE_BYTES: Final = 1 << 30


async def fetch(node: Node, agreement: str, path: Path) -> Path:
    """Write the bundle of an agreement.

    Raises:
        TrustnodeError: HASH_MISMATCH, FIELD_TOO_LONG, and what the node refuses with.
    """
    part = path.with_name(path.name + ".part")
    digest, size, last = hashlib.sha256(), 0, b""
    try:
        with part.open("wb") as file:
            async with node.watch("EvidenceService/GetBundle", agreement=agreement) as answers:
                async for answer in answers:
                    digest.update(answer["chunk"])
                    size += len(answer["chunk"])
                    last = answer["sha256"] or last
                    if size > MAX_BUNDLE_BYTES:
                        raise error("FIELD_TOO_LONG", "a bundle has at most 1 GiB", field="bundle")
                    file.write(answer["chunk"])
        if last != digest.digest():
            raise error("HASH_MISMATCH", "the bundle was altered or cut on its way")
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part.replace(path)


def verify(
    path: str | Path,
    *,
    trust: str | Path | Sequence[str | Path] = (),
    anchor: str | Mapping[str, str] | None = None,
    witness_policy: str = "",
) -> Report:
    """Check a bundle without a node and without a network.

    Args:
        path: The bundle.
        trust: Card files of venues whose fingerprints you have compared.
        anchor: ``DOMAIN=FINGERPRINT``, or a mapping of them.
        witness_policy: A tlog-policy besides the one that the agreement names.

    Returns:
        The report; only the verdict VERIFIED means that every check held.

    Raises:
        TrustnodeError: USAGE, FIELD_FORMAT and their kin when anchors or cards cannot be used.
    """
    from trustnode.core.evidence.verify import verify_bundle

    files = (trust,) if isinstance(trust, str | Path) else tuple(trust)
    cards = [_card(Path(file).read_bytes()) for file in files]
    return verify_bundle(Path(path).read_bytes(), _anchors(anchor), cards, witness_policy)


def compare(path: str | Path, other: str | Path) -> tuple[Difference, ...]:
    """Compare two bundles of one agreement, made at either side; verify both first.

    Returns:
        A log that tells the two files different stories, and entries that only one of the two logs has.

    Raises:
        TrustnodeError: VERIFICATION_FAILED, one of them is no bundle.
    """
    from trustnode.core.evidence import compare as comparing
    from trustnode.core.evidence.bundle import unpack

    return comparing.compare(unpack(Path(path).read_bytes()), unpack(Path(other).read_bytes()))


def page(path: str | Path, report: Report, *, language: Literal["en", "zh"] = "en") -> str:
    """The report on a bundle as one HTML page that a person without this program reads."""
    from trustnode.core.evidence import page as pages

    return pages.page(report, Path(path).read_bytes(), language)


def _card(content: bytes) -> Document:
    """The card in a card file, or the bare card as it lies in a profile."""
    try:
        return envelope.decode(content)
    except InvalidRequest:
        return card_file.read(content).document()


def _anchors(anchor: str | Mapping[str, str] | None) -> dict[str, str]:
    if anchor is None:
        return {}
    if isinstance(anchor, str):
        domain, _, fingerprint = anchor.partition("=")
        return {domain: fingerprint}
    return dict(anchor)
