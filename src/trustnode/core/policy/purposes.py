"""Purposes of use and how they lie below each other, with the names of DPV 2.3 where it has one.

Decides: which purpose words exist and which of them a word covers. Not a tree: commercial research is research and is
commercial, so that a prohibition of either reaches it (odrl 4.6). Leaves to others: how a purpose is claimed and
recorded (``access``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple


class Purpose(NamedTuple):
    """One purpose."""

    zh: str
    parents: tuple[str, ...] = ()


PURPOSES: Final[Mapping[str, Purpose]] = {
    # directly below Purpose
    "account-management": Purpose("账户管理"),
    "commercial-purpose": Purpose("商业目的"),
    "communication-management": Purpose("通信管理"),
    "customer-management": Purpose("客户管理"),
    "enforce-security": Purpose("安全保障"),
    "establish-contractual-agreement": Purpose("订立合同"),
    "fulfilment-of-obligation": Purpose("履行义务"),
    "human-resource-management": Purpose("人力资源管理"),
    "marketing": Purpose("营销"),
    "non-commercial-purpose": Purpose("非商业目的"),
    "organisation-governance": Purpose("组织治理"),
    "personalisation": Purpose("个性化"),
    "public-benefit": Purpose("公共利益"),
    "record-management": Purpose("档案管理"),
    "research-and-development": Purpose("研究与开发"),
    "service-provision": Purpose("提供服务"),
    "vendor-management": Purpose("供应商管理"),
    # ours: uses of data that DPV does not name as purposes
    "statistics": Purpose("统计"),
    "model-training": Purpose("模型训练"),
    # marketing
    "advertising": Purpose("广告", ("marketing",)),
    "direct-marketing": Purpose("直接营销", ("marketing",)),
    "public-relations": Purpose("公共关系", ("marketing",)),
    "social-media-marketing": Purpose("社交媒体营销", ("marketing",)),
    "personalised-advertising": Purpose("个性化广告", ("advertising", "personalisation")),
    "targeted-advertising": Purpose("定向广告", ("personalised-advertising",)),
    # research
    "academic-research": Purpose("学术研究", ("research-and-development",)),
    "commercial-research": Purpose("商业研究", ("research-and-development", "commercial-purpose")),
    "non-commercial-research": Purpose("非商业研究", ("research-and-development", "non-commercial-purpose")),
    "scientific-research": Purpose("科学研究", ("research-and-development",)),
    "historical-research": Purpose("历史研究", ("research-and-development",)),
    # public benefit
    "public-health": Purpose("公共卫生", ("public-benefit",)),
    "improve-healthcare": Purpose("改善医疗", ("public-benefit",)),
    "improve-public-services": Purpose("改善公共服务", ("public-benefit",)),
    "improve-transport-mobility": Purpose("改善交通出行", ("public-benefit",)),
    "combat-climate-change": Purpose("应对气候变化", ("public-benefit",)),
    "protection-of-public-security": Purpose("维护公共安全", ("public-benefit", "enforce-security")),
    "public-policy-making": Purpose("公共政策制定", ("public-benefit",)),
    "official-statistics": Purpose("官方统计", ("public-benefit", "statistics")),
    "disaster-response": Purpose("灾害应对", ("public-benefit",)),
    # customers and credit
    "customer-care": Purpose("客户服务", ("customer-management",)),
    "customer-solvency-monitoring": Purpose("客户偿付能力监测", ("customer-management",)),
    "credit-checking": Purpose("信用核查", ("customer-solvency-monitoring",)),
    "credit-scoring": Purpose("信用评分", ("credit-checking",)),
    "credit-risk-management": Purpose("信用风险管理", ("customer-solvency-monitoring", "organisation-risk-management")),
    "insurance-underwriting": Purpose("保险核保", ("customer-management", "organisation-risk-management")),
    # security
    "identity-verification": Purpose("身份核验", ("enforce-security",)),
    "misuse-prevention-and-detection": Purpose("滥用防范", ("enforce-security",)),
    "fraud-prevention-and-detection": Purpose("反欺诈", ("misuse-prevention-and-detection",)),
    "counter-money-laundering": Purpose("反洗钱", ("fraud-prevention-and-detection", "legal-compliance")),
    # obligations
    "fulfilment-of-contractual-obligation": Purpose("履行合同义务", ("fulfilment-of-obligation",)),
    "legal-compliance": Purpose("合规", ("fulfilment-of-obligation",)),
    # organisation
    "organisation-risk-management": Purpose("风险管理", ("organisation-governance",)),
    "dispute-management": Purpose("争议处理", ("organisation-governance",)),
    "internal-resource-optimisation": Purpose("内部资源优化", ("organisation-governance",)),
    "supply-chain-management": Purpose("供应链管理", ("vendor-management", "organisation-governance")),
    "personnel-hiring": Purpose("招聘", ("human-resource-management",)),
    "personnel-management": Purpose("人员管理", ("human-resource-management",)),
    # services
    "service-optimisation": Purpose("服务优化", ("service-provision",)),
    "service-usage-analytics": Purpose("服务使用分析", ("service-provision", "statistics")),
    "service-personalisation": Purpose("服务个性化", ("service-provision", "personalisation")),
    "payment-management": Purpose("支付管理", ("service-provision",)),
    "delivery-of-goods": Purpose("货物交付", ("service-provision",)),
    "sell-products": Purpose("产品销售", ("service-provision", "commercial-purpose")),
    "navigation-and-maps": Purpose("导航与地图", ("service-provision",)),
}
"""Closed: another word is refused. A permission on a word covers the words below it, a prohibition blocks them."""

_BIT: Final = {word: 1 << number for number, word in enumerate(PURPOSES)}


@functools.cache
def _above(word: str) -> int:
    """Bits of the word and of everything it lies below."""
    bits = _BIT[word]
    for parent in PURPOSES[word].parents:
        bits |= _above(parent)
    return bits


ABOVE: Final[Mapping[str, int]] = {word: _above(word) for word in PURPOSES}


def bits(words: Iterable[str]) -> int:
    """The words themselves as a bit set."""
    found = 0
    for word in words:
        found |= _BIT[word]
    return found


def covered(words: Iterable[str]) -> frozenset[str]:
    """The given purposes and all below them."""
    wanted = bits(words)
    return frozenset(word for word, above in ABOVE.items() if above & wanted)
