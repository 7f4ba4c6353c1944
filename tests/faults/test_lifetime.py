"""Sessions have a longest life, however they are used, over processes and both stores."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from tests.audit.trails import wait_for
from tests.faults.stores import KINDS, store_of
from tests.requirements import requirement
from tests.support.apps import APPS
from tests.support.fleet import check_one_owner, running_fleet
from tests.support.peer import Answer, Peer, peer_of, session_at
from tests.support.waiting import PATIENCE_SECONDS, wait_until

from linkspan_contract.session_digest import session_digest

WAITING: Final = str(APPS / "net_waiting.py") + ":mcp"
LIFETIME: Final = 10
"""In seconds; enough for a slow machine to begin what is to be there at the end."""


def used_up(peer: Peer) -> Answer:
    """Use a session until it is refused; return the refusal."""
    answers: list[Answer] = []

    def is_refused() -> bool:
        answers.append(peer.ask("ping"))
        return answers[-1].status != 200

    wait_until(is_refused, "the end of the session")
    return answers[-1]


@requirement("session.lifetime")
@pytest.mark.parametrize("kind", KINDS)
def test_a_session_ends_with_its_lifetime_and_what_runs_then_is_answered(
    tmp_path: Path, kind: str
) -> None:
    trail = tmp_path / "trail"
    arguments = ("--session-lifetime", str(LIFETIME), "--audit-file", str(trail))
    with (
        store_of(kind, tmp_path) as store,
        running_fleet(store, servers=1, app=WAITING, session_arguments=arguments) as fleet,
        ThreadPoolExecutor(1) as threads,
    ):
        worker = fleet.add_worker("--retry-for", "0.5")
        with session_at(worker) as peer, peer_of(worker, session_id=peer.session_id) as second:
            working = threads.submit(peer.call, "run_and_wait", name="long", length=1)
            second.call("started", name="long")
            with peer_of(worker, session_id=peer.session_id) as ear, ear.listen() as stream:
                refused = used_up(second)
                assert refused.status == 404
                assert refused.error["message"] == (
                    "Session not found: its lifetime is over; start a new one"
                )
                with session_at(worker) as late:
                    late.call("release", name="long")
                answer = working.result(timeout=PATIENCE_SECONDS)
                assert answer.result["structuredContent"] == {"result": "x"}
                assert stream.rest().messages == []  # nothing runs any more: it ends
            digest = session_digest(peer.session_id or "")
            ended = wait_for(trail, "session_end", session=digest)
            assert (ended["actor"], ended["reason"]) == ("server", "expired")
            assert second.ask("ping").status == 404
        check_one_owner(fleet.commits())
