"""The table from gRPC to HTTP and JSON-RPC: every reason and every status code has one answer."""

import grpc
import pytest

from linkspan.session.v1.session_service_pb2 import ErrorReason
from linkspan_contract.envelope import INTERNAL_ERROR, INVALID_REQUEST, REQUEST_TIMEOUT
from linkspan_contract.status import CODE_OF_REASON, Failure
from linkspan_worker.failures import RETRY_AFTER_SECONDS, refusal_of

RETRY = (("retry-after", str(RETRY_AFTER_SECONDS)),)
INTERNALS = "/var/lib/secret.db: disk I/O error"

OF_REASON = {
    ErrorReason.ERROR_REASON_INVALID_REQUEST: (400, INVALID_REQUEST, ()),
    ErrorReason.ERROR_REASON_SESSION_NOT_FOUND: (404, INVALID_REQUEST, ()),
    ErrorReason.ERROR_REASON_SESSION_ID_TAKEN: (500, INTERNAL_ERROR, ()),
    ErrorReason.ERROR_REASON_STORE_UNAVAILABLE: (503, INTERNAL_ERROR, RETRY),
    ErrorReason.ERROR_REASON_DRAINING: (503, INTERNAL_ERROR, RETRY),
    ErrorReason.ERROR_REASON_RECORD_TOO_NEW: (503, INTERNAL_ERROR, RETRY),
    ErrorReason.ERROR_REASON_EVENT_UNKNOWN: (400, INVALID_REQUEST, ()),
    ErrorReason.ERROR_REASON_SESSION_ENDED: (404, INVALID_REQUEST, ()),
    ErrorReason.ERROR_REASON_SESSION_EXPIRED: (404, INVALID_REQUEST, ()),
    ErrorReason.ERROR_REASON_SESSION_ELSEWHERE: (503, INTERNAL_ERROR, RETRY),
    ErrorReason.ERROR_REASON_SESSION_MOVED: (503, INTERNAL_ERROR, RETRY),
    ErrorReason.ERROR_REASON_OWNER_UNREACHABLE: (503, INTERNAL_ERROR, RETRY),
    ErrorReason.ERROR_REASON_OVERLOADED: (503, INTERNAL_ERROR, RETRY),
    ErrorReason.ERROR_REASON_BUSY: (503, INTERNAL_ERROR, RETRY),
    ErrorReason.ERROR_REASON_TOO_MANY_SESSIONS: (429, INVALID_REQUEST, RETRY),
    ErrorReason.ERROR_REASON_TOO_MANY_REQUESTS: (429, INVALID_REQUEST, RETRY),
    ErrorReason.ERROR_REASON_INTERNAL: (500, INTERNAL_ERROR, ()),
}
OF_CODE = {
    grpc.StatusCode.UNAVAILABLE: (503, INTERNAL_ERROR, RETRY),
    grpc.StatusCode.CANCELLED: (503, INTERNAL_ERROR, RETRY),
    grpc.StatusCode.UNIMPLEMENTED: (503, INTERNAL_ERROR, RETRY),
    grpc.StatusCode.PERMISSION_DENIED: (503, INTERNAL_ERROR, RETRY),
    grpc.StatusCode.DEADLINE_EXCEEDED: (504, REQUEST_TIMEOUT, ()),
}
BROKEN = (500, INTERNAL_ERROR, ())


def test_every_reason_has_its_row() -> None:
    assert set(OF_REASON) == set(CODE_OF_REASON)
    assert set(OF_REASON) == set(ErrorReason.values()) - {ErrorReason.ERROR_REASON_UNSPECIFIED}


@pytest.mark.parametrize("reason", OF_REASON, ids=ErrorReason.Name)
def test_a_reason_is_answered_as_its_row_says(reason: ErrorReason.ValueType) -> None:
    refusal = refusal_of(Failure(CODE_OF_REASON[reason], reason, "words for people", "c0ffee"))
    assert (refusal.status, refusal.code, refusal.headers) == OF_REASON[reason]
    assert refusal.message
    assert refusal.data == {"correlationId": "c0ffee"}
    assert refusal.error_type == ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_a_code_without_a_reason_is_answered_without_its_words(code: grpc.StatusCode) -> None:
    refusal = refusal_of(Failure(code, ErrorReason.ERROR_REASON_UNSPECIFIED, INTERNALS))
    assert (refusal.status, refusal.code, refusal.headers) == OF_CODE.get(code, BROKEN)
    assert refusal.message
    assert INTERNALS not in refusal.message
    assert refusal.data is None
    assert refusal.error_type == code.name


def test_only_the_session_servers_own_words_are_passed_on() -> None:
    reason = ErrorReason.ERROR_REASON_STORE_UNAVAILABLE
    refusal = refusal_of(Failure(grpc.StatusCode.UNAVAILABLE, reason, "try again"))
    assert refusal.message == "try again"
    internal = ErrorReason.ERROR_REASON_INTERNAL
    assert (
        INTERNALS not in refusal_of(Failure(grpc.StatusCode.INTERNAL, internal, INTERNALS)).message
    )


def test_nobody_is_asked_to_try_again_what_may_have_run() -> None:
    away = Failure(grpc.StatusCode.UNAVAILABLE, ErrorReason.ERROR_REASON_UNSPECIFIED, INTERNALS)
    refusal = refusal_of(away, in_doubt=True)
    assert (refusal.status, refusal.code, refusal.headers) == (503, -32000, ())
    assert "may have run" in refusal.message


def test_what_is_wrong_with_the_request_is_said_even_in_doubt() -> None:
    reason = ErrorReason.ERROR_REASON_SESSION_ENDED
    refusal = refusal_of(Failure(CODE_OF_REASON[reason], reason, "ended"), in_doubt=True)
    assert (refusal.status, refusal.message) == (404, "ended")
