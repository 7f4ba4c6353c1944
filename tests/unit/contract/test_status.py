"""An `ErrorReason` as a gRPC status and back, and what is made of a stranger's status."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata

from linkspan.session.v1.session_service_pb2 import ErrorReason
from linkspan_contract.status import CODE_OF_REASON, ERROR_DOMAIN, make_status, read_failure

UNSPECIFIED = ErrorReason.ERROR_REASON_UNSPECIFIED
STATUS_KEY = "grpc-status-details-bin"


def received(status: grpc.Status) -> AioRpcError:
    """What a client is given when a server aborts with this status."""
    return failed(status.code, status.details, *(status.trailing_metadata or ()))


def failed(
    code: grpc.StatusCode, details: str | None, *trailing: tuple[str, str | bytes]
) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(*trailing), details)


def packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> AnyMessage:
    detail = AnyMessage()
    detail.Pack(message)
    return detail


@pytest.mark.parametrize("reason", CODE_OF_REASON, ids=ErrorReason.Name)
def test_a_reason_reads_as_it_was_sent(reason: ErrorReason.ValueType) -> None:
    failure = read_failure(received(make_status(reason, "mend this", correlation_id="c0ffee")))
    assert failure.reason == reason
    assert failure.code == CODE_OF_REASON[reason]
    assert failure.message == "mend this"
    assert failure.correlation_id == "c0ffee"


def test_every_reason_but_unspecified_has_a_code() -> None:
    assert set(CODE_OF_REASON) == set(ErrorReason.values()) - {UNSPECIFIED}


def test_a_reason_that_is_not_in_the_table_is_not_sent() -> None:
    with pytest.raises(KeyError):
        make_status(UNSPECIFIED, "")


def test_a_reason_travels_without_its_prefix_and_with_the_domain() -> None:
    status = make_status(ErrorReason.ERROR_REASON_DRAINING, "")
    assert status.trailing_metadata is not None
    ((_, value),) = status.trailing_metadata
    assert isinstance(value, bytes)
    message = status_pb2.Status.FromString(value)
    info = error_details_pb2.ErrorInfo()
    assert message.details[0].Unpack(info)
    assert (info.domain, info.reason, dict(info.metadata)) == (ERROR_DOMAIN, "DRAINING", {})


def test_a_failure_of_grpc_itself_has_no_reason() -> None:
    failure = read_failure(failed(grpc.StatusCode.UNAVAILABLE, "connection refused"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, UNSPECIFIED)
    assert (failure.message, failure.correlation_id) == ("connection refused", "")


def stranger(*details: AnyMessage) -> tuple[str, bytes]:
    return STATUS_KEY, status_pb2.Status(code=14, details=details).SerializeToString()


@pytest.mark.parametrize(
    "trailing",
    [
        pytest.param((STATUS_KEY, b"\xff\xff\xff"), id="not-a-status"),
        pytest.param((STATUS_KEY, "text"), id="text"),
        pytest.param(("other-bin", b""), id="another-key"),
        pytest.param(stranger(), id="no-details"),
        pytest.param(stranger(packed(error_details_pb2.RetryInfo())), id="another-detail"),
        pytest.param(
            stranger(
                AnyMessage(type_url=packed(error_details_pb2.ErrorInfo()).type_url, value=b"\xff")
            ),
            id="broken-detail",
        ),
        pytest.param(
            stranger(packed(error_details_pb2.ErrorInfo(domain="example.com", reason="DRAINING"))),
            id="another-domain",
        ),
        pytest.param(
            stranger(packed(error_details_pb2.ErrorInfo(domain=ERROR_DOMAIN, reason="OF_V9"))),
            id="a-reason-of-later",
        ),
    ],
)
def test_what_a_stranger_says_is_no_reason_and_breaks_nothing(
    trailing: tuple[str, str | bytes],
) -> None:
    failure = read_failure(failed(grpc.StatusCode.INTERNAL, None, trailing))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, UNSPECIFIED)
    assert failure.message == ""


def test_our_detail_is_found_among_others() -> None:
    ours = error_details_pb2.ErrorInfo(domain=ERROR_DOMAIN, reason="RECORD_TOO_NEW")
    trailing = stranger(packed(error_details_pb2.RetryInfo()), packed(ours))
    failure = read_failure(failed(grpc.StatusCode.FAILED_PRECONDITION, "", trailing))
    assert failure.reason == ErrorReason.ERROR_REASON_RECORD_TOO_NEW
