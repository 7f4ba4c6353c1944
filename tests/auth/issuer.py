"""An issuer of tokens on loopback, with its metadata, its keys and its introspection, for tests.

It serves from a thread of its own, so that tests of any kind can use it; it counts what it is asked,
can change its keys, and can be away: then it answers 503 to everything, or waits to be let go.
"""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

CLIENT_ID: Final = "resource-server"
CLIENT_SECRET: Final = "s3cret with & and :"  # noqa: S105 - of a test

WAIT_SECONDS: Final = 15.0

_RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_ELLIPTIC: Final = ec.generate_private_key(ec.SECP256R1())
OTHERS_KEY: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
"""A key that no issuer has."""


class Issuer:
    """What the issuer is and what it was asked."""

    def __init__(self, port: int, path: str) -> None:
        self.name = f"http://127.0.0.1:{port}{path}"
        self.path = path
        self.asked: Counter[str] = Counter()
        """How often each path was asked for."""
        self.away = False
        self.held = threading.Event()
        """Cleared, it makes every answer wait."""
        self.held.set()
        self.opaque: dict[str, dict[str, Any]] = {}
        """What introspection says of each token."""
        self.rsa_kid = "rsa-1"
        self.redirect_keys_to = ""
        self.extra_bytes = 0
        self.says_it_is = self.name
        """What its metadata call it."""

    def keys(self) -> dict[str, Any]:
        """Return the JWK set."""
        rsa_key = json.loads(RSAAlgorithm.to_jwk(_RSA.public_key()))
        elliptic = json.loads(ECAlgorithm.to_jwk(_ELLIPTIC.public_key()))
        # A shared secret in a key set is a mistake, and must never be used.
        oct_key = {"kty": "oct", "kid": "oct-1", "k": base64.urlsafe_b64encode(b"k" * 32).decode()}
        return {
            "keys": [
                {**rsa_key, "kid": self.rsa_kid, "use": "sig"},
                {**elliptic, "kid": "ec-1", "alg": "ES256"},
                oct_key,
            ],
            "padding": "x" * self.extra_bytes,
        }

    def metadata(self) -> dict[str, Any]:
        """Return the issuer's metadata."""
        return {
            "issuer": self.says_it_is,
            "jwks_uri": f"{self.name}/jwks",
            "introspection_endpoint": f"{self.name}/introspect",
        }

    def token(
        self,
        audience: object,
        *,
        subject: str = "alice",
        header: dict[str, Any] | None = None,
        key: Any = None,
        algorithm: str = "RS256",
        **claims: Any,
    ) -> str:
        """Mint a token; a claim or header of None is left out."""
        now = int(time.time())
        payload = {
            "iss": self.name,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + 600,
            **claims,
        }
        kid = self.rsa_kid if algorithm.startswith(("RS", "PS")) else "ec-1"
        head = {"kid": kid, **(header or {})}
        return jwt.encode(
            {name: value for name, value in payload.items() if value is not None},
            key or (_RSA if algorithm.startswith(("RS", "PS")) else _ELLIPTIC),
            algorithm,
            headers={name: value for name, value in head.items() if value is not None},
        )


@contextmanager
def running_issuer(path: str = "") -> Generator[Issuer]:
    """Run an issuer until the block is left."""
    server = _HttpServer(("127.0.0.1", 0), _Handler)
    issuer = Issuer(server.server_port, path)
    setattr(server, "issuer", issuer)  # noqa: B010 - the handler finds it there
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        issuer.held.set()
        server.shutdown()
        server.server_close()
        thread.join(WAIT_SECONDS)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def issuer(self) -> Issuer:
        issuer: Issuer = getattr(self.server, "issuer")  # noqa: B009 - as above
        return issuer

    def do_GET(self) -> None:
        issuer = self.issuer
        issuer.asked[self.path] += 1
        issuer.held.wait(WAIT_SECONDS)
        if issuer.away:
            self._answer(503, {"error": "away"})
        elif self.path == f"{issuer.path}/jwks" and issuer.redirect_keys_to:
            self.send_response(302)
            self.send_header("location", issuer.redirect_keys_to)
            self.send_header("content-length", "0")
            self.end_headers()
        elif self.path in (f"{issuer.path}/jwks", "/elsewhere"):
            self._answer(200, issuer.keys())
        elif self.path == f"/.well-known/oauth-authorization-server{issuer.path}":
            self._answer(200, issuer.metadata())
        else:
            self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        issuer = self.issuer
        issuer.asked[self.path] += 1
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        issuer.held.wait(WAIT_SECONDS)
        credential = self.headers.get("authorization", "").removeprefix("Basic ")
        who = base64.b64decode(credential).decode()
        if issuer.away:
            self._answer(503, {"error": "away"})
        elif who != "resource-server:s3cret%20with%20%26%20and%20%3A":
            self._answer(401, {"error": "invalid_client"})
        else:
            (token,) = parse_qs(body)["token"]
            self._answer(200, issuer.opaque.get(token, {"active": False}))

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
