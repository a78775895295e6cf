"""Values of the terms in Chinese, beside the English words that people write.

Decides: the Chinese of each value that the grammar reads. Leaves to others: reading values (``grammar``), which lines
there are and how each is kept (``explain``), names of purposes (``purposes``) and of roles (``vocabulary``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trustnode import vocabulary
from trustnode.core.policy import duration, grammar
from trustnode.core.policy.governed import Measure
from trustnode.core.policy.purposes import PURPOSES
from trustnode.core.policy.words import ASSURANCE

_ROLES: Final = {word.name: word.zh for word in vocabulary.WORDS["Role"]}
_KINDS: Final = {"role": "角色", "assurance": "核验", "participant": "参与方", "venue": "场所", "space": "空间"}
_LENGTHS: Final = {"hour": "小时", "day": "天", "month": "个月", "year": "年"}
_WINDOWS: Final = {
    "minute": "每分钟", "hour": "每小时", "day": "每天", "week": "每周", "month": "每月", "year": "每年", "none": "共",
}  # fmt: skip
_UNITS: Final = {"count": "次读取", "rows": "行", "bytes": "字节"}
_INTERVALS: Final = {"P1D": "每天", "P7D": "每周", "P1M": "每月", "P3M": "每季度", "P1Y": "每年"}
WORDS: Final[Mapping[str, str]] = {
    "any": "任何用途",
    "anyone": "任何参与方",
    "all": "全部字段",
    "no copy": "不得留存",
    "unlimited": "不限期",
    "forbidden": "禁止转让",
    "results": "仅可转让结果",
    "with these terms": "附同样条款方可转让",
    "allowed": "允许转让",
    "same terms": "适用同样条款",
}
"""Words that stand alone; a test holds them against the grammar."""


def purpose(word: str) -> str:
    """``信用评分``."""
    return PURPOSES[word].zh if word in PURPOSES else WORDS.get(word, word)


def who(text: str) -> str:
    """``role:CONSUMER`` -> ``数据使用方``."""
    kind, word = grammar.parse_who(text)
    named = {"role": _ROLES, "assurance": ASSURANCE}.get(kind, {})
    return named.get(word) or f"{_KINDS[kind]} {word}"


def place(text: str) -> str:
    """``CN`` -> ``中国``, ``3300`` -> ``行政区划 3300``."""
    return {"CN": "中国"}.get(text) or (f"行政区划 {text}" if text.isdigit() else f"国家 {text}")


def span(text: str) -> str:
    """``90 days`` -> ``90 天``; an ISO duration likewise."""
    number, _, unit = (duration.to_words(text) or text).partition(" ")
    return f"{number} {_LENGTHS[unit.rstrip('s')]}" if unit.rstrip("s") in _LENGTHS else text


def period(text: str) -> str:
    """``2026-12-01 to 2027-11-30`` -> ``2026-12-01 至 2027-11-30``."""
    return text.replace(" to ", " 至 ") if " to " in text else f"自签署起 {span(text)}"


def limit(text: str) -> str:
    """``50 reads per day`` -> ``每天 50 次读取``."""
    amount, unit, window = grammar.parse_limit(text)
    if unit == "running":
        return f"同时 {amount} 次读取"
    return f"{_WINDOWS[window]} {amount} {_UNITS[unit]}"


def rows(text: str) -> str:
    """The condition as it is written, in a sentence."""
    return f"仅满足条件的行: {text}"


_MASKS: Final[Mapping[str, str]] = {
    "null": "置空",
    "constant": "替换为 {}",
    "hash": "带密钥散列 {}",
    "token": "代号",
    "bucket": "按 {} 分段",
    "round": "舍入至 {} 位",
    "year": "仅年份",
    "quarter": "仅季度",
    "month": "仅年月",
    "first": "仅前 {} 位",
    "last": "仅末 {} 位",
    "domain": "仅域名",
    "only": "仅显示 {}",
    "redact": "遮盖 {}",
    "network": "仅网段",
}
"""Of each mask of ``masks.MASKS``; ``{}`` is its parameter."""


def mask(text: str) -> str:
    """``bucket 10000`` -> ``按 10000 分段``."""
    method, _, parameter = text.partition(" ")
    return _MASKS[method].replace("{}", parameter).strip()


def measure(text: str) -> str:
    """``avg bmi`` -> ``bmi 均值``."""
    shown: Measure = grammar.parse_measure(text)
    return f"{shown.column} {_MEASURES[shown.function]}".strip()


_MEASURES: Final = {"count": "计数", "sum": "合计", "avg": "均值", "stddev": "标准差"}


def keep(text: str) -> str:
    """``90 days`` -> ``90 天后删除``."""
    return WORDS.get(text) or f"{span(text)}后删除"


def duty(text: str) -> str:
    """``pay within 30 days`` -> ``30 天内付款``."""
    kind, within = grammar.parse_duty(text)
    return {
        "attribute": "注明来源",
        "pay": f"{span(within)}内付款",
        "report": f"{_INTERVALS.get(within, within)}报告使用情况",
        "leak": f"{span(within)}内报告泄露",
    }[kind]


def price(text: str) -> str:
    """``0.02 CNY per row`` -> ``每行 0.02 元``."""
    amount, currency, per = grammar.parse_price(text)
    if not amount:
        return "免费"
    each = {"once": "一次性", "month": "每月", "read": "每次读取", "row": "每行"}[per]
    return f"{each} {amount} {'元' if currency == 'CNY' else currency}"
