"""How an RPC ended: every combination of what gRPC tells a servicer."""

import asyncio

import grpc
import pytest

from linkspan_propagation.status import SERVER_ERRORS, ended_status, is_expired, status_code

Code = grpc.StatusCode
ABORT = grpc.aio.AbortError("Locally aborted.")


@pytest.mark.parametrize("code", list(Code))
def test_a_number_is_the_status_of_that_number(code: grpc.StatusCode) -> None:
    number, _ = code.value
    assert status_code(number) is code
    assert status_code(code) is code


@pytest.mark.parametrize("code", [99, -1, "NOT_FOUND", object()])
def test_what_is_no_status_is_sent_as_unknown(code: object) -> None:
    assert status_code(code) is Code.UNKNOWN


def test_nothing_set_is_no_status() -> None:
    assert status_code(None) is None


@pytest.mark.parametrize(
    ("code", "error", "cancelled", "expired", "ended"),
    [
        (None, None, False, False, Code.OK),
        (Code.NOT_FOUND, None, False, False, Code.NOT_FOUND),
        (Code.ABORTED, ABORT, False, False, Code.ABORTED),
        (Code.OK, ABORT, False, False, Code.OK),
        (None, ValueError(), False, False, Code.UNKNOWN),
        (Code.OK, ValueError(), False, False, Code.UNKNOWN),
        (Code.NOT_FOUND, ValueError(), False, False, Code.NOT_FOUND),
        (None, asyncio.CancelledError(), False, False, Code.CANCELLED),
        (None, asyncio.CancelledError(), True, True, Code.DEADLINE_EXCEEDED),
        (None, grpc.aio.InternalError("could not write"), False, False, Code.CANCELLED),
        (None, None, True, False, Code.CANCELLED),
        (Code.NOT_FOUND, None, True, False, Code.CANCELLED),
        (Code.OK, None, True, True, Code.DEADLINE_EXCEEDED),
        (None, None, False, True, Code.OK),
        (Code.UNAVAILABLE, ABORT, True, False, Code.CANCELLED),
    ],
)
def test_an_rpc_ends_with_what_the_client_gets(
    code: grpc.StatusCode | None,
    error: BaseException | None,
    cancelled: bool,
    expired: bool,
    ended: grpc.StatusCode,
) -> None:
    assert ended_status(code, error, cancelled=cancelled, expired=expired) is ended


@pytest.mark.parametrize(
    ("remaining_seconds", "timeout_seconds", "expired"),
    [
        (None, None, False),
        (0.0, 0.1, True),
        (0.004, 0.01, True),
        (0.009, 0.1, True),
        (0.02, 0.1, False),
        (0.02, 0.25, True),
        (0.062, 1.24, True),
        (0.07, 1.24, False),
        (0.6, 60.0, True),
        (0.7, 60.0, False),
        (59.9, 60.0, False),
    ],
)
def test_what_the_rounding_and_the_way_of_a_timeout_add_to_it_counts_as_expired(
    remaining_seconds: float | None, timeout_seconds: float | None, expired: bool
) -> None:
    assert is_expired(remaining_seconds, timeout_seconds) is expired


def test_the_six_codes_of_the_conventions_are_server_errors() -> None:
    assert {code.name for code in SERVER_ERRORS} == {
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    }
