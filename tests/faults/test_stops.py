"""Session servers that are stopped, not dead: others take over, and what they do late is refused."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.faults.scene import LOST, ask, error_of, result_of, scene
from tests.faults.stores import KINDS, store_of
from tests.requirements import requirement
from tests.support.mcp_http import HttpSession
from tests.support.waiting import BUSY_SECONDS, wait_until

LEASE = ("--lease", "2")

BOUND_SECONDS = 15.0 + BUSY_SECONDS
"""Within which a request is answered: a silent connection is noticed, then a lease of 2 s ends."""


def count_and_pid(session: HttpSession) -> tuple[int, int]:
    counted = ask(session, "increment")
    return counted["count"], counted["pid"]


@requirement("session.one-owner")
@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_servers_session_goes_on_elsewhere_and_comes_back_with_all_there_is(
    tmp_path: Path, kind: str
) -> None:
    with (
        store_of(kind, tmp_path) as store,
        scene(store, tmp_path, session_arguments=LEASE) as played,
    ):
        worker = played.fleet.add_worker()
        with played.session(worker) as session, session.listen() as events:
            next(events)
            counted, first = count_and_pid(session)
            stopped = played.server(first)
            played.stop(stopped)
            later = played.post_later(session, "increment", {})
            response = later.result(BOUND_SECONDS)
            if f"{LOST}" not in response.text:  # else it was sent before the silence was noticed
                counted = result_of(response)["count"]
            count, heir = count_and_pid(session)
            assert (count, heir != first) == (counted + 1, True)
            played.go_on(stopped)
            count, still = count_and_pid(session)
            assert (count, still) == (counted + 2, heir)
            # The one that was stopped has nothing left of before: it reads what the other wrote.
            played.kill(played.server(heir))
            ask(session, "read")  # harmless: it may leave before the death is noticed
            assert count_and_pid(session) == (counted + 3, first)
            assert ask(session, "announce", {"uri": "test://late"})["pid"] == first
            heard = next(event for event in events if event.data)
            assert heard.json["params"]["uri"] == "test://late"


@requirement("session.one-owner")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_block", [True, False], ids=["in a block", "with the answer"])
def test_a_write_of_a_server_that_was_stopped_before_it_is_refused(
    tmp_path: Path, kind: str, in_block: bool
) -> None:
    with (
        store_of(kind, tmp_path) as store,
        scene(store, tmp_path, session_arguments=LEASE) as played,
    ):
        worker = played.fleet.add_worker()
        with played.session(worker) as session:
            assert count_and_pid(session)[0] == 1
            frozen = {"name": "frozen", "in_block": in_block}
            answer = played.post_later(session, "freeze_and_increment", frozen)
            stopped = played.server(played.wait_begun("frozen"))
            played.wait_stopped(stopped)
            assert error_of(answer.result(BOUND_SECONDS)) == LOST
            count, heir = count_and_pid(session)
            assert (count, heir != stopped.process.pid) == (2, True)
            assert count_and_pid(session) == (3, heir)

            played.go_on(stopped)
            wait_until(lambda: played.refusals(stopped) > 0, "its commit to be refused")
            assert count_and_pid(session) == (4, heir)
            assert played.runs("frozen") == [stopped.process.pid]


@requirement("session.one-owner")
@pytest.mark.parametrize("tool", ["work", "work_idempotently"])
def test_a_handler_that_ran_when_its_server_was_stopped_writes_nothing_later(
    tmp_path: Path, tool: str
) -> None:
    with (
        store_of("sqlite", tmp_path) as store,
        scene(store, tmp_path, session_arguments=LEASE) as played,
    ):
        worker = played.fleet.add_worker()
        with played.session(worker) as session:
            answer = played.post_later(session, tool, {"name": "held", "steps": 2})
            first = played.wait_begun("held")
            stopped = played.server(first)
            played.stop(stopped)
            runs = [first]
            stored: dict[str, int] = {}
            if tool == "work":
                assert error_of(answer.result(BOUND_SECONDS)) == LOST
                count_and_pid(session)
                stored = {"count": 1}
            else:
                runs.append(played.wait_begun("held", times=2))
            played.let_go("held")
            if tool == "work_idempotently":
                assert result_of(answer.result(BOUND_SECONDS)) == {"pid": runs[1]}
                assert played.outcomes("held") == [f"{runs[1]} wrote"]
                stored = {"held": runs[1]}

            played.go_on(stopped)
            wait_until(lambda: played.refusals(stopped) > 0, "its commit to be refused")
            wait_until(lambda: len(played.outcomes("held")) == len(runs), "the end of the handler")
            assert played.outcomes("held")[-1] in {
                f"{first} SessionMovedError",
                f"{first} CancelledError",
            }
            assert ask(session, "read")["stored"] == stored
            assert played.runs("held") == runs


def test_a_stop_that_is_shorter_than_what_is_noticed_costs_nothing_but_time(tmp_path: Path) -> None:
    with (
        store_of("sqlite", tmp_path) as store,
        scene(store, tmp_path) as played,
        ExitStack() as opened,
    ):
        worker = played.fleet.add_worker()
        session = opened.enter_context(played.session(worker))
        _, pid = count_and_pid(session)
        other = session
        while (other_pid := count_and_pid(other)[1]) == pid:
            other = opened.enter_context(played.session(worker))
        count = ask(session, "read")["stored"]["count"]

        played.stop(played.server(pid))
        answers = [played.post_later(session, "increment", {}) for _ in range(5)]
        assert count_and_pid(other)[1] == other_pid  # goes on meanwhile
        played.go_on(played.server(pid))
        counted = [result_of(each.result(BOUND_SECONDS)) for each in answers]
        assert sorted(each["count"] for each in counted) == [count + 1 + n for n in range(5)]
        assert {each["pid"] for each in counted} == {pid}
