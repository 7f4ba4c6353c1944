"""How `linkspan sessions` writes durations, sizes, strangers' text, tables and progress."""

import io
import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from linkspan.session.v1.session_pb2 import Principal, Session, SessionState
from linkspan_cli.sessions.ending import Tally
from linkspan_cli.sessions.formats import duration, fit, number, plain, size, width
from linkspan_cli.sessions.progress import Progress, rate
from linkspan_cli.sessions.selection import Selection
from linkspan_cli.sessions.table import details, header, json_line, row, state_name

NOW = 1_800_000_000.0
MINUTE, HOUR, DAY = 60, 3600, 86_400


def at(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(round(seconds * 1000))
    return timestamp


def session(
    *,
    session_id: str = "an-id",
    state: SessionState.ValueType = SessionState.SESSION_STATE_LIVE,
    client: str = "peer",
    idle: float = 5 * MINUTE,
) -> Session:
    return Session(
        session_id=session_id,
        principal=Principal(issuer="https://issuer.example", subject="ada"),
        state=state,
        protocol_version="2025-11-25",
        client_name=client,
        client_version="1.2",
        create_time=at(NOW - 3 * HOUR),
        last_active_time=at(NOW - idle),
        expire_time=at(NOW + DAY),
        requests_in_flight=4,
        owner_address="10.0.0.1:50051",
        epoch=2,
        stored_bytes=12_345,
    )


# --- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (HOUR - 1, "59 min"),
        (HOUR, "1 h"),
        (DAY - 1, "23 h"),
        (DAY, "1 d"),
        (400 * DAY, "400 d"),
    ],
)
def test_a_duration_is_written_in_its_largest_whole_unit(seconds: float, written: str) -> None:
    assert duration(seconds) == written


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (12_345, "12 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (4_194_304, "4.2 MB"),
        (10**18, "1.0 EB"),
        (2**63 - 1, "9.2 EB"),
    ],
)
def test_a_size_has_two_digits_at_least_and_never_four(count: int, written: str) -> None:
    assert size(count) == written


def test_a_count_has_commas() -> None:
    assert number(1_234_567) == "1,234,567"


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[2J", "\r", "\n", "\x07", "\x9b1m", "\u202e", "\u200b", "\u2028", "\ud800", "\u00a0"],
)
def test_what_could_move_the_cursor_is_replaced(hostile: str) -> None:
    written = plain(f"a{hostile}b")
    assert written.startswith("a\ufffd")
    assert written.isprintable()


def test_text_in_any_script_stays_as_it_is() -> None:
    assert plain("Zoë 日本 e\u0301") == "Zoë 日本 e\u0301"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", "      "),
        ("ab", "ab    "),
        ("abcdef", "abcdef"),
        ("abcdefg", "abcde…"),
        ("日本語", "日本語"),
        ("日本語語", "日本… "),
        ("e\u0301" * 7, "e\u0301" * 5 + "…"),
    ],
)
def test_text_is_fitted_into_cells_of_the_terminal(text: str, written: str) -> None:
    assert fit(text, 6) == written
    assert width(fit(text, 6)) == 6
    assert width(fit(text, 6, right=True)) == 6


def test_numbers_are_fitted_to_the_right() -> None:
    assert fit("42", 4, right=True) == "  42"


# --- tables ----------------------------------------------------------------------------------------


def test_rows_and_header_are_aligned_and_the_id_is_whole() -> None:
    long_id = "x" * 128
    rows = [
        row(session(session_id=long_id), NOW),
        row(session(session_id=long_id, client="日本語" * 20, idle=3), NOW),
        row(Session(session_id=long_id, create_time=at(NOW), last_active_time=at(NOW)), NOW),
    ]
    starts = {width(line.removesuffix(long_id)) for line in rows}
    assert starts == {width(header().removesuffix("ID"))}


def test_a_row_says_what_a_person_asks_first() -> None:
    cells = [cell for cell in row(session(), NOW).split("  ") if cell.strip()]
    assert [cell.strip() for cell in cells] == [
        "live",
        "10.0.0.1:50051",
        "3 h",
        "5 min",
        "peer 1.2",
        "2025-11-25",
        "4",
        "12 kB",
        "an-id",
    ]


def test_a_clients_name_cannot_forge_a_row() -> None:
    forged = row(session(client="a\nlive  \x1b[8m"), NOW)
    assert forged.isprintable()


def test_the_details_are_one_line_each() -> None:
    assert details(session(), NOW, counted_by_owner=True) == [
        "id                  an-id",
        "in logs and traces  13a48784935b810f",
        "state               live: a session server has it in memory",
        "principal           ada",
        "issuer              https://issuer.example",
        "resource            -",
        "client              peer 1.2",
        "protocol version    2025-11-25",
        "created             2027-01-15 05:00:00 UTC (3 h ago)",
        "last active         2027-01-15 07:55:00 UTC (5 min ago)",
        "expires             2027-01-16 08:00:00 UTC (in 1 d)",
        "owner               10.0.0.1:50051",
        "epoch               2",
        "requests running    4",
        "stored              12 kB (12,345 bytes)",
    ]


def test_the_details_own_up_to_what_is_not_known() -> None:
    lines = details(session(), NOW, counted_by_owner=False)
    assert "requests running    not known: its owner cannot be asked from here" in lines


@pytest.mark.parametrize(
    "state", [SessionState.SESSION_STATE_ENDED, SessionState.SESSION_STATE_EXPIRED]
)
def test_the_details_of_a_closed_session_say_how_long_there_will_be_any(
    state: SessionState.ValueType,
) -> None:
    lines = details(session(state=state), NOW, counted_by_owner=True)
    assert "record kept until   2027-01-16 08:00:00 UTC (in 1 d)" in lines
    assert not [line for line in lines if line.startswith("expires")]


def test_a_state_that_a_newer_server_has_is_a_number() -> None:
    newer = Session.FromString(b"\x18\x63")
    assert state_name(newer) == "state 99"
    assert "state               state 99" in details(newer, NOW, counted_by_owner=True)


def test_a_line_of_json_holds_all_in_ascii() -> None:
    line = json_line(session(client="日本\n"))
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == {
        "session_id": "an-id",
        "state": "live",
        "principal": {"issuer": "https://issuer.example", "subject": "ada", "resource": ""},
        "protocol_version": "2025-11-25",
        "client_name": "日本\n",
        "client_version": "1.2",
        "create_time": "2027-01-15T05:00:00Z",
        "last_active_time": "2027-01-15T07:55:00Z",
        "expire_time": "2027-01-16T08:00:00Z",
        "requests_in_flight": 4,
        "owner_address": "10.0.0.1:50051",
        "epoch": 2,
        "stored_bytes": 12_345,
    }


@pytest.mark.parametrize(
    ("selection", "takes"),
    [
        (Selection(), True),
        (Selection(state="live"), True),
        (Selection(state="asleep"), False),
        (Selection(owner="10.0.0.1:50051"), True),
        (Selection(owner="10.0.0.1"), False),
        (Selection(idle_for_seconds=5 * MINUTE), True),
        (Selection(idle_for_seconds=5 * MINUTE + 1), False),
        (Selection("live", "10.0.0.1:50051", 1.0), True),
        (Selection("live", "10.0.0.2:50051", 1.0), False),
    ],
)
def test_a_session_is_meant_if_all_that_is_asked_holds(selection: Selection, takes: bool) -> None:
    assert selection.takes(session(), NOW) is takes
    assert selection.takes_all is (selection == Selection())


# --- progress --------------------------------------------------------------------------------------


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("done", "seconds", "written"),
    [
        (0, 0, "0.0/s"),
        (3, 2, "1.5/s"),
        (99, 10, "9.9/s"),
        (100, 10, "10/s"),
        (12_345, 1, "12,345/s"),
    ],
)
def test_a_rate_is_a_number_a_second(done: int, seconds: float, written: str) -> None:
    assert rate(done, seconds) == written


def test_progress_is_written_over_itself_and_taken_away() -> None:
    terminal, clock = FakeTerminal(), Clock()
    progress = Progress(terminal, clock=clock)
    clock.now += 2
    progress.show("1,000 sessions", done=1000)
    clock.now += 2
    progress.show("short", done=2000)
    progress.clear()
    first, second = "1,000 sessions, 500/s", "short, 500/s"
    blanks = " " * (len(first) - len(second))
    assert terminal.getvalue() == f"\r{first}\r{second}{blanks}\r{' ' * len(second)}\r"


def test_progress_is_written_ten_times_a_second_at_most() -> None:
    terminal, clock = FakeTerminal(), Clock()
    progress = Progress(terminal, clock=clock)
    for count in range(100):
        clock.now += 0.03125
        progress.show(str(count), done=count)
    assert terminal.getvalue().count("\r") == 25


def test_progress_that_was_cleared_comes_back_at_once() -> None:
    terminal, clock = FakeTerminal(), Clock()
    progress = Progress(terminal, clock=clock)
    progress.show("one", done=1)
    progress.clear()
    progress.clear()
    progress.show("two", done=2)
    assert "two" in terminal.getvalue()


def test_progress_fits_the_terminal() -> None:
    terminal = FakeTerminal()  # without a width of its own, so it counts as one of 80
    Progress(terminal).show("x" * 200, done=1)
    assert terminal.getvalue() == "\r" + "x" * 79


def test_without_a_terminal_there_is_no_progress() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.show("x", done=1)
    progress.clear()
    assert stream.getvalue() == ""


def test_a_tally_adds_up() -> None:
    assert Tally(3, ended=1, gone=2).summary() == "ended 1, gone already 2, failed 0"
    assert Tally(5000, ended=1000, failed=1).summary() == (
        "ended 1,000, gone already 0, failed 1, left 3,999"
    )


def test_json_has_null_for_what_is_not_known_to_run() -> None:
    assert json.loads(json_line(session()))["requests_in_flight"] is not None
    line = json_line(session(), counted_by_owner=False)
    assert json.loads(line)["requests_in_flight"] is None
