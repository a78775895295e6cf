"""Identifiers of nodes, products and contracts, their check character, and the short names that people type.

Decides: layouts and validity (NDI-TR-04, TC609-14 B.3, ISO 7064 MOD 37-2). Leaves to others: randomness (the caller
passes the random part) and who may issue which area (``peering``).
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from trustnode.errors import error

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*"
NODE_TYPES: Final = {"NATIONAL": "1", "REGIONAL": "2", "INDUSTRY": "3", "SERVICE": "4"}
NODE_LENGTH: Final = 32
CONTRACT_LENGTH: Final = 47
SHORT_LENGTH: Final = 8
SCHEMA_PREFIX: Final = "agreement_"
_CREDIT_CODE: Final = re.compile(r"[0-9A-Z]{18}\Z")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")


def check_character(body: str) -> str:
    """The ISO 7064 MOD 37-2 check character of ``body``."""
    total = sum(ALPHABET.index(c) * pow(2, i, 37) for i, c in enumerate(reversed(body), start=1))
    return ALPHABET[(1 - total) % 37]


def is_valid(code: str) -> bool:
    """Whether alphabet and check character hold; the length is the caller's."""
    if not code or "*" in code[:-1] or not set(code) <= set(ALPHABET):
        return False
    return sum(ALPHABET.index(c) * pow(2, i, 37) for i, c in enumerate(reversed(code))) % 37 == 1


def check_identifier(code: str, length: int, field: str) -> str:
    """Return ``code`` when it is an identifier of ``length`` characters.

    Raises:
        TrustnodeError: IDENTIFIER_INVALID.
    """
    bare, dot, extension = code.partition("•")
    if len(bare) != length or not is_valid(bare) or (dot and not 1 <= len(extension) <= 32):
        raise error("IDENTIFIER_INVALID", f"{field}: {code!r} is not an identifier of {length} characters", field=field)
    return code


def check_subject(subject: str) -> str:
    """Return a subject code of 18 characters.

    Raises:
        TrustnodeError: IDENTIFIER_INVALID.
    """
    if not _CREDIT_CODE.match(subject):
        raise error("IDENTIFIER_INVALID", "a subject has 18 characters 0-9 A-Z", field="subject")
    return subject


def check_name(name: str, field: str = "name") -> str:
    """Return the name of a product or participant: lower case, digits, ``._-``, at most 63 characters.

    Raises:
        TrustnodeError: FIELD_FORMAT.
    """
    if not _NAME.match(name):
        raise error(
            "FIELD_FORMAT", f"{field}: {name!r} must be lower-case letters, digits, ._- (63 at most)", field=field
        )
    return name


def node_id(level: str, subject: str, area: str, random8: str) -> str:
    """Identifier of a node: type 1, subject 18, area 4, random 8, check 1."""
    body = NODE_TYPES[level] + check_subject(subject) + _area(area) + random8
    return body + check_character(body)


def product_id(subject: str, area: str, random8: str) -> str:
    """Identifier of a product: the same layout with type 6."""
    body = "6" + check_subject(subject) + _area(area) + random8
    return body + check_character(body)


def contract_id(level: str, subject: str, area: str, time: str, random8: str) -> str:
    """Identifier of a contract (47 characters); ``time`` is the canonical text, cut to seconds UTC."""
    stamp = re.sub(r"[^0-9]", "", time)[:14]
    body = "C" + NODE_TYPES[level] + check_subject(subject) + _area(area) + stamp + random8
    return body + check_character(body)


def _area(area: str) -> str:
    if not re.match(r"[0-9]{4}\Z", area):
        raise error("FIELD_FORMAT", "an area has four digits (GB/T 2260, or 00 and GB/T 4754)", field="area")
    return area


def random_part(random: bytes) -> str:
    """Eight characters 0-9 A-Z from at least six random bytes."""
    value, out = int.from_bytes(random, "big"), ""
    for _ in range(SHORT_LENGTH):
        value, digit = divmod(value, 36)
        out += ALPHABET[digit]
    return out


def short_name(identifier: str) -> str:
    """The eight characters by which people call an object.

    The random part of a contract or product identifier; eight characters derived from any other identifier.
    """
    bare = identifier.partition("•")[0]
    if len(bare) in (NODE_LENGTH, CONTRACT_LENGTH) and is_valid(bare):
        return bare[-9:-1]
    return random_part(hashlib.sha256(identifier.encode()).digest()[:8])


def schema_name(agreement: str) -> str:
    """The SQL schema under which an agreement's tables stand: ``agreement_7k3qx9m2``."""
    return SCHEMA_PREFIX + short_name(agreement).lower()
