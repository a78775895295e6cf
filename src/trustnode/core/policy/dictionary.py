"""What this node makes of every action, constraint and operator that policies are written with: one table.

Decides: for each word of ``vocabulary`` whether it is enforced (and by which place), proven, promised or refused (and
why), its ODRL term here and the key of the readable terms that says it. Leaves to others: accepting and refusing
policies (``compiled``); tests load a policy with every word and compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from trustnode import vocabulary
from trustnode.core.policy import terms, words
from trustnode.core.policy.terms import Kept


class Keeper(NamedTuple):
    """A place of this node that keeps a term, or the proof that is owed."""

    module: str
    """Below ``trustnode``; empty: nothing but the contract."""
    words: str
    zh: str


KEEPERS: Final[Mapping[str, Keeper]] = {
    "decision": Keeper("core.policy.compiled", "decided before each read", "每次读取前判定"),
    "clock": Keeper(
        "core.policy.evaluate", "the node's clock, also in running streams", "以节点时钟为准, 传输中同样核对"
    ),
    "registry": Keeper("app.access.decision", "certificate and registry, never the request", "依证书与登记核对"),
    "plan": Keeper("engine.plan", "the plan of the query; no other text runs", "查询计划, 不执行其他语句"),
    "counter": Keeper("app.quota", "reserved before the plan, settled after it", "先预留, 后结算"),
    "payment": Keeper(
        "app.duties",
        "confirmed by the provider: paid once, before the first read; for the use, by a day if one is agreed",
        "由提供方确认收款: 一次性费用先付后读; 按用量的费用依约定期限, 如有",
    ),
    "erasure": Keeper("app.duties", "proof of erasure; overdue suspends", "删除证明, 逾期中止"),
    "report": Keeper("app.duties", "a report in each interval; overdue suspends", "按期报告, 逾期中止"),
    "contract": Keeper("", "stands in the contract only", "仅合约约定"),
    "budget": Keeper("core.policy.plan", "the privacy budget, reserved before the query", "隐私预算, 查询前预留"),
}
"""Closed."""


class Standing(NamedTuple):
    """How one word stands here."""

    odrl: str = ""
    """Term of our profile: an action, a left operand or an operator; empty where it is refused."""
    kept: Kept | None = None
    """None: refused."""
    by: str = ""
    """Key of ``KEEPERS``; of a refusal, the reason a person reads."""
    zh: str = ""
    """Of a refusal, the reason in Chinese."""
    key: str = ""
    """Key of the readable terms that says it, or ``price``; empty: only ODRL says it, or nothing does."""


def _refused(reason: str, zh: str) -> Standing:
    return Standing(by=reason, zh=zh)


def _by_term(key: str, odrl: str, by: str) -> Standing:
    """A word that stands and falls with a key of the terms."""
    if key in terms.UNKEPT:
        return Standing(by=terms.UNKEPT[key], zh="本节点无法执行", key=key)
    return Standing(odrl, terms.KEPT[key], by, key=key)


_NO_VERIFIER: Final = _refused(
    'no verifier here can prove what runs at the consumer; results without rows: result = "aggregates"',
    "无法核验使用方的运行环境; 可仅提供统计结果",
)

ACTIONS: Final[Mapping[str, Standing]] = {
    "transform": _refused(
        "data are delivered in one format, Arrow; what is made of a copy: derived",
        "仅以 Arrow 格式交付; 加工见 derived",
    ),
    "anonymize": Standing("tn:aggregateOnly", "enforced", "plan", key="result"),
    "desensitize": Standing("tn:mask", "enforced", "plan", key="masks"),
    "access": Standing("use", "enforced", "decision", key="not_for"),
    "read": Standing("read", "enforced", "decision", key="columns"),
    "reproduce": Standing("reproduce", "promised", "contract", key="keep"),
    "storage": Standing("delete", "proven", "erasure", key="keep"),
    "download": Standing("read", "enforced", "decision", key="columns"),
    "process": Standing("derive", "promised", "contract", key="derived"),
    "jointDevelop": _refused(
        "nobody sees what a copy is put together with; what may be made of it: derived",
        "副本与何者结合不可见; 加工见 derived",
    ),
    "distribute": Standing("distribute", "promised", "contract", key="onward"),
    "compute": Standing("aggregate", "enforced", "plan", key="result"),
    "grantUse": Standing("grantUse", "promised", "contract", key="onward"),
    "policyTransmit": Standing("tn:policyTransmit", "promised", "contract", key="onward"),
    "delivery": Standing("read", "enforced", "decision", key="columns"),
    "sell": Standing("sell", "promised", "contract", key="onward"),
    "logRecordSend": Standing("inform", "proven", "report", key="duties"),
    "delete": Standing("delete", "proven", "erasure", key="keep"),
    "alert": Standing("inform", "promised", "contract", key="duties"),
    "compensate": Standing("compensate", "proven", "payment", key="price"),
    "encrypt": _refused(
        "every delivery is encrypted without being asked; of a copy at rest nobody sees it",
        "传输一律加密; 静态副本不可见",
    ),
    "view": _refused(
        'what is seen can be copied; write result = "aggregates" and keep = "no copy"', "可见即可复制; 可仅提供统计结果"
    ),
    "resultDownload": Standing("aggregate", "enforced", "plan", key="result"),
    "notify": Standing("inform", "proven", "report", key="duties"),
    "export": Standing("aggregate", "enforced", "plan", key="result"),
    "expansionItem": _refused("an extension that both sides have no common profile for", "双方无共同扩展定义"),
}
"""TC609-14 table C.5, TC609-15 table A.2. Closed over ``vocabulary`` Action."""

CONSTRAINTS: Final[Mapping[str, Standing]] = {
    "time": Standing("dateTime", "enforced", "clock", key="period"),
    "timeWindow": Standing("elapsedTime", "enforced", "clock", key="period"),
    "region": Standing("tn:jurisdiction", "enforced", "registry", key="places"),
    "networkAddress": _refused(
        'an address does not say where data are used; name the node: who = ["venue:..."]',
        "网络地址不能说明使用地点; 可指定节点",
    ),
    "physicalAddress": _NO_VERIFIER,
    "count": Standing("count", "enforced", "counter", key="limits"),
    "frequency": Standing("tn:frequency", "enforced", "counter", key="limits"),
    "dataSize": Standing("tn:bytesReturned", "enforced", "counter", key="limits"),
    "dataRecord": Standing("tn:rowsReturned", "enforced", "counter", key="limits"),
    "dataField": Standing("tn:column", "enforced", "plan", key="columns"),
    "valueExpression": Standing("tn:expression", "enforced", "plan", key="rows"),
    "application": _NO_VERIFIER,
    "algorithm": _NO_VERIFIER,
    "machineLearningModels": _NO_VERIFIER,
    "executionEnv": _by_term("environment", "tn:executionEnv", "registry"),
    "encryptMode": _refused(
        "nothing here computes on encrypted data; in transit all is encrypted", "无密态计算; 传输一律加密"
    ),
    "deliveryMethod": _refused("there is one way of delivery, a stream; nothing to choose", "仅以数据流交付"),
    "payAmount": Standing("payAmount", "promised", "payment", key="price"),
    "deliveryConnector": _refused(
        "only the provider's node delivers, and every agreement names it", "仅提供方节点交付, 合约已载明"
    ),
    "useConnector": Standing("tn:membership", "enforced", "registry", key="who"),
    "dataState": Standing("tn:dataState", "promised", "contract", key="onward"),
    "distributedSize": _refused("nobody sees how much of a copy is handed on; forbid it: onward", "副本转让数量不可见"),
    "user": Standing("recipient", "enforced", "registry", key="who"),
    "duration": Standing("elapsedTime", "enforced", "clock", key="period"),
    "usableScope": _refused("a text that no node can check; name who, places or a venue", "文字范围无法核对"),
    "purpose": Standing("purpose", "enforced", "decision", key="purposes"),
    "role": Standing("tn:role", "enforced", "registry", key="who"),
    "jurisdiction": Standing("tn:jurisdiction", "enforced", "registry", key="places"),
    "minGroupSize": Standing("tn:minGroupSize", "enforced", "plan", key="min_group"),
    "epsilon": _by_term("noise", "tn:epsilon", "budget"),
    "rowsReturned": Standing("tn:rowsReturned", "enforced", "counter", key="limits"),
    "bytesReturned": Standing("tn:bytesReturned", "enforced", "counter", key="limits"),
    "retention": Standing("tn:retention", "proven", "erasure", key="keep"),
    "expansionItem": _refused("an extension that both sides have no common profile for", "双方无共同扩展定义"),
}
"""TC609-14 table C.6, TC609-15 table A.1 and ours. Closed over ``vocabulary`` Constraint."""

OPERATORS: Final[Mapping[str, Standing]] = {
    word.name: Standing(word.name, "enforced", "decision") for word in vocabulary.WORDS["Operator"]
}
"""TC609-14 table 5.2; which goes with what: ``kinds_of``."""

OWN: Final[Mapping[str, str]] = {
    "tn:assuranceLevel": "who",
    "tn:concurrentReads": "limits",
    "tn:per": "price",
    "delayPeriod": "duties",
    "timeInterval": "duties",
    "event": "duties",
    "tn:method": "masks",
    "tn:parameter": "masks",
    "tn:useKind": "uses",
    "tn:privacyUnit": "person",
    "tn:epsilonPerQuery": "noise",
    "tn:delta": "noise",
    "tn:groupsPerPerson": "noise",
    "tn:rowsPerGroup": "noise",
    "tn:clamp": "noise",
    "tn:keys": "noise",
    "tn:groupBy": "group_by",
    "tn:measure": "measures",
    "tn:quantum": "trace",
    "tn:key": "trace",
    "tn:markerRows": "trace",
}
"""Left operands of our profile that no constraint of the standards means, and the key of the terms that writes them."""

OWN_ACTIONS: Final[Mapping[str, str]] = {
    "transfer": "onward",
    "attribute": "duties",
    "tn:rowFilter": "rows",
    "tn:project": "columns",
    "tn:watermark": "trace",
    "tn:columnUse": "uses",
    "tn:aggregateColumn": "uses",
    "tn:dp": "noise",
}
"""Actions of our profile that no action of the standards means: ``attribute`` names the source, ``transfer`` holds
``sell``, the others carry a constraint that the standards have as a word of its own."""

TABLES: Final[Mapping[str, Mapping[str, Standing]]] = {
    "Action": ACTIONS,
    "Constraint": CONSTRAINTS,
    "Operator": OPERATORS,
}


class Line(NamedTuple):
    """One word with its standing, for a screen and for the page of documentation."""

    word: vocabulary.Word
    standing: Standing

    @property
    def how(self) -> str:
        """Who keeps it, or why it is refused."""
        return KEEPERS[self.standing.by].words if self.standing.kept else self.standing.by

    @property
    def how_zh(self) -> str:
        """The same in Chinese."""
        return KEEPERS[self.standing.by].zh if self.standing.kept else self.standing.zh


def lines(kind: str) -> tuple[Line, ...]:
    """The words of ``Action``, ``Constraint`` or ``Operator`` with how each stands here."""
    return tuple(Line(word, TABLES[kind][word.name]) for word in vocabulary.WORDS[kind])


def kinds_of(operator: str) -> tuple[str, ...]:
    """What an operator compares as a condition: ``instant``, ``elapsed``, ``purpose``, ``term``."""
    return tuple(kind for kind, known in words.OPERATORS.items() if operator in known)


def page() -> str:
    """The page of documentation."""
    return _HEAD + "".join(_section(kind) for kind in TABLES)


_HEAD: Final = """\
# Words of policies

Written by `make docs` from the table in `src/trustnode/core/policy/dictionary.py`.

Every action, constraint and operator of TC609-6-2025-14 and -15 and of ODRL 2.2 that data exchanges write policies
with, and what this node makes of it. *Enforced*: impossible otherwise. *Proven*: the other side owes proof.
*Promised*: stands in the contract only. *Refused*: a policy with it is not loaded, an offer with it not published.
`trustnode policy words` shows the same.
"""


def _section(kind: str) -> str:
    head = f"\n## {kind}\n\n| word | 中文 | ODRL here | stands | terms | how, or why not |\n|---|---|---|---|---|---|\n"
    return head + "".join(_row(line) for line in lines(kind))


def _row(line: Line) -> str:
    word, standing = line.word, line.standing
    odrl, key = (f"`{text}`" if text else "" for text in (standing.odrl, standing.key))
    cells = (f"`{word.name}`", word.zh, odrl, standing.kept or "refused", key, f"{line.how} ({line.how_zh})")
    return f"| {' | '.join(cells)} |\n"
