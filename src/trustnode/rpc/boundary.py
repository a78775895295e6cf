"""The one place where an error becomes a gRPC status: a code, a sentence, exactly one ErrorInfo.

Decides: what of an error leaves the node. Leaves to others: the table (``errors``), reading it back (``wire.convert``).
Source: AIP-193; style 8.
"""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from trustnode.errors import REASONS, InvalidRequest, QuotaExceeded, TrustnodeError, error

DOMAIN: Final = "trustnode"
DETAILS_KEY: Final = "grpc-status-details-bin"
MAX_MESSAGE_CHARACTERS: Final = 1024
MAX_VALUE_CHARACTERS: Final = 512
MAX_VALUES: Final = 16
"""gRPC metadata is 16 KiB in all here; details stay far below."""


def internal(error_id: str) -> TrustnodeError:
    """What a caller hears of an error that nobody foresaw: an id, and nothing of its text."""
    return error("INTERNAL", f"our fault; the operator finds it in the log as {error_id}", error_id=error_id)


def code_of(failure: TrustnodeError) -> grpc.StatusCode:
    """The gRPC code of the error's reason."""
    return grpc.StatusCode[REASONS[failure.reason].code]


def message_of(failure: TrustnodeError) -> str:
    """The sentence as it is sent."""
    return failure.message[:MAX_MESSAGE_CHARACTERS]


def details_of(failure: TrustnodeError, code: grpc.StatusCode | None = None) -> bytes:
    """The ``google.rpc.Status`` of an error, for the trailing metadata."""
    metadata = {key: str(value)[:MAX_VALUE_CHARACTERS] for key, value in list(failure.metadata.items())[:MAX_VALUES]}
    metadata.setdefault("next_step", failure.next_step[:MAX_VALUE_CHARACTERS])
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=metadata)
    status = status_pb2.Status(code=(code or code_of(failure)).value[0], message=message_of(failure))
    _pack(status, info)
    if isinstance(failure, InvalidRequest) and "field" in metadata:
        violation = error_details_pb2.BadRequest.FieldViolation(field=metadata["field"], description=status.message)
        _pack(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(failure, QuotaExceeded) and failure.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(failure.retry_after * 1000))
        _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status.SerializeToString()


def _pack(
    status: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
