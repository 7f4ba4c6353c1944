"""Every kind of bad token, over real processes: its status, its error, and what its span says."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK
from tests.auth.guarded import Guarded
from tests.auth.issuer import OTHERS_KEY
from tests.requirements import requirement
from tests.support.peer import modern, modern_headers, request, sent_by_hand

from linkspan_propagation.testing import assert_one_trace

Make = Callable[[Guarded], str]


def forged(header: dict[str, Any], payload: dict[str, Any], secret: bytes | None = None) -> str:
    """Write a token by hand, signed with a shared secret, or with nothing."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(payload).encode())}"
    signature = (
        b"" if secret is None else hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    )
    return f"{signed}.{part(signature)}"


def good_claims(guarded: Guarded) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": guarded.issuer.name,
        "sub": "alice",
        "aud": guarded.mcp,
        "iat": now,
        "exp": now + 600,
    }


def public_key_as_secret(guarded: Guarded) -> bytes:
    jwk = guarded.issuer.keys()["keys"][0]
    pem: bytes = PyJWK.from_dict(jwk, "RS256").key.public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def of(header: dict[str, Any] | None = None, **claims: Any) -> Make:
    return lambda guarded: guarded.token(header=header, **claims)


def cut(guarded: Guarded) -> str:
    return guarded.token()[:-10]  # what is left is base64 still


def changed(guarded: Guarded) -> str:
    head, _, signature = guarded.token().split(".")
    other = guarded.token(subject="mallory").split(".")[1]
    return f"{head}.{other}.{signature}"


def unsigned(algorithm: str) -> Make:
    return lambda guarded: forged({"alg": algorithm, "kid": "rsa-1"}, good_claims(guarded))


def with_secret(kid: str, secret: Callable[[Guarded], bytes]) -> Make:
    return lambda guarded: forged(
        {"alg": "HS256", "kid": kid}, good_claims(guarded), secret(guarded)
    )


NOW = int(time.time())

MATRIX: dict[str, tuple[Make, str]] = {
    "not a jwt": (lambda _: "opaque-and-unknown", "inactive"),
    "three parts of nothing": (lambda _: "ey.ey.ey", "malformed"),
    "cut": (cut, "bad_signature"),
    "changed": (changed, "bad_signature"),
    "another's key": (of(key=OTHERS_KEY), "bad_signature"),
    "alg none": (unsigned("none"), "algorithm_not_allowed"),
    "alg None": (unsigned("NoNe"), "algorithm_not_allowed"),
    "alg RS256 without signature": (unsigned("RS256"), "bad_signature"),
    "alg not allowed": (of(algorithm="RS512"), "algorithm_not_allowed"),
    "alg of another kind of key": (of({"kid": "ec-1"}), "unknown_key"),
    "HS256 with the public key": (
        with_secret("rsa-1", public_key_as_secret),
        "algorithm_not_allowed",
    ),
    "HS256 with the shared secret": (
        with_secret("oct-1", lambda _: b"k" * 32),
        "algorithm_not_allowed",
    ),
    "expired": (of(exp=NOW - 1), "expired"),
    "no expiry": (of(exp=None), "bad_claim"),
    "not yet": (of(nbf=NOW + 3600), "not_yet_valid"),
    "issued in the future": (of(iat=NOW + 3600), "not_yet_valid"),
    "wrong audience": (of(audience="https://other.example/mcp"), "wrong_audience"),
    "no audience": (of(audience=None), "bad_claim"),
    "wrong issuer": (of(iss="https://other.example"), "unknown_issuer"),
    "no issuer": (of(iss=None), "unknown_issuer"),
    "no subject": (of(subject=None), "bad_claim"),
    "unknown kid": (of({"kid": "unknown"}), "unknown_key"),
    "kid with a path": (of({"kid": "../../../../etc/passwd"}), "unknown_key"),
    "kid with a url": (of({"kid": "http://127.0.0.1:9/jwks"}), "unknown_key"),
    "kid without end": (of({"kid": "k" * 300}), "malformed"),
    "its own key": (
        lambda guarded: guarded.token(
            key=OTHERS_KEY, header={"jku": f"{guarded.issuer.name}/elsewhere", "x5u": "http://x"}
        ),
        "bad_signature",
    ),
    "an id token of another type": (of({"typ": "logout+jwt"}), "wrong_type"),
    "a critical extension": (of({"crit": ["exp"], "exp": 1}), "malformed"),
    "an unencoded payload": (of({"crit": ["b64"], "b64": True}), "malformed"),
    "huge": (of(padding="x" * 20_000), "too_large"),
    "revoked": (of(subject="revoked"), "revoked"),
    "unknown api key": (lambda guarded: guarded.api_key + "x", "unknown_api_key"),
}


@requirement("auth.tokens", "auth.algorithms", "auth.audience", "auth.span")
@pytest.mark.parametrize("name", MATRIX)
def test_a_bad_token_gets_401_its_error_and_its_reason_in_the_span(
    guarded: Guarded, name: str
) -> None:
    make, reason = MATRIX[name]
    token = make(guarded)
    agent = f"matrix: {name}"
    with guarded.peer(token) as peer:
        answer = peer.post(request("ping"), headers={"user-agent": agent})
    assert answer.status == 401
    assert answer.code == -32600
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="invalid_token"')
    assert f'resource_metadata="{guarded.stack.http}/.well-known/' in challenge
    span = guarded.span_of(agent)
    assert span.attributes["mcp.auth.has_bearer"] is True
    assert span.attributes["mcp.auth.verified"] is False
    assert span.attributes["mcp.auth.outcome"] == "invalid"
    assert span.attributes["mcp.auth.invalid_reason"] == reason
    assert span.attributes["mcp.rpc.method"] == "ping"
    assert span.attributes["http.response.status_code"] == 401
    assert token not in repr(span)
    assert all(part not in repr(span) for part in token.split(".") if len(part) > 16)
    assert guarded.issuer.asked["/elsewhere"] == 0


@requirement("auth.challenge", "auth.span")
@pytest.mark.parametrize(
    ("headers", "status", "error", "reason"),
    [
        ([], 401, "", "missing"),
        ([("authorization", "Basic YTpi")], 401, "", "not_bearer"),
        ([("authorization", "Bearer")], 400, "invalid_request", "bad_syntax"),
        ([("authorization", "Bearer a b")], 400, "invalid_request", "bad_syntax"),
        (
            [("authorization", "Bearer a"), ("authorization", "Bearer b")],
            400,
            "invalid_request",
            "several_credentials",
        ),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "PUT"])
def test_a_request_without_one_credential_is_challenged(
    guarded: Guarded,
    method: str,
    headers: list[tuple[str, str]],
    status: int,
    error: str,
    reason: str,
) -> None:
    agent = f"challenged: {method} {headers}"
    sent = [*headers, ("user-agent", agent), ("content-type", "application/json")]
    with httpx2.Client(timeout=15) as http:
        response = http.request(method, guarded.mcp, headers=sent, content=b"{}")
    assert response.status_code == status
    challenge = response.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    assert ('error="' in challenge) == bool(error)
    assert error in challenge
    span = guarded.span_of(agent)
    assert span.attributes["mcp.auth.invalid_reason"] == reason
    assert span.attributes["mcp.auth.outcome"] == ("invalid" if error else "missing")


@requirement("auth.metadata")
def test_the_metadata_name_the_issuer_the_resource_and_all_scopes(guarded: Guarded) -> None:
    with httpx2.Client(timeout=15) as http:
        bare = http.get(f"{guarded.stack.http}/.well-known/oauth-protected-resource")
        with_path = http.get(f"{guarded.stack.http}/.well-known/oauth-protected-resource/mcp")
        other = http.get(f"{guarded.stack.http}/.well-known/oauth-protected-resource/other")
        challenge = http.post(guarded.mcp).headers["www-authenticate"]
        named = http.get(challenge.partition('resource_metadata="')[2].rstrip('"'))
    assert bare.json() == with_path.json() == named.json()
    assert bare.json() == {
        "resource": guarded.mcp,
        "authorization_servers": [guarded.issuer.name],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["files", "sums"],
    }
    assert other.status_code == 404


@requirement("auth.tokens", "auth.span")
@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256"])
def test_a_good_token_is_let_in_in_one_trace_that_says_who(
    guarded: Guarded, algorithm: str
) -> None:
    agent = f"good: {algorithm}"
    token = guarded.token(
        algorithm=algorithm, scope="sums", subject=f"bob-{algorithm}", org_id="acme"
    )
    message = modern("tools/call", {"name": "add", "arguments": {"a": 2, "b": 3}})
    with guarded.peer(token) as peer:
        answer = peer.post(message, headers={**modern_headers(message), "user-agent": agent})
    assert answer.result["structuredContent"] == {"result": 5}
    span = guarded.span_of(agent)
    assert span.attributes["mcp.auth.verified"] is True
    assert span.attributes["mcp.auth.outcome"] == "verified"
    assert span.attributes["mcp.auth.credential_type"] == "jwt"
    assert span.attributes["mcp.auth.organization_id"] == "acme"
    assert span.attributes["mcp.auth.account_id"] == f"bob-{algorithm}"
    spans = guarded.receiver.wait_for(
        lambda spans: len([each for each in spans if each.trace_id == span.trace_id]) >= 3, 15
    )
    trace = [each for each in spans if each.trace_id == span.trace_id]
    assert_one_trace(trace)
    assert token not in repr(trace)
    assert token not in "".join([*guarded.stack.worker.errors, *guarded.stack.session.errors])


@requirement("auth.scopes", "auth.span")
def test_a_caller_who_lacks_a_scope_is_verified_and_forbidden_in_the_span(guarded: Guarded) -> None:
    agent = "lacks a scope"
    message = modern("tools/call", {"name": "add", "arguments": {"a": 2, "b": 3}})
    with guarded.peer(guarded.token(subject="ivan")) as peer:
        answer = peer.post(message, headers={**modern_headers(message), "user-agent": agent})
    assert answer.status == 403
    span = guarded.span_of(agent)
    assert span.attributes["mcp.auth.verified"] is True
    assert span.attributes["mcp.auth.outcome"] == "forbidden"
    assert span.attributes["mcp.auth.invalid_reason"] == "insufficient_scope"
    assert span.attributes["mcp.auth.account_id"] == "ivan"


@requirement("auth.opaque")
def test_an_opaque_token_is_worth_what_the_issuer_says_of_it(guarded: Guarded) -> None:
    known = {"active": True, "sub": "opal", "aud": guarded.mcp, "exp": NOW + 600}
    guarded.issuer.opaque |= {
        "opaque-good": known,
        "opaque-elsewhere": {**known, "aud": "https://other.example"},
        "opaque-no-audience": {"active": True, "sub": "opal"},
        "opaque-ended": {**known, "exp": 1},
    }
    expected = {
        "opaque-good": (200, "verified"),
        "opaque-elsewhere": (401, "wrong_audience"),
        "opaque-no-audience": (401, "wrong_audience"),
        "opaque-ended": (401, "expired"),
        "opaque-made-up": (401, "inactive"),
    }
    for token, (status, reason) in expected.items():
        with guarded.peer(token) as peer:
            answer = peer.post(
                modern("tools/list"),
                headers={**modern_headers(modern("tools/list")), "user-agent": token},
            )
        assert answer.status == status, token
        span = guarded.span_of(token)
        assert reason in (
            span.attributes.get("mcp.auth.invalid_reason"),
            span.attributes["mcp.auth.outcome"],
        )


@requirement("auth.check", "auth.issuer-away")
@pytest.mark.parametrize("subject", ["broken", "unanswered"])
def test_without_an_answer_of_the_live_check_it_is_503_and_no_challenge(
    guarded: Guarded, subject: str
) -> None:
    with guarded.peer(guarded.token(subject=subject)) as peer:
        answer = peer.post(request("ping"), headers={"user-agent": f"check: {subject}"})
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "www-authenticate" not in answer.headers
    span = guarded.span_of(f"check: {subject}")
    assert span.attributes["mcp.auth.outcome"] == "unavailable"
    assert span.attributes["mcp.auth.invalid_reason"] == "check_unavailable"


def test_a_stranger_with_a_body_that_never_comes_is_answered_at_once(guarded: Guarded) -> None:
    with sent_by_hand(guarded.mcp, {"content-length": "100000"}, b"{") as connection:
        assert connection.recv(12) == b"HTTP/1.1 401"


def test_a_stranger_whose_body_is_not_read_is_cut_off(guarded: Guarded) -> None:
    with sent_by_hand(guarded.mcp, {"content-length": "1000000000"}, b"{") as connection:
        head = b""
        while piece := connection.recv(65536):  # to its end, though the body has none
            head += piece
        assert head.startswith(b"HTTP/1.1 401")
        assert b"connection: close\r\n" in head
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            connection.sendall(bytes(64 * 1024 * 1024))


def test_a_length_of_thousands_of_digits_is_a_request_like_any_other(guarded: Guarded) -> None:
    agent = "long length"
    body = b'{"jsonrpc":"2.0","id":7,"method":"ping"}'
    headers = {"content-length": "0" * 5000 + str(len(body)), "user-agent": agent}
    with sent_by_hand(guarded.mcp, headers, body) as connection:
        assert connection.recv(12) == b"HTTP/1.1 401"
    assert guarded.span_of(agent).attributes["http.response.status_code"] == 401
