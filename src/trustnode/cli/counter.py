"""Other terms for an offer that lies on the table: what ``inbox counter`` sends.

Decides: the form of the file: keys of the terms, and ``price`` where it changes. Leaves to others: what terms mean.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trustnode.cli.source import new_id, now
from trustnode.core import clock
from trustnode.core.contract import Offer, Price
from trustnode.core.document import canonical
from trustnode.core.policy import terms as terms_module
from trustnode.core.policy.compile import compile_terms
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.core.catalog import Registration


def offer(path: Path, old: Offer, registration: Registration) -> Offer:
    """The offer of ``old`` with the terms of a file.

    Raises:
        TrustnodeError: FIELD_FORMAT, VOCABULARY_UNKNOWN and as ``compile_terms``.
    """
    table, price = read(path)
    terms = terms_module.decode(table) if table else msgspec.json.decode(old.terms, type=terms_module.Terms)
    policy = compile_terms(
        terms,
        price=price or str(old.price),
        schema=registration.tables[0].columns,
        zone=registration.zone,
        level=registration.level,
        at=clock.moment(now()),
        approval=old.approval,
    )
    return msgspec.structs.replace(
        old,
        id=new_id(),
        time=now(),
        policy=policy,
        terms=canonical(terms).decode(),
        price=Price.parse(price) if price else old.price,
        mandate=None,
    )


def read(path: Path) -> tuple[dict[str, Any], str]:
    """Terms and price of a file; the price is empty where it does not change.

    Raises:
        TrustnodeError: FIELD_FORMAT.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=str)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise error("FIELD_FORMAT", f"{path}: {problem}", file=str(path)) from None
    return table, str(table.pop("price", ""))
