"""Reads audit trails as whoever keeps them would: lines of JSON in a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

Event = dict[str, Any]


def events_in(path: Path) -> list[Event]:
    """Return the events that are whole."""
    text = path.read_text("ascii")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def wait_for(path: Path, name: str, **said: Any) -> Event:
    """Wait for the one event of a name that says this."""

    def found() -> list[Event]:
        return [
            event
            for event in events_in(path)
            if event["event"] == f"linkspan.audit.{name}" and said.items() <= event.items()
        ]

    wait_until(lambda: bool(found()), f"{name} {said}")
    (event,) = found()
    return event


def wait_for_count(path: Path, count: int, chosen: Callable[[Event], bool]) -> list[Event]:
    """Wait until there are so many events of a kind."""

    def found() -> list[Event]:
        return [event for event in events_in(path) if chosen(event)]

    wait_until(lambda: len(found()) >= count, f"{count} events")
    return found()
