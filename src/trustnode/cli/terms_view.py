"""Terms on a screen: each line with how it is kept, or as words, terms, ODRL, SQL.

Decides: the layout. Leaves to others: the lines themselves (``core.policy.explain``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trustnode.cli import output

if TYPE_CHECKING:
    from trustnode.cli.values import Seal
    from trustnode.core.contract import Offer
    from trustnode.core.policy.explain import Line
    from trustnode.core.policy.odrl import Policy
    from trustnode.core.policy.schema import Column

FORMS: Final = ("words", "terms", "odrl", "sql")
_KEPT_ZH: Final = {"enforced": "系统执行", "proven": "须证明", "promised": "合约承诺"}
UNKEPT: Final = "nothing keeps it"


def lines_of(offer: Offer, level: str) -> tuple[Line, ...]:
    """The terms of an offer in words, with what the level adds."""
    from trustnode.core.policy.explain import lines
    from trustnode.core.policy.terms import Terms

    return lines(msgspec.json.decode(offer.terms, type=Terms), str(offer.price), level)


def items(lines: Iterable[Line]) -> list[dict[str, str]]:
    """The lines for programs."""
    return [
        {
            "key": line.key,
            "words": line.words,
            "words_zh": line.zh,
            "kept": line.kept or "",
            "how": line.how,
            "added_by": line.added_by.removeprefix("added by "),
        }
        for line in lines
    ]


def table(lines: Sequence[Line]) -> list[str]:
    """The lines for people: key, words, how they are kept; long cells go on below."""
    chinese = output.lang() == "zh"
    rows = []
    for line in lines:
        kept = _KEPT_ZH.get(line.kept or "", line.kept or "") if chinese else line.kept or UNKEPT
        how = (line.how_zh if chinese else line.how) + (f" ({line.added_by})" if line.added_by else "")
        rows.append((line.key, line.zh if chinese else line.words, kept, how))
    return output.wrapped(rows, (9, 31, 8, 26))


def sql(policy: Policy, columns: Sequence[Column], name: str) -> str:
    """What the policy makes of ``select * from NAME``, in readable SQL; the node plans it anew for every query."""
    from trustnode.core.policy import rows as rows_language
    from trustnode.core.policy.compiled import load
    from trustnode.core.policy.uses import use_words

    governed = load(policy).governed(tuple(columns), table=name)
    shown = governed.tables[0]
    masks = [
        f"{mask.method}({', '.join(filter(None, (mask.column, mask.parameter)))}) as {mask.column}"
        for mask in shown.masks
    ]
    listed = ",\n       ".join((*shown.columns, *masks))
    where = f"\nwhere  {rows_language.to_text(shown.rows)}" if shown.rows else ""
    rule = governed.aggregate
    measures = ", ".join(f"{m.function} {m.column}".strip() for m in rule.measures) if rule else ""
    groups = f" by {', '.join(rule.group_by)}" if rule and rule.group_by else ""
    uses = "".join(f"\n-- {use.column}: {use_words(use)[0]}" for use in shown.uses)
    limit = f"\n-- only aggregates leave: {measures}{groups}; groups of {rule.min_group} or more" if rule else ""
    return f"select {listed}\nfrom   {name}{where}{uses}{limit}"


def as_form(
    form: str, offer: Offer, level: str, columns: Sequence[Column], name: str
) -> tuple[Mapping[str, Any], list[str]]:
    """One offer in one form: data for programs, lines for people."""
    from trustnode.core.policy import odrl

    if form == "odrl":
        policy = json.loads(odrl.encode(offer.policy))
        return {"odrl": policy}, json.dumps(policy, indent=2, ensure_ascii=False).splitlines()
    if form == "terms":
        terms = json.loads(offer.terms)
        return {"terms": terms}, [f"{key} = {_toml(terms[key])}" for key in _in_order(terms)]
    if form == "sql":
        text = sql(offer.policy, columns, name)
        return {"sql": text}, text.splitlines()
    lines = lines_of(offer, level)
    return {"lines": items(lines)}, table(lines)


def _in_order(terms: Mapping[str, Any]) -> list[str]:
    from trustnode.core.policy.terms import KEYS

    return [key for key in KEYS if key in terms]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def words(kinds: Sequence[str]) -> tuple[list[dict[str, str]], list[str]]:
    """The words of policies with how each stands here: data for programs, lines for people."""
    from trustnode.core.policy import dictionary

    data: list[dict[str, str]] = []
    rows = []
    chinese = output.lang() == "zh"
    for kind in kinds:
        for word, standing, how, how_zh in ((*line, line.how, line.how_zh) for line in dictionary.lines(kind)):
            kept = standing.kept or "refused"
            data.append({"kind": kind, "word": word.name, "zh": word.zh, "kept": kept, "odrl": standing.odrl,
                         "term": standing.key, "how": how, "how_zh": how_zh})  # fmt: skip
            shown = _KEPT_ZH.get(kept, "拒绝") if chinese else kept
            name = f"{word.name} {word.zh}" if chinese else word.name
            rows.append((name, shown, standing.odrl, standing.key, how_zh if chinese else how))
    return data, output.wrapped(rows, (21, 8, 16, 9, 26))


def sealed(seal: Seal | None) -> str:
    """Since when, in a column."""
    if seal is None:
        return "nobody asked"
    return output.local_time(seal.sealed_at)[5:16] if seal.sealed_at else "unwitnessed"


def sealed_by(seal: Seal | None) -> str:
    """Since when and by whom, in words."""
    if seal is None:
        return "no; the agreement names no witnesses of this log"
    if not seal.sealed_at:
        return f"unwitnessed: the witnesses of {seal.log} have not cosigned it yet"
    return f"{output.local_time(seal.sealed_at)} by {', '.join(seal.witnesses)}"
