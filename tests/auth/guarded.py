"""A worker that asks who calls, with its session server, its issuer and where its spans go."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
from tests.auth.issuer import CLIENT_ID, CLIENT_SECRET, Issuer, running_issuer
from tests.support.peer import Peer, peer_of
from tests.support.processes import REPOSITORY
from tests.support.stack import Stack, running_stack

from linkspan_auth import append_key, make_key
from linkspan_propagation.testing import ExportedSpan, OtlpReceiver

CHECK: Final = str(REPOSITORY / "tests" / "auth" / "checking.py") + ":may_enter"

RULES: Final = """
[methods]
"resources/*" = ["files"]
[tools]
add = ["sums"]
"""


@dataclass(frozen=True, slots=True)
class Guarded:
    """What runs.

    Attributes:
        stack: The worker and the session server.
        issuer: Whose tokens the worker takes.
        receiver: Where spans go.
        keys: The file of API keys.
        api_key: A key in it, of `ci`, that allows nothing.
    """

    stack: Stack
    issuer: Issuer
    receiver: OtlpReceiver
    keys: Path
    api_key: str

    @property
    def mcp(self) -> str:
        """The worker's address for MCP, which is the resource that tokens are for."""
        return self.stack.mcp

    def token(self, **more: Any) -> str:
        """Mint a token for the worker."""
        audience: object = more.pop("audience", self.mcp)
        return self.issuer.token(audience, **more)

    @contextmanager
    def peer(self, token: str, *, session_id: str | None = None) -> Generator[Peer]:
        """Make a client with a credential."""
        with peer_of(self.mcp, session_id=session_id) as peer:
            peer.http.headers["authorization"] = f"Bearer {token}"
            yield peer

    def span_of(self, agent: str) -> ExportedSpan:
        """Wait for the `mcp.request` of the one request that came under a name."""

        def of_agent(spans: list[ExportedSpan]) -> list[ExportedSpan]:
            return [span for span in spans if span.attributes.get("user_agent.original") == agent]

        spans = self.receiver.wait_for(lambda spans: bool(of_agent(spans)), 15, agent)
        (span,) = of_agent(spans)
        assert span.name == "mcp.request"
        return span


@contextmanager
def running_guarded(
    folder: Path, *worker_arguments: str, session_arguments: tuple[str, ...] = ()
) -> Generator[Guarded]:
    """Run all of it until the block is left."""
    with ExitStack() as stack:
        issuer = stack.enter_context(running_issuer())
        receiver = stack.enter_context(OtlpReceiver())
        keys, secret, rules = folder / "keys", folder / "secret", folder / "rules.toml"
        api_key, line = make_key("ci")
        append_key(keys, line)
        secret.write_text(CLIENT_SECRET + "\n")
        rules.write_text(RULES)
        arguments: dict[str, object] = {
            "--auth-issuer": issuer.name,
            "--auth-client-id": CLIENT_ID,
            "--auth-client-secret-file": secret,
            "--auth-api-keys": keys,
            "--auth-scope-rules": rules,
            "--auth-check": CHECK,
            "--auth-check-timeout": 3,
            "--auth-remember": 0.01,
            "--auth-refresh-interval": 0.05,
        }
        words = tuple(str(word) for pair in arguments.items() for word in pair)
        running = stack.enter_context(
            running_stack(
                folder / "data",
                receiver=receiver,
                session_arguments=session_arguments,
                worker_arguments=(*words, *worker_arguments),
            )
        )
        yield Guarded(running, issuer, receiver, keys, api_key)


def fetch(url: str) -> httpx2.Response:
    """Get a document."""
    return httpx2.get(url, timeout=15)
