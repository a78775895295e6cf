"""The closed sets of the standards and ours: words, codes, labels.

Decides: which words exist. An unknown word denies; numbers are never reused. Leaves to others: what a word does.
Sources: TC609-6-2025-14 and -15, NDI-TR-02 to -06, GB/T 43697-2024, PIPL; the rest is (design). The words of policies
that only this node has (operands, purposes) stand in ``core.policy``, what a policy makes of actions, constraints and
operators in ``core.policy.dictionary``, states with their machines, reasons in ``errors``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from trustnode.errors import error


class Word(NamedTuple):
    """One value of a closed set."""

    number: int
    name: str
    zh: str
    code: str
    """Value in the Chinese document; empty where it has none."""
    meaning: str


class Term(NamedTuple):
    """One class of a classification."""

    zh: str
    en: str


WORDS: Final[Mapping[str, tuple[Word, ...]]] = {
    "VenueLevel": (
        Word(1, "NATIONAL", "国家级", "", "compliance supervision and basic service, public attribute"),
        Word(2, "REGIONAL", "区域性", "", "serves one region"),
        Word(3, "INDUSTRY", "行业性", "", "serves one industry"),
        Word(4, "SERVICE", "业务节点", "", "a platform below a functional node"),
    ),
    "NodeType": (
        Word(1, "GLOBAL", "全域功能节点", "1", "national directory, identity, identifiers, monitoring"),
        Word(2, "REGIONAL", "区域功能节点", "2", "the same for a region; assigns identifiers"),
        Word(3, "INDUSTRY", "行业功能节点", "3", "the same for an industry"),
        Word(4, "SERVICE", "业务节点", "4", "circulation and use platform"),
        Word(5, "CONNECTOR", "接入连接器", "5", "entry of a participant"),
        Word(6, "PRODUCT", "数据产品", "6", "unit of trade"),
        Word(7, "RESOURCE", "数据资源", "7", "raw material of products"),
    ),
    "Role": (
        Word(1, "VENUE_OPERATOR", "场所运营方", "", "runs the node and its services"),
        Word(2, "PROVIDER", "数据提供方", "", "offers products"),
        Word(3, "CONSUMER", "数据使用方", "", "uses products"),
        Word(4, "SERVICE_PARTY", "数据服务方", "", "adds a service between the two"),
        Word(5, "MERCHANT", "数据商", "", "buys and sells; never the venue itself"),
        Word(6, "CUSTODIAN", "数据托管方", "", "acts for the provider, with an agent log"),
        Word(7, "DATA_SUBJECT", "个人信息主体", "", "the person the data are about"),
        Word(8, "SUPERVISOR", "监管方", "", "reads, inquires, orders"),
        Word(9, "AUDITOR", "审计评估方", "", "scoped, time-limited read; signs reports"),
        Word(10, "SYSTEM_ADMIN", "系统管理员", "", "runs the machine"),
        Word(11, "SECURITY_ADMIN", "安全管理员", "", "keys, policies, access rights"),
        Word(12, "AUDIT_ADMIN", "审计管理员", "", "reads administrative records"),
        Word(13, "PEER_NODE", "对等节点", "", "another venue's node"),
    ),
    "PeerScope": (
        Word(1, "CATALOG", "目录", "", "exchange listings and search"),
        Word(2, "CONTRACT", "合约", "", "negotiate and sign"),
        Word(3, "ACCESS", "数据访问", "", "serve data under agreements"),
        Word(4, "RELAY", "中继", "", "carry traffic of others"),
        Word(5, "EVIDENCE", "存证互验", "", "cosign checkpoints, exchange proofs"),
        Word(6, "CLEARING", "清算", "", "statements and netting"),
        Word(7, "SUPERVISION", "监管协同", "", "pass orders and reports"),
    ),
    "DataCategory": (
        Word(1, "PUBLIC", "公共数据", "", "made or collected in public duties"),
        Word(2, "ENTERPRISE", "企业数据", "", "made in business, neither public nor personal"),
        Word(3, "PERSONAL", "个人数据", "", "carries personal information"),
        Word(4, "MIXED", "融合数据", "", "more than one of these; the strictest rules apply"),
    ),
    "SourceKind": (
        Word(1, "ORIGINAL", "原始取得", "001", "made by one's own activity"),
        Word(2, "COLLECTED", "收集取得", "002", "collected from others (the draft repeats the text of 001, gap G29)"),
        Word(3, "TRANSACTION", "交易取得", "003", "obtained for consideration"),
        Word(4, "OTHER", "其他", "004", "none of these"),
    ),
    "ProductForm": (
        Word(1, "DATASET", "数据集", "001", "collected and arranged data"),
        Word(2, "API", "API产品", "002", "data through a programming interface"),
        Word(3, "APPLICATION", "数据应用", "003", "data presented or operated by software"),
        Word(4, "REPORT", "数据报告", "004", "documents made from analysis"),
        Word(5, "OBJECT", "数据对象", "005", "identifier, metadata and data in one package"),
        Word(6, "OTHER", "其他", "006", "made to order"),
    ),
    "UpdateFrequency": (
        Word(1, "REALTIME", "实时", "001", "at once"),
        Word(2, "DAILY", "每日", "002", "every day"),
        Word(3, "WEEKLY", "每周", "003", "every week"),
        Word(4, "MONTHLY", "每月", "004", "every month"),
        Word(5, "QUARTERLY", "每季度", "005", "every quarter"),
        Word(6, "SEMIANNUAL", "每半年", "006", "every half year"),
        Word(7, "ANNUAL", "每年", "007", "every year"),
        Word(8, "IRREGULAR", "不定期", "008", "no fixed term"),
        Word(9, "HISTORICAL", "历史存量", "009", "no more updates"),
    ),
    "QualityGrade": (
        Word(1, "A", "A级", "001", "complete and exact"),
        Word(2, "B", "B级", "002", "mostly complete and exact"),
        Word(3, "C", "C级", "003", "partly"),
        Word(4, "D", "D级", "004", "missing or wrong"),
    ),
    "Visibility": (
        Word(1, "PUBLIC", "公开", "", "anybody"),
        Word(2, "NETWORK", "全网节点", "", "participants of any peered node"),
        Word(3, "VENUE", "本场所", "", "participants of the listing venue"),
        Word(4, "SPACE", "本空间", "", "members of one logical space"),
        Word(5, "INVITED", "指定方", "", "named parties"),
    ),
    "RightType": (
        Word(1, "HOLD", "数据(资源)持有权", "", "control data and keep others out"),
        Word(2, "USE", "数据(加工)使用权", "", "process and use for oneself"),
        Word(3, "OPERATE", "数据(产品)经营权", "", "offer to others"),
    ),
    "RightExclusivity": (
        Word(1, "EXCLUSIVE", "独占", "", "grantee alone, not even the grantor"),
        Word(2, "SOLE", "排他", "", "grantee and grantor, nobody else"),
        Word(3, "NON_EXCLUSIVE", "普通", "", "others may be granted too"),
    ),
    "RegistrationAction": (
        Word(1, "FIRST", "首次", "", "first registration"),
        Word(2, "CHANGE", "变更", "", "content changed"),
        Word(3, "CORRECTION", "更正", "", "error put right"),
        Word(4, "TRANSFER", "转移", "", "right moves to another holder"),
        Word(5, "LICENCE", "许可", "", "right licensed"),
        Word(6, "RENEWAL", "续展", "", "term prolonged"),
        Word(7, "OBJECTION", "异议", "", "somebody contests"),
        Word(8, "CANCEL", "注销", "", "ended by the owner"),
        Word(9, "REVOKE", "撤销", "", "taken away by the authority"),
    ),
    "RegistrationRefusal": (
        Word(1, "CORE_DATA", "国家核心数据", "", "national core data"),
        Word(2, "NO_LAWFUL_SOURCE", "来源不合法", "", "no lawful source or authorisation"),
        Word(3, "OWNERSHIP_DISPUTE", "权属争议未决", "", "dispute not settled"),
        Word(4, "STATE_SECRET", "国家秘密", "", "state secret or level 5 of the other scale"),
        Word(5, "FIELDS_INCOMPLETE", "信息不全", "", "mandatory field missing"),
        Word(6, "DUPLICATE", "重复登记", "", "the same product is registered"),
        Word(7, "AREA_NOT_YOURS", "非本区域或行业", "", "outside the node's authority"),
    ),
    "SuspensionCause": (
        Word(1, "OWNER", "所有方", "", "its owner"),
        Word(2, "VENUE", "场所", "", "the venue"),
        Word(3, "SUPERVISOR_ORDER", "监管指令", "", "an order"),
        Word(4, "REGISTRATION", "登记状态", "", "product not registered or disputed"),
        Word(5, "PEER", "对等节点", "", "peer suspended or gone"),
        Word(6, "CONSENT", "同意", "", "consent withdrawn or expired"),
        Word(7, "APPROVAL", "批准", "", "approval missing or expired"),
        Word(8, "SYSTEM", "系统", "", "fault or resources"),
        Word(9, "PROVIDER_ABORT", "提供方终止", "", "provider's abort"),
        Word(10, "BREACH", "违约", "", "breach under review"),
        Word(11, "UNWITNESSED", "未经见证", "", "not cosigned by the agreed witnesses in time"),
    ),
    "PricingMode": (
        Word(1, "FREE_PUBLIC_BENEFIT", "公益无偿", "", "free for public governance and benefit"),
        Word(2, "GUIDED", "政府指导价", "", "government-guided price of public data"),
        Word(3, "MARKET_FIXED", "固定价", "", "one price"),
        Word(4, "MARKET_USAGE", "按量计价", "", "price per unit used"),
        Word(5, "REVENUE_SHARE", "收益分成", "", "share of the user's income"),
        Word(6, "AUCTION", "竞价", "", "by bidding"),
        Word(7, "NEGOTIATED", "协议价", "", "agreed case by case"),
    ),
    "SignMode": (
        Word(1, "POINT_TO_POINT", "点对点协商", "01", "the parties' connectors alone"),
        Word(2, "PLATFORM", "平台参与协商", "02", "the platform takes part"),
    ),
    "TerminateType": (
        Word(1, "EARLY", "提前解除", "01", "before the term, by agreement"),
        Word(2, "EXPIRED", "到期解除", "02", "at the term"),
    ),
    "EndDisposition": (
        Word(1, "DESTROY", "销毁", "", "destroy, with certificate"),
        Word(2, "ANONYMISE", "匿名化", "", "anonymise, with method statement"),
        Word(3, "RETURN", "返还", "", "give back and destroy copies"),
    ),
    "DutyTiming": (
        Word(1, "BEFORE", "前置", "", "before the use"),
        Word(2, "PARALLEL", "并行", "", "during the use"),
        Word(3, "AFTER", "后置", "", "after the use"),
    ),
    "DataLevel": (
        Word(1, "GENERAL_1", "一般1级", "", "no harm"),
        Word(2, "GENERAL_2", "一般2级", "", "ordinary harm to organisation or person"),
        Word(3, "GENERAL_3", "一般3级", "", "serious harm to organisation or person"),
        Word(4, "GENERAL_4", "一般4级", "", "extremely serious harm to organisation or person"),
        Word(5, "IMPORTANT", "重要数据", "", "may directly endanger security, economy, order, public interest"),
        Word(6, "CORE", "核心数据", "", "the highest; not for the market"),
    ),
    "ProcessingDegree": (
        Word(1, "RAW", "原始", "", "as collected"),
        Word(2, "DESENSITISED", "脱敏", "", "masked"),
        Word(3, "DEIDENTIFIED", "去标识化", "", "identifiers removed, still personal"),
        Word(4, "ANONYMISED", "匿名化", "", "cannot be linked back; method stated"),
        Word(5, "TAGGED", "标签", "", "labels derived from data"),
        Word(6, "STATISTICAL", "统计", "", "aggregates"),
        Word(7, "FUSED", "融合", "", "several sources joined"),
    ),
    "PersonalInfoKind": (
        Word(1, "NONE", "非个人信息", "", "no personal information"),
        Word(2, "ORDINARY", "一般个人信息", "", "personal, not sensitive"),
        Word(3, "SENSITIVE", "敏感个人信息", "", "sensitive kinds below"),
        Word(4, "MINOR", "不满十四周岁", "", "of anyone under 14"),
    ),
    "SensitiveKind": (
        Word(1, "BIOMETRIC", "生物识别", "", "face, finger, voice, gene"),
        Word(2, "RELIGION", "宗教信仰", "", "belief"),
        Word(3, "SPECIFIC_IDENTITY", "特定身份", "", "special status"),
        Word(4, "HEALTH", "医疗健康", "", "medical"),
        Word(5, "FINANCIAL_ACCOUNT", "金融账户", "", "accounts"),
        Word(6, "WHEREABOUTS", "行踪轨迹", "", "location and tracks"),
        Word(7, "UNDER_14", "不满十四周岁", "", "any information of a child"),
    ),
    "LegalBasis": (
        Word(1, "CONSENT", "同意", "", "the person agrees"),
        Word(2, "CONTRACT_OR_HR", "合同或人力资源", "", "needed for a contract with the person or staff management"),
        Word(3, "LEGAL_DUTY", "法定职责", "", "statutory duty"),
        Word(4, "EMERGENCY", "紧急情况", "", "public-health event or protection of life and property"),
        Word(5, "NEWS_SUPERVISION", "新闻监督", "", "news and public supervision"),
        Word(6, "SELF_PUBLISHED", "自行公开", "", "published by the person or lawfully"),
        Word(7, "OTHER_LAW", "其他", "", "other law"),
    ),
    "EraseReason": (
        Word(1, "PURPOSE_REACHED", "目的已实现", "", "reached, impossible or no longer needed"),
        Word(2, "SERVICE_ENDED_OR_RETENTION_OVER", "服务停止或保存期满", "", "service ended or term over"),
        Word(3, "CONSENT_WITHDRAWN", "撤回同意", "", "consent taken back"),
        Word(4, "UNLAWFUL", "违法处理", "", "against law or agreement"),
        Word(5, "OTHER_LAW", "其他法定", "", "other law"),
        Word(6, "AGREEMENT_ENDED", "合约终止", "", "end disposition of the agreement"),
        Word(7, "ORDER", "监管指令", "", "an order"),
    ),
    "MeterUnit": (
        Word(1, "CALL", "次", "", "one request answered"),
        Word(2, "ROW", "行", "", "one row delivered"),
        Word(3, "BYTE", "字节", "", "one byte delivered"),
        Word(4, "COMPUTE_SECOND", "计算秒", "", "one second of one core"),
        Word(5, "PRIVACY_BUDGET", "隐私预算", "", "thousandth of epsilon"),
        Word(6, "SUPPORT_UNIT", "支撑单位", "", "unit of relay, hosting, evidence"),
    ),
    "ResponsibilityStage": (
        Word(1, "SOURCE_STATED", "来源说明", "", "source lawful and stated"),
        Word(2, "SOURCE_CHECKED", "来源与身份核验", "", "source statement asked for, identities checked, records kept"),
        Word(3, "DESCRIPTION", "描述与分级", "", "description, level, quality true"),
        Word(4, "LISTING_CHECK", "上架审核", "", "listing checked and shown without bias"),
        Word(5, "SIGNATURE", "签署", "", "terms agreed, signatures genuine"),
        Word(6, "AT_REST", "交付前存储", "", "data before delivery"),
        Word(7, "PREPARATION", "交付处理", "", "masked, anonymised, encrypted, sampled"),
        Word(8, "TRANSFER", "传输", "", "until the receipt is countersigned"),
        Word(9, "RELAY_PATH", "中继可用性", "", "relayed path available"),
        Word(10, "USE", "使用", "", "use inside the policy"),
        Word(11, "DERIVATION", "衍生", "", "derived data keep the policy"),
        Word(12, "DELETION", "删除", "", "deletion or anonymisation at the end"),
        Word(13, "DELETION_CHECK", "删除核验", "", "deletion verified"),
        Word(14, "INCIDENT_NOTICE", "事件通报", "", "incident told"),
        Word(15, "METERING", "计量", "", "receipts"),
        Word(16, "STATEMENT", "结算单", "", "statement and split"),
        Word(17, "EVIDENCE_LOG", "存证", "", "own log"),
        Word(18, "PERSONAL_NOTICE", "告知与同意", "", "notice and consent of persons"),
    ),
    "RetentionClass": (
        Word(
            1,
            "LOG_180D",
            "日志",
            "",
            "identity and access logs (TC609-13, NDI-TR-03); connector logs 6 months (NDI-TR-05)",
        ),
        Word(
            2,
            "RECORD_3Y",
            "处理记录",
            "",
            "personal or important data given or entrusted; impact assessments; node reports; drills",
        ),
        Word(3, "REGISTRATION_30Y", "登记原件", "", "registration originals (Shenzhen rules)"),
        Word(4, "AGREEMENT_LIFE", "合约存续", "", "proofs of an agreement (design)"),
    ),
    "Action": (
        Word(1, "transform", "转换", "", "copy in another format before use"),
        Word(2, "anonymize", "匿名化", "", "anonymise before use"),
        Word(3, "desensitize", "脱敏", "", "mask before use"),
        Word(4, "access", "访问", "", "may be reached"),
        Word(5, "read", "读取", "", "data may be obtained"),
        Word(6, "reproduce", "复制", "", "may be copied; the copy gets a watermark or mark"),
        Word(7, "storage", "存储", "", "may be stored, under the stated protection and term"),
        Word(8, "download", "下载", "", "data or result may leave to the user's side"),
        Word(9, "process", "加工", "", "may be processed: format, features, derived data"),
        Word(10, "jointDevelop", "联合开发", "", "may be used with other sources"),
        Word(11, "distribute", "分发", "", "may go to third parties named in the contract"),
        Word(12, "compute", "计算", "", "may be used by the named application, algorithm, model"),
        Word(13, "grantUse", "授权使用", "", "use may be granted to a third party"),
        Word(14, "policyTransmit", "策略传递", "", "the policy goes along to the third party"),
        Word(15, "delivery", "交付", "", "may be delivered to the demand side"),
        Word(16, "sell", "交易", "", "paid transfer of ownership; seller's copies deleted"),
        Word(17, "logRecordSend", "行为记录发送", "", "use records go to the provider or the platform"),
        Word(18, "delete", "删除", "", "all copies deleted"),
        Word(19, "alert", "异常提醒", "", "alarm on abnormal use"),
        Word(20, "compensate", "补偿", "", "a sum is paid for the use"),
        Word(21, "encrypt", "加密", "", "encrypt before delivery"),
        Word(22, "view", "查看", "", "only to be seen: no change, copy, download, distribution, sale"),
        Word(23, "resultDownload", "结果下载", "", "result of processing may be downloaded"),
        Word(24, "notify", "使用通知", "", "provider or named party is told after each use"),
        Word(25, "export", "导出", "", "alias of resultDownload on input"),
        Word(26, "expansionItem", "扩展操作", "", "extension; refused unless a profile both sides know defines it"),
    ),
    "Constraint": (
        Word(1, "time", "时间范围", "", "validity range of use"),
        Word(2, "timeWindow", "时间窗口", "", "period or daily slot inside the range"),
        Word(3, "region", "限制地域", "", "place of use"),
        Word(4, "networkAddress", "网络地址", "", "domain or IP range of the execution node"),
        Word(5, "physicalAddress", "物理地址", "", "identifiable machine (CPU, control module, hardware address)"),
        Word(6, "count", "使用次数", "", "number of uses in the range"),
        Word(7, "frequency", "使用频次", "", "uses per minute, hour or day"),
        Word(8, "dataSize", "数据规模", "", "amount usable, e.g. 10G"),
        Word(9, "dataRecord", "数据记录数", "", "rows usable (spelt dateRecord in the standard)"),
        Word(10, "dataField", "数据字段", "", "only these fields"),
        Word(11, "valueExpression", "数据字段值", "", "only rows matching value or range"),
        Word(12, "application", "应用程序", "", "only these programs"),
        Word(13, "algorithm", "算法", "", "only these algorithms"),
        Word(14, "machineLearningModels", "机器学习模型", "", "only this model, for training or inference"),
        Word(15, "executionEnv", "执行环境", "", "environment demanded"),
        Word(16, "encryptMode", "加密方式", "", "plain or cipher use"),
        Word(17, "deliveryMethod", "交付方式", "", "way of delivery"),
        Word(18, "payAmount", "交易金额", "", "sum to be paid"),
        Word(19, "deliveryConnector", "限定交付连接器", "", "only this connector or organisation delivers"),
        Word(20, "useConnector", "限定使用连接器", "", "only used on this connector or organisation"),
        Word(21, "dataState", "限定状态", "", "encrypted, anonymised, ... before use"),
        Word(22, "distributedSize", "限定分发数据量", "", "amount handed on, each time and in all"),
        Word(23, "user", "限定使用者", "", "who may use"),
        Word(24, "duration", "使用时长", "", "how long in all"),
        Word(25, "usableScope", "可用范围", "", "where visible and usable"),
        Word(26, "purpose", "用途", "", "purpose of use; not in the dictionary of TC609-14, carried in expansionItem"),
        Word(27, "role", "使用者角色", "", "role or membership of the user"),
        Word(28, "jurisdiction", "法域", "", "jurisdiction of the receiving node"),
        Word(29, "minGroupSize", "最小分组", "", "distinct units per output group"),
        Word(30, "epsilon", "隐私预算", "", "privacy budget per query or in total"),
        Word(31, "rowsReturned", "返回行数", "", "rows out per window"),
        Word(32, "bytesReturned", "返回字节数", "", "bytes out per window"),
        Word(33, "retention", "留存期", "", "copy kept no longer"),
        Word(34, "expansionItem", "扩展信息", "", "refused unless a shared profile defines it"),
    ),
    "Operator": (
        Word(1, "eq", "等于", "01", "equal after normalisation"),
        Word(2, "gt", "大于", "02", "ordered types only"),
        Word(3, "gteq", "大于或等于", "03", "ordered types only"),
        Word(4, "hasPart", "包含部分", "04", "c is a member or subset of g"),
        Word(5, "isA", "属于实例", "05", "type or class membership, transitive"),
        Word(6, "isAllOf", "全部属于", "06", "set equality"),
        Word(7, "isAnyOf", "任意属于", "07", "g is in c, or the sets meet"),
        Word(8, "isNoneOf", "不属于", "08", "g not in c, sets disjoint"),
        Word(9, "isPartOf", "属于部分", "09", "g is a member or subset of c"),
        Word(10, "lt", "小于", "10", "ordered types only"),
        Word(11, "lteq", "小于或等于", "11", "ordered types only"),
        Word(12, "neq", "不等于", "12", "not eq"),
    ),
}
NAMES: Final[Mapping[str, frozenset[str]]] = {kind: frozenset(w.name for w in words) for kind, words in WORDS.items()}

TOPICS: Final[Mapping[str, Term]] = {
    "A0000": Term("基础资源", "base"),
    "A0100": Term("人口", "population"),
    "A0200": Term("法人单位", "legal entities"),
    "A0300": Term("自然资源和空间地理", "natural resources and geography"),
    "A0400": Term("宏观经济", "macro-economy"),
    "A0500": Term("科技教育", "science and education"),
    "B0000": Term("行业资源", "industry"),
    "B0100": Term("农业农村", "agriculture"),
    "B0200": Term("工业和信息化", "industry and IT"),
    "B0300": Term("交通运输", "transport"),
    "B0400": Term("商业贸易", "trade"),
    "B0500": Term("金融保险", "finance and insurance"),
    "C0000": Term("社会民生", "livelihood"),
    "C0100": Term("教育文化", "education and culture"),
    "C0200": Term("医疗卫生", "health"),
    "C0300": Term("社会保障", "social security"),
    "C0400": Term("住房城建", "housing"),
    "C0500": Term("生态环境", "environment"),
    "D0000": Term("政务服务", "government service"),
    "D0100": Term("行政审批", "approvals"),
    "D0200": Term("公共服务", "public service"),
    "D0300": Term("监管执法", "supervision and enforcement"),
    "D0400": Term("信用", "credit"),
    "D0500": Term("应急管理", "emergency"),
}

SCENES: Final[Mapping[str, Term]] = {
    "S0000": Term("政府治理", "governance"),
    "S0100": Term("宏观决策", "decisions"),
    "S0200": Term("执法监管", "enforcement"),
    "S0300": Term("公共管理", "public management"),
    "S0400": Term("社会治理", "social governance"),
    "T0000": Term("民生服务", "services for people"),
    "T0100": Term("教育服务", "education"),
    "T0200": Term("医疗健康", "health"),
    "T0300": Term("社会保障", "social security"),
    "T0400": Term("文化旅游", "culture and tourism"),
    "U0000": Term("产业发展", "industry"),
    "U0100": Term("产业规划", "planning"),
    "U0200": Term("科技创新", "innovation"),
    "U0300": Term("市场监测", "market monitoring"),
    "U0400": Term("投资分析", "investment"),
    "V0000": Term("安全应急", "safety"),
    "V0100": Term("公共安全", "public security"),
    "V0200": Term("自然灾害", "natural disasters"),
    "V0300": Term("事故灾难", "accidents"),
    "V0400": Term("社会安全", "social safety"),
    "W0000": Term("新场景", "new scenes"),
    "W0100": Term("智能制造", "intelligent manufacturing"),
    "W0200": Term("智慧城市", "smart city"),
    "W0300": Term("金融科技", "fintech"),
    "W0400": Term("医疗健康", "medical health"),
    "W0500": Term("电子商务", "e-commerce"),
    "W0600": Term("交通物流", "transport and logistics"),
    "W0700": Term("低空经济", "low-altitude economy"),
    "W0800": Term("机器人", "robotics"),
}

INDUSTRIES: Final[Mapping[str, Term]] = {
    "0054": Term("道路运输", "road transport"),
    "0065": Term("软件和信息技术服务", "software and IT services"),
    "0066": Term("货币金融服务", "monetary and financial services"),
    "0068": Term("保险", "insurance"),
}


def check_word(kind: str, word: str, field: str) -> str:
    """Return ``word`` if the closed set ``kind`` has it.

    Raises:
        TrustnodeError: VOCABULARY_UNKNOWN, naming the nearest known word.
    """
    if word in NAMES[kind]:
        return word
    raise unknown(field, word, NAMES[kind])


def unknown(field: str, word: str, known: Iterable[str]) -> Exception:
    """Build the refusal of a word that is not in a closed set, with the nearest one that is."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names[:12])}"
    return error("VOCABULARY_UNKNOWN", f"{field}: {word!r} is not a word here; {hint}", field=field)


def find_class(table: Mapping[str, Term], text: str, field: str) -> str:
    """Resolve a code (``B0500``), a Chinese label or an English word (``finance``) to its code."""
    if text in table:
        return text
    hits = [code for code, term in table.items() if text == term.zh or text.lower() in term.en.lower().split()]
    hits = hits or [code for code, term in table.items() if text.lower() in term.en.lower()]
    if not hits:
        raise unknown(field, text, [term.en for term in table.values()])
    return hits[-1] if len(hits) == 1 else min(hits, key=lambda code: len(table[code].en))
