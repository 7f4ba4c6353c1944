"""The orderly end of a session server: what runs ends in time or is answered for."""

import signal
from contextlib import ExitStack
from pathlib import Path

from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.peer import Peer, peer_of, request, session_at
from tests.support.stack import running_stack

CONNECTION_CLOSED = -32000
LONG_DRAIN = ("--drain-timeout", "60")
SHORT_DRAIN = ("--drain-timeout", "0.5")
COMMENTS = ("--comment-every", "0.1")
IMPATIENT = ("--retry-for", "2")
"""Has a worker pass a refusal on soon, and yet connect in peace."""


def started(witness: Peer, name: str) -> None:
    """Wait until a call runs."""
    assert witness.ask("probe/seen", {"name": name, "mark": "started"}).result == {}


@requirement("session.drain")
def test_a_session_server_lets_end_what_ends_in_time_and_takes_nothing_new(tmp_path: Path) -> None:
    with ExitStack() as opened:
        stack = opened.enter_context(
            running_stack(
                tmp_path,
                app=PROBE,
                session_arguments=LONG_DRAIN,
                worker_arguments=(*COMMENTS, *IMPATIENT),
            )
        )
        quick, witness = (opened.enter_context(session_at(stack.mcp)) for _ in range(2))
        listening = opened.enter_context(witness.listen())
        asking = opened.enter_context(quick.stream(request("probe/ask", {"text": "now?"})))
        question = asking.next()

        stack.session.signal(signal.SIGTERM)
        assert listening.rest().messages == []
        with peer_of(stack.mcp, session_id=witness.session_id) as other:
            late = request("probe/say", {"text": "too late"})
            refused = other.post(late, headers={"accept": "application/json"})
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert "shutting down" in refused.error["message"]
        with peer_of(stack.mcp, session_id=quick.session_id) as other:
            # A session that something runs in is served to its end: its calls may need each other.
            assert other.ask("probe/whoami").status == 200
            reply = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}
            assert other.post(reply).status == 202
        assert asking.rest().result == {"action": "decline"}
        assert stack.session.wait() == 0
        assert not any("Traceback" in line for line in stack.session.errors)


@requirement("session.drain")
def test_a_session_server_answers_for_what_does_not_end_in_time(tmp_path: Path) -> None:
    with ExitStack() as opened:
        stack = opened.enter_context(
            running_stack(
                tmp_path, app=PROBE, session_arguments=SHORT_DRAIN, worker_arguments=COMMENTS
            )
        )
        slow, witness = (opened.enter_context(session_at(stack.mcp)) for _ in range(2))
        holding = opened.enter_context(slow.stream(request("probe/hold", {"name": "slow"})))
        started(witness, "slow")

        stack.session.signal(signal.SIGTERM)
        answer = holding.rest()
        assert (answer.code, len(answer.messages)) == (CONNECTION_CLOSED, 1)
        assert stack.session.wait() == 0
        assert not any("Traceback" in line for line in stack.session.errors)
