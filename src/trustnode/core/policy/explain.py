"""Terms in words, English and Chinese, each line with how it is kept.

Decides: the lines that ``product check``, ``negotiate`` and the console show, and that the class of a line is never
better than the truth: what has left is promised, whatever the contract says. Leaves to others: printing, counting rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from trustnode.core.policy import chinese, decompile, grammar, level, noise, trace, uses
from trustnode.core.policy.odrl import Policy
from trustnode.core.policy.terms import KEPT, UNKEPT, Kept, Terms


class Line(NamedTuple):
    """One line of an explanation."""

    key: str
    words: str
    zh: str
    kept: Kept | None
    """None: nothing here keeps it; the offer cannot be published."""
    how: str
    how_zh: str
    added_by: str = ""
    """Level that added the line, or empty: the provider wrote it."""


_HOW: Final[Mapping[str, tuple[str, str]]] = {
    "purposes": ("each request; the purpose claimed is on record", "每次请求核对, 申报的用途留痕"),
    "who": ("certificate and registry, never the request", "依证书与登记核对"),
    "places": ("jurisdiction of the receiving node", "接收节点所在法域"),
    "period": ("the node's clock, also in running streams", "以节点时钟为准, 传输中同样核对"),
    "rows": ("in the plan", "在查询计划中执行"),
    "columns": ("in the plan; a column not named is not delivered", "在查询计划中执行, 未列出的字段不交付"),
    "masks": ("in the plan, one key per contract", "在查询计划中执行, 每份合约一把密钥"),
    "uses": ("in the plan; another use is refused", "在查询计划中执行, 其他用法一律拒绝"),
    "result": (
        "in the plan; smaller groups do not leave, answers can be subtracted",
        "在查询计划中执行, 小组不输出; 两次答案仍可相减",
    ),
    "noise": (
        "in the plan and the ledger: spent first, never given back; the same question, the same answer",
        "在查询计划与预算账本中执行: 先扣减, 不退还; 相同查询得相同答案",
    ),
    "limits": ("counted before, settled after", "先预留, 后结算"),
    "trace": (
        "in the plan; tells whose copy leaked, holds none back",
        "在查询计划中执行, 可查明泄露的副本, 不能阻止泄露",
    ),
}
"""How the enforced keys are kept; the others say it by their value."""

_MERGED: Final[Mapping[str, str]] = {
    "not_for": "purposes",
    "person": "result",
    "group_by": "result",
    "measures": "result",
    "min_group": "result",
}
"""Keys that are shown in the line of another."""


def merged_into(key: str) -> tuple[str, ...]:
    """The keys that are shown in the line of this one."""
    return tuple(other for other, shown in _MERGED.items() if shown == key)


def lines(terms: Terms, price: str, level_word: str = "") -> tuple[Line, ...]:
    """Explain readable terms.

    Args:
        terms: The readable form.
        price: As in the offer.
        level_word: Level of the data, to show what it adds; empty: not shown.
    """
    return (*_terms_lines(terms), _price_line(price, terms), *(_added(level_word) if level_word else ()))


def policy_lines(policy: Policy, level_word: str = "") -> tuple[Line, ...]:
    """Explain a policy that has a short form.

    Raises:
        VOCABULARY_UNKNOWN: it has none; names the path.
    """
    terms, price = decompile.to_terms(policy)
    return lines(terms, price, level_word)


def _terms_lines(terms: Terms) -> Iterator[Line]:
    for key in terms.said():
        if key in UNKEPT:
            yield Line(key, _plain(terms, key), "有约定", None, UNKEPT[key], "本节点无法执行")
        elif key == "duties":
            yield from (_duty_line(text) for text in terms.duties)
        elif key in ("keep", "onward", "derived"):
            yield _later_line(terms, key)
        elif key not in _MERGED:
            yield Line(key, *_WORDS[key](terms), KEPT[key], *_HOW[key])


def _plain(terms: Terms, key: str) -> str:
    value = getattr(terms, key)
    if isinstance(value, tuple):
        return ", ".join(value)
    return value if isinstance(value, str) else "stated"


def _purposes(terms: Terms) -> tuple[str, str]:
    names = [terms.purposes] if isinstance(terms.purposes, str) else list(terms.purposes)
    never = "; never " + ", ".join(terms.not_for) if terms.not_for else ""
    never_zh = "; 不得用于" + "、".join(map(chinese.purpose, terms.not_for)) if terms.not_for else ""
    return ", ".join(names) + never, "、".join(map(chinese.purpose, names)) + never_zh


def _listed(key: str, zh: Callable[[str], str]) -> Callable[[Terms], tuple[str, str]]:
    """A word that stands alone, or a list, as it is written and in Chinese."""

    def words(terms: Terms) -> tuple[str, str]:
        value = getattr(terms, key)
        said = (value,) if isinstance(value, str) else value
        return ", ".join(said), "、".join(chinese.WORDS.get(text) or zh(text) for text in said)

    return words


def _columns(terms: Terms) -> tuple[str, str]:
    if isinstance(terms.columns, str):
        return terms.columns, chinese.WORDS[terms.columns]
    return ", ".join(terms.columns), f"字段 {', '.join(terms.columns)}"


def _masks(terms: Terms) -> tuple[str, str]:
    said = sorted(terms.masks.items())
    english = ", ".join(f"{column}: {mask}" for column, mask in said)
    return english, "、".join(f"{column} {chinese.mask(mask)}" for column, mask in said)


def _uses(terms: Terms) -> tuple[str, str]:
    said = [(name, *uses.use_words(uses.read_use(name, text))) for name, text in sorted(terms.uses.items())]
    return "; ".join(f"{name}: {en}" for name, en, _ in said), "; ".join(f"{name}: {zh}" for name, _, zh in said)


def _result(terms: Terms) -> tuple[str, str]:
    measures, keys = ", ".join(terms.measures), ", ".join(terms.group_by)
    by = f" by {keys}" if keys else ""
    words = f"aggregates only: {measures}{by}; groups of {terms.min_group} or more, told apart by {terms.person}"
    shown = "、".join(map(chinese.measure, terms.measures))
    zh = (
        f"仅输出统计: {shown}"
        + (f", 按 {keys} 分组" if keys else "")
        + f", 每组不少于 {terms.min_group} 个 {terms.person}"
    )
    return words, zh


def _trace(terms: Terms) -> tuple[str, str]:
    mark = trace.parse(terms.trace)
    words = f"each copy is marked: {mark.column} differs by {mark.quantum} in {trace.SHARE} of the rows, by {mark.key}"
    zh = f"每份副本带标记: 按 {mark.key}, 百分之二的行 {mark.column} 增减 {mark.quantum}"
    if mark.marker_rows:
        words += f"; may contain {mark.marker_rows} marker rows, which are false data"
        zh += f"; 可含 {mark.marker_rows} 行标记数据, 非真实数据"
    return words, zh


_WORDS: Final[Mapping[str, Callable[[Terms], tuple[str, str]]]] = {
    "purposes": _purposes,
    "who": _listed("who", chinese.who),
    "places": _listed("places", chinese.place),
    "period": _listed("period", chinese.period),
    "rows": _listed("rows", chinese.rows),
    "columns": _columns,
    "limits": _listed("limits", chinese.limit),
    "masks": _masks,
    "uses": _uses,
    "result": _result,
    "noise": noise.words,
    "trace": _trace,
}


_KEEP: Final[Mapping[Kept, tuple[str, str]]] = {
    "enforced": ("only results leave", "仅结果离开"),
    "proven": ("proof of erasure due; overdue stops the contract", "须提交删除证明, 逾期中止合约"),
    "promised": ("nothing is owed", "无义务"),
}
_LATER: Final[Mapping[str, tuple[str, str]]] = {
    "onward": ("a copy is out of our sight", "副本离开后不可见"),
    "derived": ("what is made of a copy is out of our sight", "衍生数据不可见"),
}
_DERIVED: Final = {"free": "衍生数据不受限制"}
"""A price may be free, too, and is another word in Chinese."""


def _later_line(terms: Terms, key: str) -> Line:
    """Lines about what happens after delivery; none of them is enforced once a copy has left."""
    value = str(getattr(terms, key))
    kept = grammar.keep_kept(value) if key == "keep" else KEPT[key]
    how = _KEEP[kept] if key == "keep" else _LATER[key]
    zh = chinese.keep(value) if key == "keep" else _DERIVED.get(value) or chinese.WORDS[value]
    return Line(key, value, zh, kept, *how)


_DUTY_HOW: Final[Mapping[str, tuple[str, str]]] = {
    "attribute": ("stands in the contract only", "仅合约约定"),
    "pay": ("the provider confirms it; overdue stops the contract", "由提供方确认收款, 逾期中止合约"),
    "report": ("report due; overdue stops the contract", "须按期报告, 逾期中止合约"),
    "leak": ("nobody sees a leak that is not reported", "未报告的泄露无从得知"),
}


def _duty_line(text: str) -> Line:
    owed = grammar.parse_duty(text)
    return Line("duties", text, chinese.duty(text), grammar.DUTY_KEPT[owed.kind], *_DUTY_HOW[owed.kind])


def _price_line(price: str, terms: Terms) -> Line:
    cost = grammar.parse_price(price)
    if not cost.amount:
        return Line("price", price, chinese.price(price), "enforced", "nothing is charged", "不收费")
    if cost.per == "once":
        how = ("no read before the provider confirms payment", "提供方确认收款后方可读取")
        return Line("price", price, chinese.price(price), "enforced", *how)
    kept: Kept = "proven" if any(grammar.parse_duty(text).kind == "pay" for text in terms.duties) else "promised"
    return Line("price", price, chinese.price(price), kept, *_PRICE[kept])


_PRICE: Final[Mapping[Kept, tuple[str, str]]] = {
    "proven": ("receipts count it; overdue stops the contract", "凭回执计费, 逾期中止合约"),
    "promised": ("receipts count it; no day to pay is agreed", "凭回执计费, 未约定付款期限"),
}
"""What is paid for the use, with a duty to pay within some time and without one."""


def _added(level_word: str) -> Iterator[Line]:
    for line in level.added(level_word):
        yield Line(line.key, line.words, line.zh, "enforced", line.how, "系统执行", f"added by {level_word}")
