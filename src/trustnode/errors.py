"""Every reason the node gives for saying no, in one table.

Decides: the class a caller catches, the gRPC code on the wire, the exit status of a command, whether repeating helps,
and the sentence that says what to do next. Leaves to others: where a refusal is recorded (``store``) and how it
travels (``rpc`` writes it, ``wire`` reads it, both through this table).

    TrustnodeError
    |-- InvalidRequest      the request cannot be read, or names something that is not a word
    |-- IdentityRefused     certificate, domain, clock
    |-- PolicyDenied        a rule, a role or an order says no
    |-- QuotaExceeded       a limit is used up
    |-- NotFound            no such object, or not a party to it (the same answer on purpose)
    |-- StateError          the step is not possible now
    |-- VenueUnavailable    a node, a peer or the evidence log cannot answer now
    |-- VerificationFailed  signed or logged bytes do not verify
    |-- StoreCorrupt        our own store fails verification
    |-- UsageError          a command or a configuration is wrong
    `-- InternalError       our fault; the text stays in the log
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class TrustnodeError(Exception):
    """A refusal or failure with one reason of the table.

    Attributes:
        reason: Key of ``REASONS``.
        message: One sentence for a person; safe to show to the caller.
        metadata: Dynamic parts (field, object, limit), for programs. Values are text.
        record: Set when the refusal itself is evidence: what to append to the log.
    """

    def __init__(self, reason: str, message: str = "", *, record: Any = None, **metadata: str) -> None:
        row = REASONS[reason]
        self.reason = reason
        self.message = message or row.meaning
        self.metadata: Mapping[str, str] = metadata
        self.record = record
        super().__init__(f"{reason}: {self.message}")

    @property
    def next_step(self) -> str:
        """What the person should do now."""
        return self.metadata.get("next_step") or REASONS[self.reason].next_step

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later without a change."""
        return REASONS[self.reason].retryable

    @property
    def exit_status(self) -> int:
        """Exit status of a command that ends with this error."""
        return REASONS[self.reason].exit_status


class InvalidRequest(TrustnodeError):
    """The request cannot be read or names something that is not a word."""


class IdentityRefused(TrustnodeError):
    """The caller's certificate, domain or clock is not accepted."""


class PolicyDenied(TrustnodeError):
    """A rule, a role or an order says no."""


class QuotaExceeded(TrustnodeError):
    """A limit is used up."""

    @property
    def retry_after(self) -> float | None:
        """Seconds until the window opens again; None where waiting does not help."""
        text = self.metadata.get("retry_after_s")
        return float(text) if text else None


class NotFound(TrustnodeError):
    """No such object, or the caller is no party to it; the answer is the same on purpose."""


class StateError(TrustnodeError):
    """The step is not possible in the present state."""


class VenueUnavailable(TrustnodeError):
    """A node, a peer or the evidence log cannot answer now."""


class VerificationFailed(TrustnodeError):
    """Signed or logged bytes do not verify."""


class StoreCorrupt(TrustnodeError):
    """The node's own store fails verification."""


class UsageError(TrustnodeError):
    """A command or a configuration is wrong."""


class InternalError(TrustnodeError):
    """Our fault; the private text stays in the log."""


class Row(NamedTuple):
    """One reason."""

    reason: str
    error: type[TrustnodeError]
    code: str
    """Name of the gRPC status code."""
    exit_status: int
    retryable: bool
    meaning: str
    meaning_zh: str
    next_step: str


# The first 69 rows are the closed table of the network's vocabulary; the rest is ours (docs/decisions/0002).
# fmt: off
ROWS: Final[tuple[Row, ...]] = (
    Row("REQUEST_EMPTY", InvalidRequest, "INVALID_ARGUMENT", 1, False, "nothing in the request", "请求为空", "Send the document or the fields that the call needs."),
    Row("FIELD_MISSING", InvalidRequest, "INVALID_ARGUMENT", 1, False, "mandatory field empty; field named", "必填项缺失", "Fill in the field that is named."),
    Row("FIELD_FORMAT", InvalidRequest, "INVALID_ARGUMENT", 1, False, "field not in its format", "格式错误", "Correct the field that is named; its format stands in the message."),
    Row("FIELD_TOO_LONG", InvalidRequest, "INVALID_ARGUMENT", 1, False, "field longer than its limit", "长度超限", "Shorten the field that is named."),
    Row("MESSAGE_UNPARSABLE", InvalidRequest, "INVALID_ARGUMENT", 1, False, "not readable at all", "消息解析失败", "Send the canonical form; the schemas are written out by: trustnode protos -o DIR"),
    Row("VERSION_UNSUPPORTED", StateError, "FAILED_PRECONDITION", 5, False, "protocol or document version unknown", "版本不支持", "Compare versions with: trustnode version; the older side must be upgraded."),
    Row("VOCABULARY_UNKNOWN", InvalidRequest, "INVALID_ARGUMENT", 1, False, "word outside the closed set", "词汇未知", "Use one of the known words: trustnode words KIND lists them."),
    Row("TIME_SKEW", StateError, "FAILED_PRECONDITION", 11, False, "clock too far off", "时间戳非法", "Set the clock of this machine; nothing is signed while it is wrong."),
    Row("REPLAYED", StateError, "ALREADY_EXISTS", 5, False, "seen before with another content", "重放", "Make a new document with a new id; an id is used once."),
    Row("IDENTIFIER_INVALID", InvalidRequest, "INVALID_ARGUMENT", 1, False, "length, alphabet or check character wrong", "标识无效", "Check the identifier character by character; its check character is wrong."),
    Row("IDENTIFIER_AREA", PolicyDenied, "PERMISSION_DENIED", 3, False, "outside the issuer's area", "标识越权", "Only the venue of that area may issue this identifier."),
    Row("IDENTITY_UNKNOWN", IdentityRefused, "UNAUTHENTICATED", 11, False, "nobody known", "身份不存在", "Enrol first: trustnode join FILE.invite; an invitation serves once, so ask your venue for another if it was used."),
    Row("IDENTITY_EXPIRED", IdentityRefused, "UNAUTHENTICATED", 11, False, "certificate or credential over", "身份已过期", "Ask your venue for: trustnode participant reissue NAME; then: trustnode join NAME.invite"),
    Row("IDENTITY_REVOKED", IdentityRefused, "UNAUTHENTICATED", 11, False, "suspended or taken back", "身份已暂停或吊销", "Ask the operator of your venue why, and whether it can be resumed."),
    Row("IDENTITY_WRONG_DOMAIN", IdentityRefused, "UNAUTHENTICATED", 11, False, "chain does not belong to the claimed domain", "信任域不符", "Use a certificate issued by the venue that its name claims."),
    Row("ROLE_NOT_ALLOWED", PolicyDenied, "PERMISSION_DENIED", 3, False, "role may not call this", "角色无权", "Use a profile whose role may do this: trustnode participant show"),
    Row("ADDRESS_NOT_ALLOWED", PolicyDenied, "PERMISSION_DENIED", 3, False, "source address not allowed", "地址不在白名单", "Call from an address that the venue has allowed."),
    Row("NOT_FOUND", NotFound, "NOT_FOUND", 4, False, "no such object, or not a party to it", "不存在", "Check the name; only parties of an object can see it."),
    Row("ILLEGAL_TRANSITION", StateError, "FAILED_PRECONDITION", 5, False, "event not in the table for this state", "状态不允许", "Look at the state first; the step is not possible from there."),
    Row("STALE_VERSION", StateError, "ABORTED", 5, True, "object changed in between", "版本已变", "Read the object again and repeat."),
    Row("DUPLICATE", StateError, "ALREADY_EXISTS", 5, False, "already there", "重复", "It is there already; use another name, or change the existing one."),
    Row("SOURCE_UNCONFIRMED", StateError, "FAILED_PRECONDITION", 5, False, "chain to the source broken", "来源未确认", "Name the source of the data: source_statement in the product file."),
    Row("RIGHT_MISSING", StateError, "FAILED_PRECONDITION", 5, False, "needed right not held", "权利不足", "State the right that is held: [[product.rights]] in the product file."),
    Row("RIGHT_CONFLICT", StateError, "FAILED_PRECONDITION", 5, False, "another grant excludes it", "权利冲突", "End the exclusive grant first, or ask for a right that is free."),
    Row("CATEGORY_FIELD_MISSING", InvalidRequest, "INVALID_ARGUMENT", 1, False, "field of the data category empty", "类别必填缺失", "Fill in the field that this data category demands."),
    Row("LEVEL_FORBIDDEN", PolicyDenied, "PERMISSION_DENIED", 3, False, "level does not allow it", "级别禁止", "Data of this level may not be handled this way."),
    Row("OFFER_UNENFORCEABLE", StateError, "FAILED_PRECONDITION", 3, False, "constraint without enforcer; named", "策略不可执行", "Remove the term that is named, or configure what enforces it."),
    Row("POLICY_CONFLICT", StateError, "FAILED_PRECONDITION", 5, False, "rules contradict", "策略冲突", "Remove one of the two rules that are named."),
    Row("POLICY_WEAKER", StateError, "FAILED_PRECONDITION", 5, False, "weaker than the minimum policy", "策略弱化", "Make the named line at least as strict as [product.terms]."),
    Row("PRICE_MISSING", InvalidRequest, "INVALID_ARGUMENT", 1, False, "no price or pricing method", "价格缺失", "State the price of the offer: price = 'free' or an amount."),
    Row("NOT_REGISTERED", StateError, "FAILED_PRECONDITION", 5, False, "product not registered", "未登记", "Register the product first: trustnode product register FILE"),
    Row("NOT_LISTED", StateError, "FAILED_PRECONDITION", 5, False, "listing not on sale", "未上架", "The listing is not on sale; ask its provider, or search again."),
    Row("OBJECTION_OPEN", StateError, "FAILED_PRECONDITION", 5, False, "objection or dispute open", "异议未决", "Wait until the objection is settled."),
    Row("VENUE_IS_PARTY", PolicyDenied, "PERMISSION_DENIED", 3, False, "venue and trading party are one subject", "场所不得交易", "A venue does not trade; act as an enrolled participant."),
    Row("NATIONAL_NODE_CANNOT_TRADE", PolicyDenied, "PERMISSION_DENIED", 3, False, "national node asked to sign as a party", "国家节点不得交易", "Enrol at a regional or industry venue to buy or sell."),
    Row("SIGNATURE_INVALID", VerificationFailed, "INVALID_ARGUMENT", 7, False, "does not verify", "签名无效", "Sign again with the key that speaks for the issuer now."),
    Row("HASH_MISMATCH", VerificationFailed, "INVALID_ARGUMENT", 7, False, "document differs from its digest", "摘要不符", "Fetch the document again; its bytes differ from its digest."),
    Row("MATRIX_INCOMPLETE", InvalidRequest, "INVALID_ARGUMENT", 1, False, "stage without an answering party", "责任不全", "Name who answers for every stage."),
    Row("DENIED", PolicyDenied, "PERMISSION_DENIED", 3, False, "a rule says no", "拒绝", "The terms forbid it; see them with: trustnode agreement show"),
    Row("DEFAULT_DENIED", PolicyDenied, "PERMISSION_DENIED", 3, False, "no rule says yes", "默认拒绝", "Nothing in the terms allows it; see them with: trustnode agreement show"),
    Row("PRECONDITION_OPEN", PolicyDenied, "FAILED_PRECONDITION", 3, False, "do the named duty first", "前置未完成", "Do the named duty first, then repeat."),
    Row("PURPOSE_NOT_AGREED", PolicyDenied, "PERMISSION_DENIED", 3, False, "purpose outside the agreement", "用途未约定", "Use a purpose that was agreed, or negotiate a new contract."),
    Row("FIELD_NOT_AGREED", PolicyDenied, "PERMISSION_DENIED", 3, False, "field outside the agreement", "字段未约定", "Leave the column out; see what is delivered with: trustnode explain"),
    Row("ALGORITHM_NOT_ALLOWED", PolicyDenied, "PERMISSION_DENIED", 3, False, "algorithm, model or application not the agreed one", "算法未授权", "Use the agreed algorithm, model or application."),
    Row("ENVIRONMENT_NOT_ALLOWED", PolicyDenied, "PERMISSION_DENIED", 3, False, "environment not as agreed", "环境不符", "Run in the agreed environment."),
    Row("GRANT_INVALID", PolicyDenied, "PERMISSION_DENIED", 3, False, "no such grant for this holder", "授权无效", "Use an agreement of your own that is in force: trustnode agreement list"),
    Row("GRANT_EXPIRED", PolicyDenied, "PERMISSION_DENIED", 3, False, "grant over", "授权过期", "The term is over; negotiate again."),
    Row("QUOTA_TOTAL", QuotaExceeded, "RESOURCE_EXHAUSTED", 3, False, "total limit reached", "总次数超限", "The agreed total is used up; negotiate again."),
    Row("QUOTA_AGREED", QuotaExceeded, "RESOURCE_EXHAUSTED", 3, False, "agreed number reached", "申请次数超限", "The agreed number is used up; negotiate again."),
    Row("QUOTA_WINDOW", QuotaExceeded, "RESOURCE_EXHAUSTED", 6, True, "limit of the day or window reached", "窗口次数超限", "Wait for the next window; the time stands in the message."),
    Row("RATE_LIMITED", QuotaExceeded, "RESOURCE_EXHAUSTED", 6, True, "too fast", "限流", "Wait and repeat more slowly."),
    Row("CONSENT_MISSING", PolicyDenied, "FAILED_PRECONDITION", 3, False, "no consent for this use", "缺少同意", "The person has not consented to this use."),
    Row("CONSENT_WITHDRAWN", PolicyDenied, "FAILED_PRECONDITION", 3, False, "consent taken back", "同意已撤回", "The person took the consent back."),
    Row("ERASURE_PENDING", StateError, "FAILED_PRECONDITION", 5, False, "erasure not proven yet", "删除未完成", "Prove the erasure first."),
    Row("EXPORT_PROHIBITED", PolicyDenied, "PERMISSION_DENIED", 3, False, "path PROHIBITED", "禁止出境", "These data may not leave the country."),
    Row("APPROVAL_MISSING", PolicyDenied, "PERMISSION_DENIED", 3, False, "path needs an approval", "缺少批准", "Ask for the approval that this path needs."),
    Row("APPROVAL_EXPIRED", PolicyDenied, "PERMISSION_DENIED", 3, False, "approval over", "批准已过期", "Have the approval renewed."),
    Row("APPROVAL_SCOPE", PolicyDenied, "PERMISSION_DENIED", 3, False, "approval narrower than the request", "批准范围不足", "Ask for an approval that covers this request."),
    Row("ORDER_IN_FORCE", PolicyDenied, "FAILED_PRECONDITION", 3, False, "an order stands in the way", "监管指令生效", "Access is frozen by an order; your counters are untouched."),
    Row("PEER_SUSPENDED", StateError, "FAILED_PRECONDITION", 5, False, "peer agreement not in force", "对等节点暂停", "Agree the peering first: both operators confirm the fingerprint of the other."),
    Row("EVIDENCE_UNAVAILABLE", VenueUnavailable, "UNAVAILABLE", 6, True, "entry cannot be made durable", "存证不可用", "The node cannot write evidence (disk, clock or store); its operator sees why in: trustnode status"),
    Row("BUSY", VenueUnavailable, "UNAVAILABLE", 6, True, "try later", "服务繁忙", "Repeat in a moment."),
    Row("PEER_UNREACHABLE", VenueUnavailable, "UNAVAILABLE", 6, True, "no route or no answer", "对等节点不可达", "Repeat later; the operator can look with: trustnode peer test VENUE"),
    Row("DEADLINE", VenueUnavailable, "DEADLINE_EXCEEDED", 6, True, "time over", "超时", "Ask for less at a time, or allow more time."),
    Row("INTERNAL", InternalError, "INTERNAL", 1, False, "our fault; text stays in the log", "内部错误", "Tell the operator of the node the error id."),
    Row("CARD_ROLLBACK", VerificationFailed, "FAILED_PRECONDITION", 7, False, "older or forked venue card", "名片回退", "Compare the fingerprint of the newest card with the venue out of band."),
    Row("RESUME_CHANGED", StateError, "FAILED_PRECONDITION", 5, False, "the result is no longer the one that was begun", "续传内容已变", "Start again without the partial file."),
    Row("REQUEST_PROOF_TOO_WEAK", PolicyDenied, "PERMISSION_DENIED", 3, False, "the agreement asks for a stronger grade of request", "请求证明不足", "Sign with a key you hold, or delegate once: trustnode agreement delegate NAME --until DATE"),
    Row("STATUS_STALE", VenueUnavailable, "UNAVAILABLE", 6, True, "knowledge of revocations is too old", "状态过期", "Repeat when the connection between the venues is back."),
    Row("QUERY_INVALID", InvalidRequest, "INVALID_ARGUMENT", 1, False, "query not understood or not of a permitted kind", "查询无效", "Correct the query; columns and tables are shown by: trustnode show PRODUCT"),
    Row("QUERY_TOO_COSTLY", QuotaExceeded, "RESOURCE_EXHAUSTED", 3, False, "query needs more memory or time than it may", "查询超出资源", "Ask for less: filter, aggregate, or read in parts."),
    Row("CANCELLED", StateError, "CANCELLED", 130, True, "ended by the caller", "已取消", "Repeat the command to go on."),
    Row("SOURCE_UNAVAILABLE", VenueUnavailable, "UNAVAILABLE", 6, True, "the data of the product cannot be read now", "数据源不可用", "Repeat later; the provider finds the cause in the log of its node, and looks with: trustnode product check FILE"),
    Row("DRAINING", VenueUnavailable, "UNAVAILABLE", 6, True, "the node is stopping", "正在停机", "Repeat when the node is back."),
    Row("CERTIFICATE_NAME", IdentityRefused, "UNAUTHENTICATED", 11, False, "certificate is not a valid SPIFFE identity", "证书名称无效", "Have the certificate issued again by the venue."),
    Row("FINGERPRINT_MISMATCH", VerificationFailed, "FAILED_PRECONDITION", 7, False, "fingerprint differs from the one compared", "指纹不符", "Do not confirm; ask the venue by telephone for its fingerprint."),
    Row("VERIFICATION_FAILED", VerificationFailed, "DATA_LOSS", 7, False, "evidence does not verify", "验证失败", "Keep both copies and ask both venues for a bundle."),
    Row("USAGE", UsageError, "INVALID_ARGUMENT", 2, False, "command used wrongly", "用法错误", "See --help of the command."),
    Row("CONFIG_INVALID", UsageError, "FAILED_PRECONDITION", 2, False, "configuration cannot be used", "配置无效", "Correct the key that is named; list all keys with: trustnode config show --origin"),
    Row("STORE_CORRUPT", StoreCorrupt, "DATA_LOSS", 8, False, "own store fails verification", "存储损坏", "Keep the disk as it is and restore a backup: trustnode store check names the first difference."),
    Row("READ_ONLY", VenueUnavailable, "UNAVAILABLE", 6, False, "the store is behind what was signed before", "只读", "The operator sees the way on in: trustnode status"),
    Row("UNWITNESSED", VenueUnavailable, "UNAVAILABLE", 6, True, "a log has been without its witnesses for too long", "日志久未见证", "Repeat when they answer again; who is silent shows: trustnode log witness list"),
    Row("WITNESS_POLICY", StateError, "FAILED_PRECONDITION", 5, False, "the agreement asks for the wrong witnesses", "见证方约定不符", "Compare the cards of both venues: witnesses are venues that both have confirmed, and each party witnesses the other."),
    Row("QUOTA_AT_ONCE", QuotaExceeded, "RESOURCE_EXHAUSTED", 6, True, "as many reads are running as may run at once", "并发读取超限", "Repeat when one of your running reads has ended."),
)
# fmt: on
REASONS: Final[Mapping[str, Row]] = {row.reason: row for row in ROWS}


def error(reason: str, message: str = "", *, record: Any = None, **metadata: str) -> TrustnodeError:
    """Build the error of the class that the table names for ``reason``."""
    return REASONS[reason].error(reason, message, record=record, **metadata)
