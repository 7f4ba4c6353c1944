"""How long the store takes for each operation, if anybody asks.

Owns a stand-in for each of the three stores, which times what it hands on. Above lies `serving`,
which puts them there only where metrics are on; below lies any `Store`.
"""

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from opentelemetry.metrics import Histogram

from linkspan_session.store.base import SessionStore
from linkspan_session.store.nodes import NodeRegistry
from linkspan_session.store.opening import Store
from linkspan_session.store.tasks import TaskStore


class StoreTimes:
    """The operations of a store.

    Attributes:
        pending: How many were begun and are not done.
    """

    def __init__(self, durations: Histogram) -> None:
        self.pending = 0
        self._durations = durations

    async def timed(self, operation: str, doing: Awaitable[Any]) -> Any:
        """Wait for an operation, and record how long it took and how it ended."""
        attributes = {"operation": operation}
        started = time.perf_counter()
        self.pending += 1
        try:
            return await doing
        except BaseException as error:
            attributes["error.type"] = type(error).__name__
            raise
        finally:
            self.pending -= 1
            self._durations.record(time.perf_counter() - started, attributes)


class MeasuredStore:
    """A `Store` whose operations are timed."""

    def __init__(self, store: Store, times: StoreTimes) -> None:
        self._store = store
        self.sessions: Final = cast("SessionStore", _Timed(store.sessions, "sessions", times))
        self.tasks: Final = cast("TaskStore", _Timed(store.tasks, "tasks", times))
        self.nodes: Final = cast("NodeRegistry", _Timed(store.nodes, "nodes", times))

    async def close(self) -> None:
        """See `Store.close`."""
        await self._store.close()


class _Timed:
    """Has the attributes of a store, and times those that are operations."""

    def __init__(self, store: object, part: str, times: StoreTimes) -> None:
        self._store = store
        self._part = part
        self._times = times

    def __getattr__(self, name: str) -> Any:
        found: Any = getattr(self._store, name)
        if not callable(found):
            return found
        operation = f"{self._part}.{name}"
        timed = self._times.timed

        @functools.wraps(found)
        def call(*arguments: Any, **named: Any) -> Awaitable[Any]:
            return timed(
                operation, cast("Callable[..., Awaitable[Any]]", found)(*arguments, **named)
            )

        setattr(self, name, call)  # the next call finds it without asking
        return call
