"""A small authorization server, made with Authlib, that lets everybody in who registers.

It serves from a thread on loopback: RFC 8414 metadata, dynamic client registration (RFC 7591), the
authorization code grant with PKCE, refresh tokens, and JWT access tokens (RFC 9068) whose audience is
the resource that was asked for (RFC 8707). The user behind it is always `alice`, who grants all.
"""

# ruff: noqa: ARG002 - Authlib says which arguments its hooks have
# Authlib's stubs leave parts of it untyped.
# pyright: reportUnknownMemberType=false

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from authlib.oauth2 import AuthorizationServer, OAuth2Request
from authlib.oauth2.rfc6749 import ClientMixin, JsonRequest, TokenMixin, grants
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload, JsonPayload
from authlib.oauth2.rfc7591 import ClientRegistrationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from joserfc.jwk import RSAKey

SCOPES: Final = "mcp sums files offline_access"
_WAIT_SECONDS: Final = 15.0
_TOKEN_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class User:
    """The user, and for which resource a token is wanted."""

    name: str
    resource: str

    def get_user_id(self) -> str:
        """Return the subject of tokens."""
        return self.name


@dataclass(frozen=True, slots=True)
class Code(TokenMixin):
    """An authorization code, or what a refresh token stands for."""

    value: str
    client_id: str
    redirect_uri: str
    scope: str
    user: User
    code_challenge: str = ""
    code_challenge_method: str = ""

    def get_redirect_uri(self) -> str:
        """Return where the code was sent."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """Return what was granted."""
        return self.scope

    def check_client(self, client: ClientMixin) -> bool:
        """Tell whether it was issued to a client."""
        return client.get_client_id() == self.client_id


class Client(ClientMixin):
    """A client that has registered."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.metadata = dict(metadata)

    def get_client_id(self) -> str:
        """Return its id."""
        return str(self.metadata["client_id"])

    def get_default_redirect_uri(self) -> str:
        """Return the only address that it has."""
        return str(self.metadata["redirect_uris"][0])

    def get_allowed_scope(self, scope: object) -> str:
        """Allow all."""
        return str(scope)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Tell whether it registered that address."""
        return bool(redirect_uri in self.metadata["redirect_uris"])

    def check_client_secret(self, client_secret: str) -> bool:
        """Tell whether that is its secret."""
        return bool(client_secret == self.metadata["client_secret"])

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Tell whether it may show who it is in that way."""
        usual = "client_secret_basic"
        return bool(method == self.metadata.get("token_endpoint_auth_method", usual))

    def check_response_type(self, response_type: str) -> bool:
        """Take codes only."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Tell whether it registered that grant."""
        return bool(grant_type in self.metadata["grant_types"])


class Login:
    """What is known: clients, codes, refresh tokens; and how often each grant was used."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key = RSAKey.generate_key(2048, parameters={"kid": "login-1", "use": "sig"})
        self.clients: dict[str, Client] = {}
        self.codes: dict[str, Code] = {}
        self.refresh_tokens: dict[str, Code] = {}
        self.granted: list[tuple[str, str]] = []
        """The grant and the scope of each token that was issued."""

    def metadata(self) -> dict[str, object]:
        """Return the metadata of RFC 8414."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "registration_endpoint": f"{self.issuer}/register",
            "jwks_uri": f"{self.issuer}/jwks",
            "scopes_supported": SCOPES.split(),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
        }


class _Request(OAuth2Request):
    def __init__(self, method: str, uri: str, fields: dict[str, str], headers: Any) -> None:
        # Authlib refuses plain HTTP; this is loopback.
        super().__init__(method, uri.replace("http://", "https://", 1), headers=headers)
        self.payload = BasicOAuth2Payload(fields)
        self._fields = fields

    @property
    def args(self) -> dict[str, str | None]:
        return {**self._fields}

    @property
    def form(self) -> dict[str, str]:
        return self._fields


class _Json(JsonPayload):
    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    @property
    def data(self) -> dict[str, Any]:
        return self._document


class _Server(AuthorizationServer):
    def __init__(self, login: Login) -> None:
        super().__init__(scopes_supported=SCOPES.split())
        self.login = login

    def query_client(self, client_id: str) -> ClientMixin:
        return self.login.clients[client_id]

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        assert request.payload is not None
        self.login.granted.append((request.payload.grant_type, str(token.get("scope"))))
        if "refresh_token" in token:
            assert request.client is not None
            assert isinstance(request.user, User)
            self.login.refresh_tokens[str(token["refresh_token"])] = Code(
                value=str(token["refresh_token"]),
                client_id=request.client.get_client_id(),
                redirect_uri="",
                scope=str(token.get("scope")),
                user=request.user,
            )

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        return request

    def create_json_request(self, request: JsonRequest) -> JsonRequest:
        return request

    def handle_response(self, status: int, body: object, headers: object) -> object:
        return status, body, headers

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""


def login_of(grant: grants.BaseGrant) -> Login:
    server = grant.server
    assert isinstance(server, _Server)
    return server.login


class _CodeGrant(grants.AuthorizationCodeGrant):
    def save_authorization_code(self, code: str, request: OAuth2Request) -> None:
        assert request.payload is not None
        assert request.client is not None
        fields = request.payload.data
        login_of(self).codes[code] = Code(
            value=code,
            client_id=request.client.get_client_id(),
            redirect_uri=request.payload.redirect_uri,
            scope=request.payload.scope,
            user=User("alice", fields["resource"]),
            code_challenge=fields["code_challenge"],
            code_challenge_method=fields["code_challenge_method"],
        )

    def query_authorization_code(self, code: str, client: ClientMixin) -> Code | None:
        found = login_of(self).codes.get(code)
        return found if found is not None and found.check_client(client) else None

    def delete_authorization_code(self, authorization_code: Code) -> None:
        del login_of(self).codes[authorization_code.value]

    def authenticate_user(self, authorization_code: Code) -> User:
        return authorization_code.user


class _RefreshGrant(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post", "client_secret_basic")
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Code:
        return login_of(self).refresh_tokens[refresh_token]

    def authenticate_user(self, refresh_token: TokenMixin) -> User:
        assert isinstance(refresh_token, Code)
        return refresh_token.user

    def revoke_old_credential(self, refresh_token: TokenMixin) -> None:
        assert isinstance(refresh_token, Code)
        del login_of(self).refresh_tokens[refresh_token.value]


class _Tokens(JWTBearerTokenGenerator):
    def __init__(self, login: Login) -> None:
        super().__init__(
            login.issuer,
            refresh_token_generator=self._refresh_token,
            expires_generator=self._lasting,
        )
        self._login = login

    def get_jwks(self) -> Any:
        return self._login.key

    def get_audiences(self, client: ClientMixin, user: User, scope: str) -> str:
        return user.resource

    def _lasting(self, client: ClientMixin, grant_type: str) -> int:
        return _TOKEN_SECONDS

    def _refresh_token(self, **_: object) -> str:
        return f"refresh-{len(self._login.granted)}"


class _Registration(ClientRegistrationEndpoint):
    def authenticate_token(self, request: JsonRequest) -> str:
        return "anybody"

    def get_server_metadata(self) -> dict[str, object]:
        server = self.server
        assert isinstance(server, _Server)
        return {**server.login.metadata(), "issuer": "https://test.example"}

    def save_client(
        self, client_info: dict[str, Any], client_metadata: dict[str, Any], request: JsonRequest
    ) -> Client:
        server = self.server
        assert isinstance(server, _Server)
        client = Client({**client_metadata, **client_info})
        server.login.clients[client.get_client_id()] = client
        return client


@contextmanager
def running_login() -> Generator[Login]:
    """Run the authorization server until the block is left."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    login = Login(f"http://127.0.0.1:{server.server_port}")
    oauth = _Server(login)
    oauth.register_token_generator("default", _Tokens(login))
    oauth.register_grant(_CodeGrant, [CodeChallenge(required=True)])
    oauth.register_grant(_RefreshGrant)
    registration: Any = _Registration(oauth)  # it is an endpoint in all but its type
    oauth.register_endpoint(registration)
    setattr(server, "oauth", oauth)  # noqa: B010 - the handler finds it there
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield login
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_WAIT_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def oauth(self) -> Any:
        return getattr(self.server, "oauth")  # noqa: B009 - as above

    @property
    def login(self) -> Login:
        login: Login = self.oauth.login
        return login

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        login = self.login
        match parts.path:
            case "/.well-known/oauth-authorization-server":
                self._answer(200, login.metadata(), [])
            case "/jwks":
                self._answer(200, {"keys": [login.key.as_dict(private=False)]}, [])
            case "/authorize":
                request = self._request(dict(parse_qsl(parts.query)))
                user = User("alice", "")
                grant = self.oauth.get_consent_grant(request, user)
                self._answer(*self.oauth.create_authorization_response(request, user, grant))
            case _:
                self._answer(404, {}, [])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        match self.path:
            case "/register":
                registration = JsonRequest("POST", self.login.issuer, dict(self.headers))
                registration.payload = _Json(json.loads(body))
                name = "client_registration"
                self._answer(*self.oauth.create_endpoint_response(name, registration))
            case "/token":
                request = self._request(dict(parse_qsl(body)))
                self._answer(*self.oauth.create_token_response(request))
            case _:
                self._answer(404, {}, [])

    def _request(self, fields: dict[str, str]) -> _Request:
        uri = f"{self.login.issuer}{self.path}"
        return _Request(self.command, uri, fields, self.headers)

    def _answer(self, status: int, body: object, headers: list[tuple[str, str]]) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
