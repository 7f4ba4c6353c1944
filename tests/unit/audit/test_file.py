"""The file of a trail by itself: order, a full queue, torn writes, its end."""

import json
import os
import threading
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.waiting import wait_until

from linkspan_process.audit import AuditEvent
from linkspan_process.audit.file import AuditFile


def event(number: int) -> AuditEvent:
    return AuditEvent("linkspan.audit.request", number, {"count": number})


def numbers(path: Path) -> list[int]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["count"] for line in lines if line["event"] == "linkspan.audit.request"]


def test_events_stand_in_the_order_in_which_they_were_told(tmp_path: Path) -> None:
    trail = AuditFile(tmp_path / "trail", "test")
    for number in range(1000):
        trail.put(event(number))
    trail.close(10)
    assert numbers(tmp_path / "trail") == list(range(1000))
    assert trail.lost == 0


def test_what_was_there_stays(tmp_path: Path) -> None:
    for number in range(2):
        trail = AuditFile(tmp_path / "trail", "test")
        trail.put(event(number))
        trail.close(10)
    assert numbers(tmp_path / "trail") == [0, 1]


@requirement("audit.trouble")
def test_what_finds_no_room_is_counted_and_told_once_the_disk_takes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = threading.Event()
    full.set()
    write = os.write

    def fail_while_full(file: int, line: bytes) -> int:
        if full.is_set() and threading.current_thread().name == "audit-file":
            raise OSError(28, "No space left on device")
        return write(file, line)

    monkeypatch.setattr(os, "write", fail_while_full)
    trail = AuditFile(tmp_path / "trail", "test", max_events=3)
    for number in range(10):
        trail.put(event(number))
    assert trail.lost == 7
    full.clear()
    wait_until(lambda: "audit.lost" in (tmp_path / "trail").read_text(), "the loss to be told")
    trail.put(event(10))
    trail.close(10)
    assert numbers(tmp_path / "trail") == [0, 1, 2, 10]
    lines = [json.loads(line) for line in (tmp_path / "trail").read_text().splitlines()]
    assert [line["count"] for line in lines if line["event"].endswith("lost")] == [7]


@requirement("audit.trouble")
def test_an_event_that_was_written_in_part_is_written_again_on_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    tries: list[bytes] = []

    def tear_the_first(file: int, line: bytes) -> int:
        if threading.current_thread().name != "audit-file":
            return write(file, line)
        tries.append(line)
        return write(file, line[:7] if len(tries) == 1 else line)

    monkeypatch.setattr(os, "write", tear_the_first)
    trail = AuditFile(tmp_path / "trail", "test")
    trail.put(event(1))
    trail.close(10)
    torn, whole = (tmp_path / "trail").read_text().splitlines()
    assert torn == '{"time"'
    assert json.loads(whole)["count"] == 1


def test_a_trail_that_cannot_be_written_ends_in_time_and_says_what_it_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = os.write

    def fail(file: int, line: bytes) -> int:
        if threading.current_thread().name != "audit-file":
            return write(file, line)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    trail = AuditFile(tmp_path / "trail", "test")
    trail.put(event(1))
    trail.close(0.1)
    assert trail.lost == 1
    assert [record.message for record in caplog.records][
        -1
    ] == "1 events of the audit trail were lost"


@requirement("audit.trouble")
def test_a_disk_that_stays_full_is_not_asked_without_a_pause_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def fail(_file: int, _line: bytes) -> int:
        nonlocal tries
        tries += 1
        raise OSError(28, "No space left on device")

    trail = AuditFile(tmp_path / "trail", "test")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        trail.put(event(1))
        trail.close(0.5)
    assert 1 <= tries <= 20
    assert trail.lost == 1
