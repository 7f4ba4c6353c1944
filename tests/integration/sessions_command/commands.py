"""`linkspan sessions` run without a terminal, and sessions for it to find."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.apps import PROBE
from tests.support.peer import INITIALIZE, request
from tests.support.processes import linkspan
from tests.support.session_calls import TIMEOUT_SECONDS, Service, service_at

from linkspan.session.v1.session_pb2 import Principal
from linkspan.session.v1.session_service_pb2 import HandleRequestRequest, InitRequest, Post

ADA: Final = Principal(issuer="https://issuer.example", subject="ada", resource="r")
INTERRUPTED: Final = 130

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What a command said, and how it ended."""

    status: int
    output: list[str]
    errors: list[str]

    @property
    def error(self) -> str:
        """The only line on standard error."""
        (line,) = self.errors
        return line


def sessions(*words: str, server: str = "", env: Mapping[str, str] | None = None) -> Told:
    """Run `linkspan sessions` without a terminal, to its end."""
    where = ("--server", server) if server else ()
    with linkspan("sessions", words[0], *where, *words[1:], env=env) as process:
        return Told(process.wait(), process.output, process.errors)


def rows(*words: str, server: str) -> list[Row]:
    """Run `linkspan sessions ... --json`, which must end well and say nothing else."""
    told = sessions(*words, "--json", server=server)
    assert (told.status, told.errors) == (0, [])
    return [json.loads(line) for line in told.output]


def ids(*words: str, server: str) -> list[str]:
    return [each["session_id"] for each in rows("list", *words, server=server)]


def server_command(data: Path) -> tuple[str, ...]:
    return ("session", "--app", PROBE, "--port", "0", "--data", str(data))


@contextmanager
def session_server(data: Path) -> Generator[str]:
    with linkspan(*server_command(data)) as process:
        yield process.wait_ready()["grpc"]


def ask(target: str, scenario: Callable[[Service], Awaitable[Any]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(2 * TIMEOUT_SECONDS), service_at(target) as service:
            await scenario(service)

    asyncio.run(main())


async def init(service: Service, *names: str, principal: Principal | None = None) -> None:
    for start in range(0, len(names), 100):
        asked = [InitRequest(session_id=each, principal=principal) for each in names[start:][:100]]
        await asyncio.gather(*(service.Init(each, timeout=TIMEOUT_SECONDS) for each in asked))


async def open_session(service: Service, name: str, principal: Principal | None = None) -> None:
    await init(service, name, principal=principal)
    post = Post(message=json.dumps(request("initialize", INITIALIZE)))
    asked = HandleRequestRequest(session_id=name, principal=principal, post=post)
    assert [event async for event in service.HandleRequest(asked, timeout=TIMEOUT_SECONDS)]


def make(target: str, *names: str) -> None:
    """Make sessions that are not initialized yet."""
    ask(target, lambda service: init(service, *names))
