"""What the MCP SDK logs of requests, from running processes: no secret in a resource's URI."""

from pathlib import Path
from typing import Final

import pytest
from tests.requirements import requirement
from tests.support.apps import APPS
from tests.support.otlp import SignalReceiver, attributes_of
from tests.support.peer import Peer, session_at
from tests.support.stack import running_stack

UNREADABLE: Final = str(APPS / "secret_uris.py") + ":mcp"
HIDDEN: Final = "c0rrect-horse"
URIS: Final = (
    f"note://broken/one?token={HIDDEN}",
    f"note://refused/one?token={HIDDEN}",
    f"note://nowhere/one?token={HIDDEN}#{HIDDEN}",
    f"https://ada:{HIDDEN}@example.com/one",
)


def read_all(peer: Peer) -> None:
    """Try to read what cannot be read."""
    for uri in URIS:
        answer = peer.ask("resources/read", {"uri": uri})
        assert answer.error["data"] == {"uri": uri}


@requirement("logs.secrets")
@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("level", [None, "debug"])
def test_no_secret_in_the_uri_of_a_resource_is_in_any_log(
    tmp_path: Path, form: str, level: str | None
) -> None:
    arguments = ("--log-format", form, *(() if level is None else ("--log-level", level)))
    with (
        running_stack(
            tmp_path, app=UNREADABLE, session_arguments=arguments, worker_arguments=arguments
        ) as stack,
        session_at(stack.mcp) as peer,
    ):
        read_all(peer)
        assert stack.worker.stop() == 0
        assert stack.session.stop() == 0
        logged = "\n".join((*stack.worker.errors, *stack.session.errors))
    assert HIDDEN not in logged
    assert "Resource 'note://broken/one' raised an unexpected exception" in logged
    assert "RuntimeError: one is broken" in logged  # whoever has to mend it reads where
    assert ("is refused to whoever" in logged) == (level == "debug")
    assert ("nowhere" in logged) == (level == "debug")


@requirement("logs.secrets")
def test_no_secret_in_the_uri_of_a_resource_is_sent_over_otlp(tmp_path: Path) -> None:
    with SignalReceiver() as signals:
        env = {
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{signals.http}/v1/logs",
        }
        with (
            running_stack(tmp_path, app=UNREADABLE, env=env) as stack,
            session_at(stack.mcp) as peer,
        ):
            read_all(peer)
            assert stack.session.stop() == 0
        records = [record for _, _, record in signals.logs()]
    (failed,) = [each for each in records if "unexpected" in each.body.string_value]
    assert "note://broken/one" in attributes_of(failed.attributes)["exception.message"]
    assert not any(HIDDEN in str(each) for each in records)
