"""Decisions without a process: bearer tokens, memory, scopes, metadata, challenges, settings, keys."""

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from tests.requirements import requirement

from linkspan_auth import (
    AuthConfigurationError,
    AuthSettings,
    ClientSecret,
    Denial,
    Identity,
    Reason,
    ScopeRules,
    append_key,
    challenge,
    make_key,
    parse_rules,
    resource_metadata,
)
from linkspan_auth.api_keys import ApiKeyFile, parse_keys
from linkspan_auth.bearer import MAX_TOKEN_CHARS, read_bearer
from linkspan_auth.claims import Terms, identify
from linkspan_auth.errors import CredentialError, FetchError
from linkspan_auth.issuer import metadata_urls
from linkspan_auth.keys import ALGORITHMS, read_key_set
from linkspan_auth.memory import TokenMemory, digest_of
from linkspan_auth.refreshing import retry_delay
from linkspan_auth.tokens import read_unverified, verify

RESOURCE = "https://mcp.example/team/mcp"
ISSUER = "https://as.example"
TERMS = Terms(RESOURCE, frozenset({RESOURCE, "team"}))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], Reason.MISSING),
        (["Basic YTpi"], Reason.NOT_BEARER),
        (["token"], Reason.NOT_BEARER),
        (["Bearer a", "Bearer a"], Reason.SEVERAL),
        (["Bearer"], Reason.BAD_SYNTAX),
        (["Bearer "], Reason.BAD_SYNTAX),
        (["Bearer a b"], Reason.BAD_SYNTAX),
        (["Bearer a,Bearer b"], Reason.BAD_SYNTAX),
        (["Bearer \xe9"], Reason.BAD_SYNTAX),
        ([f"Bearer {'a' * (MAX_TOKEN_CHARS + 1)}"], Reason.TOO_LARGE),
    ],
)
def test_a_header_without_one_bearer_token_has_its_reason(
    values: list[str], reason: Reason
) -> None:
    with pytest.raises(CredentialError) as refused:
        read_bearer(values)
    assert refused.value.reason is reason


@pytest.mark.parametrize("value", ["Bearer a.b-c_d~e+f/g==", "bearer  abc", "BEARER abc"])
def test_a_bearer_token_is_read(value: str) -> None:
    assert read_bearer([value]) == value.split()[1]


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "alice", "aud": RESOURCE, "exp": 100, **more}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": 50}, Reason.EXPIRED),
        ({"exp": float("nan")}, Reason.BAD_CLAIM),
        ({"exp": float("inf")}, Reason.BAD_CLAIM),
        ({"exp": 10**400}, Reason.BAD_CLAIM),
        ({"exp": "100"}, Reason.BAD_CLAIM),
        ({"exp": True}, Reason.BAD_CLAIM),
        ({"nbf": 81}, Reason.NOT_YET_VALID),
        ({"iat": 81}, Reason.NOT_YET_VALID),
        ({"aud": "https://mcp.example/other"}, Reason.WRONG_AUDIENCE),
        ({"aud": None}, Reason.WRONG_AUDIENCE),
        ({"aud": [[RESOURCE]]}, Reason.WRONG_AUDIENCE),
        ({"iss": "https://other.example"}, Reason.UNKNOWN_ISSUER),
        ({"sub": ""}, Reason.BAD_CLAIM),
        ({"sub": 7}, Reason.BAD_CLAIM),
        ({"sub": "a" * 2049}, Reason.BAD_CLAIM),
        ({"sub": "\ud800"}, Reason.BAD_CLAIM),
        ({"scope": [1]}, Reason.BAD_CLAIM),
        ({"scope": {}}, Reason.BAD_CLAIM),
    ],
)
def test_a_claim_that_does_not_do_has_its_reason(changed: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(CredentialError) as refused:
        identify(claims(**changed), ISSUER, TERMS, "jwt", 50)
    assert refused.value.reason is reason


def test_good_claims_say_who_that_is() -> None:
    found = identify(
        claims(aud=["x", "team"], scp=["a", "b"], nbf=79, org_id="acme", azp="app"),
        ISSUER,
        TERMS,
        "jwt",
        50,
    )
    assert asdict(found) == {
        "issuer": ISSUER,
        "subject": "alice",
        "resource": RESOURCE,
        "kind": "jwt",
        "scopes": {"a", "b"},
        "expires_at": 100,
        "organization_id": "acme",
        "account_id": "alice",
        "client_id": "app",
    }


@requirement("auth.remembered")
def test_memory_forgets_by_age_by_expiry_and_the_oldest_first() -> None:
    clock = {"now": 0.0, "monotonic": 0.0}
    memory = TokenMemory(
        max_seconds=60,
        max_entries=2,
        now=lambda: clock["now"],
        monotonic=lambda: clock["monotonic"],
    )
    lasting = Identity(ISSUER, "lasting", RESOURCE, "jwt")
    short = Identity(ISSUER, "short", RESOURCE, "jwt", expires_at=10)
    memory.put(digest_of("a"), lasting)
    memory.put(digest_of("b"), short)
    assert memory.get(digest_of("b")) is short
    clock["now"] = 10
    assert memory.get(digest_of("b")) is None
    memory.put(digest_of("c"), lasting)
    memory.put(digest_of("d"), lasting)
    assert len(memory) == 2
    assert memory.get(digest_of("a")) is None
    assert memory.get(digest_of("d")) is lasting
    clock["monotonic"] = 60
    assert memory.get(digest_of("d")) is None


def test_rules_ask_for_the_scopes_of_method_pattern_and_tool_together() -> None:
    rules = parse_rules(
        """
        [methods]
        "tools/call" = ["use"]
        "resources/*" = "files"
        [tools]
        drop = ["admin", "write"]
        """,
        frozenset({"base"}),
    )
    assert rules.needed([]) == {"base"}
    assert rules.needed([("ping", None)]) == {"base"}
    assert rules.needed([("resources/read", None)]) == {"base", "files"}
    assert rules.needed([("tools/call", "add")]) == {"base", "use"}
    assert rules.needed([("prompts/get", "drop")]) == {"base"}
    assert rules.needed([("ping", None), ("tools/call", "drop")]) == {
        "admin",
        "base",
        "use",
        "write",
    }
    assert rules.all() == ("admin", "base", "files", "use", "write")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methods", "is not TOML"),
        ("[tool]", "'tool' is not known"),
        ("tools = 1", "tools must be a table"),
        ("[tools]\nadd = []", "tools.add"),
        ("[tools]\nadd = [1]", "tools.add"),
        ("[tools]\nadd = ['a\"b']", "is no scope"),
    ],
)
def test_rules_that_cannot_be_read_are_refused(text: str, said: str) -> None:
    with pytest.raises(AuthConfigurationError, match=said):
        parse_rules(text)


@requirement("auth.metadata")
def test_metadata_stand_between_host_and_path() -> None:
    metadata = resource_metadata(RESOURCE, (ISSUER,), ("a", "b"), "/mcp")
    well_known = "/.well-known/oauth-protected-resource"
    assert metadata.url == f"https://mcp.example{well_known}/team/mcp"
    assert metadata.paths == {well_known, f"{well_known}/team/mcp", f"{well_known}/mcp"}
    assert json.loads(metadata.text) == {
        "resource": RESOURCE,
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["a", "b"],
    }


@requirement("auth.challenge")
def test_a_challenge_has_an_error_only_where_a_credential_came() -> None:
    url = "https://mcp.example/m"
    assert challenge(Denial(Reason.MISSING, ("a", "b")), url) == (
        f'Bearer scope="a b", resource_metadata="{url}"'
    )
    assert challenge(Denial(Reason.EXPIRED), url) == (
        'Bearer error="invalid_token", error_description="the token has expired", '
        f'resource_metadata="{url}"'
    )
    assert challenge(Denial(Reason.MISSING), "") == "Bearer"


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_a_status_that_fits_its_error(reason: Reason) -> None:
    denial = Denial(reason)
    assert {
        "": (401, 503),
        "invalid_request": (400,),
        "invalid_token": (401,),
        "insufficient_scope": (403,),
    }[denial.error].count(denial.status) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "name an issuer"),
        ({"issuers": ("http://as.example",)}, "https URL"),
        ({"issuers": ("https://as.example#x",)}, "neither user nor fragment"),
        ({"issuers": ("https://u@as.example",)}, "neither user nor fragment"),
        ({"issuers": ("https://as.example:port",)}, "not a URL"),
        ({"issuers": ('https://as.example/"',)}, "https URL"),
        ({"issuers": (ISSUER,), "algorithms": frozenset({"HS256"})}, "symmetric"),
        ({"issuers": (ISSUER,), "algorithms": frozenset({"none"})}, "symmetric"),
        ({"issuers": (ISSUER,), "algorithms": frozenset[str]()}, "symmetric"),
        ({"issuers": (ISSUER, f"{ISSUER}/2"), "jwks_url": f"{ISSUER}/k"}, "one issuer"),
        ({"api_keys": Path("x"), "client": ClientSecret("a", "b")}, "need an issuer"),
        ({"issuers": (ISSUER, f"{ISSUER}/2"), "client": ClientSecret("a", "b")}, "name one only"),
        ({"issuers": (ISSUER,), "introspection_url": f"{ISSUER}/i"}, "client id"),
        ({"issuers": (ISSUER,), "remember_seconds": 61.0}, "a minute"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(AuthConfigurationError, match=said):
        AuthSettings(RESOURCE, **settings)


def test_a_scope_with_a_quote_is_refused() -> None:
    with pytest.raises(AuthConfigurationError, match="is no scope"):
        ScopeRules(frozenset({'a"b'}))


def test_a_secret_is_not_in_its_repr() -> None:
    assert "hush" not in repr(ClientSecret("id", "hush"))


def test_metadata_are_looked_for_in_the_order_of_the_specification() -> None:
    assert metadata_urls("https://as.example/t") == [
        "https://as.example/.well-known/oauth-authorization-server/t",
        "https://as.example/.well-known/openid-configuration/t",
        "https://as.example/t/.well-known/openid-configuration",
    ]
    assert metadata_urls("https://as.example") == [
        "https://as.example/.well-known/oauth-authorization-server",
        "https://as.example/.well-known/openid-configuration",
    ]


def test_failures_are_retried_ever_more_slowly() -> None:
    assert [retry_delay(failures) for failures in (1, 2, 3, 6, 1000)] == [1, 2, 4, 30, 30]


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}])
def test_what_is_no_key_set_is_not_taken(document: object) -> None:
    with pytest.raises(FetchError):
        read_key_set(document)


def test_keys_for_anything_but_signatures_are_left_out() -> None:
    keys: list[Any] = [
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA", "use": "enc"},
        {"kty": "RSA", "key_ops": ["encrypt"]},
        {"kty": "what"},
        {"kty": ["RSA"]},
        {"kty": {}},
        "text",
        {"kty": "RSA", "kid": "broken"},
    ]
    found = read_key_set({"keys": keys})
    assert len(found) == 1
    assert found.find("broken", "RS256") is None


@requirement("auth.algorithms")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_that_can_be_allowed_verifies_with_its_key(algorithm: str) -> None:
    kind, curve = ALGORITHMS[algorithm]
    keys: dict[str, tuple[Any, Any]] = {
        "RSA": (rsa.generate_private_key(public_exponent=65537, key_size=2048), RSAAlgorithm),
        "P-256": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
        "P-384": (ec.generate_private_key(ec.SECP384R1()), ECAlgorithm),
        "P-521": (ec.generate_private_key(ec.SECP521R1()), ECAlgorithm),
        "Ed25519": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm),
    }
    jwks = [
        {**json.loads(how.to_jwk(key.public_key())), "kid": name}
        for name, (key, how) in keys.items()
    ]
    name = curve or kind
    token = jwt.encode({"iss": ISSUER, **claims()}, keys[name][0], algorithm)
    found = read_key_set({"keys": jwks})
    for kid in (name, None):  # without an id, the only one that fits is meant
        key = found.find(kid, algorithm)
        assert key is not None
        unverified = read_unverified(token, frozenset({algorithm}))
        assert verify(unverified, key, TERMS, 50).subject == "alice"
    others = keys.keys() - {name}
    assert [found.find(other, algorithm) for other in others] == [None] * len(others)


@requirement("auth.algorithms")
def test_a_key_that_is_too_short_is_not_used() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - it is
    jwk = {**json.loads(RSAAlgorithm.to_jwk(short.public_key())), "kid": "short"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)  # it is what is tested
        token = jwt.encode({"iss": ISSUER, **claims()}, short, "RS256", {"kid": "short"})
    unverified = read_unverified(token, frozenset({"RS256"}))
    key = read_key_set({"keys": [jwk]}).find(unverified.kid, unverified.algorithm)
    assert key is not None
    with pytest.raises(CredentialError) as refused:
        verify(unverified, key, TERMS, 50)
    assert refused.value.reason is Reason.UNKNOWN_KEY


@requirement("auth.api-keys")
def test_a_key_is_found_by_its_digest_and_the_file_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key, line = make_key("ci", scopes=frozenset({"a"}), organization="acme")
    append_key(path, line)
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    found = ApiKeyFile(path, RESOURCE).identify(key)
    assert (found.subject, found.kind) == ("ci", "api_key")
    assert (found.resource, found.organization_id) == (RESOURCE, "acme")
    assert found.scopes == {"a"}
    with pytest.raises(CredentialError) as refused:
        ApiKeyFile(path, RESOURCE).identify(key + "x")
    assert refused.value.reason is Reason.UNKNOWN_API_KEY


def test_a_key_has_a_line_of_its_own_behind_comments_and_one_that_was_not_ended(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keys"
    made = [make_key(subject) for subject in ("a", "b")]
    path.write_text(f"# keys\n\n{made[0][1].line()}")
    append_key(path, made[1][1])
    file = ApiKeyFile(path, RESOURCE)
    assert [file.identify(key).subject for key, _ in made] == ["a", "b"]


def test_a_key_past_its_end_is_refused(tmp_path: Path) -> None:
    key, line = make_key("ci", expires=1.0)
    append_key(tmp_path / "keys", line)
    with pytest.raises(CredentialError) as refused:
        ApiKeyFile(tmp_path / "keys", RESOURCE).identify(key)
    assert refused.value.reason is Reason.EXPIRED


@pytest.mark.parametrize(
    "line",
    [
        "text",
        "[]",
        "{}",
        '{"sha256": "ab", "subject": "x"}',
        '{"sha256": "' + "a" * 64 + '"}',
        '{"sha256": "' + "a" * 64 + '", "subject": "x", "scopes": [1]}',
        '{"sha256": "' + "a" * 64 + '", "subject": "x", "expires": "soon"}',
        '{"sha256": "' + "a" * 64 + '", "subject": "x", "expires": NaN}',
        '{"sha256": "' + "a" * 64 + '", "subject": "x", "expires": Infinity}',
        '{"sha256": "' + "a" * 64 + '", "subject": "x", "expires": 1' + "0" * 400 + "}",
        '{"sha256": "' + "a" * 64 + '", "subject": "x", "expires": -1}',
        '{"sha256": "' + "g" * 64 + '", "subject": "x"}',
        '{"sha256": "' + "\u0663" * 64 + '", "subject": "x"}',
        '{"sha256": "' + "a" * 64 + '", "subject": "x", "more": 1}',
    ],
)
def test_a_line_that_is_no_key_is_named(line: str) -> None:
    with pytest.raises(AuthConfigurationError, match="line 2"):
        parse_keys(f"# keys\n{line}\n")
