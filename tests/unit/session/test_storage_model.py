"""Handlers in every order that hypothesis thinks of, against a model made of dictionaries.

Every step runs to its end before the next one begins, so a step that would have to wait is not taken;
`test_storage_transactions.py` has the waiting.
"""

import asyncio
import contextvars
from collections.abc import Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.storage import NestedTransactionError, StorageLimitError
from linkspan_session.storage.data import SessionData
from linkspan_session.storage.handler import HandlerStorage
from linkspan_session.storage.values import decode, encode

T = TypeVar("T")
Model = dict[str, Any]

MAX_BYTES = 60
GONE = object()
KEYS = st.sampled_from(["a", "a/1", "a/2", "b", "ü"])
VALUES = st.none() | st.binary(max_size=30) | st.integers(0, 9) | st.lists(st.booleans())


def over(below: Model, writes: Model) -> Model:
    """What is seen of writes over what they were written over."""
    return {key: value for key, value in {**below, **writes}.items() if value is not GONE}


def size(values: Model) -> int:
    return sum(len(key.encode()) + len(encode(value)) for key, value in values.items())


class Handler:
    """One handler, and what the model says of it."""

    def __init__(self, data: SessionData) -> None:
        self.storage = HandlerStorage(data)
        self.context = contextvars.copy_context()
        self.pending: Model = {}
        self.block: Model | None = None
        self.transaction: AbstractAsyncContextManager[None] | None = None
        self.exclusive = False

    @property
    def writes(self) -> Model:
        return self.pending if self.block is None else self.block

    def sees(self, committed: Model) -> Model:
        return over(over(committed, self.pending), self.block or {})


class Storage(RuleBasedStateMachine):
    """One session."""

    handlers = Bundle("handlers")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.on_record: dict[str, bytes] = {}
        self.committed: Model = {}
        self.holder: Handler | None = None
        self.available = True
        self.data = self.woken()

    def woken(self) -> SessionData:
        async def make() -> SessionData:
            return SessionData(self.load, self.commit, max_bytes=MAX_BYTES)

        return self.runner.run(make())

    async def load(self) -> Mapping[str, bytes]:
        return dict(self.on_record)

    async def commit(self, writes: Mapping[str, bytes | None]) -> None:
        if not self.available:
            raise StoreUnavailableError
        for key, value in writes.items():
            if value is None:
                self.on_record.pop(key, None)
            else:
                self.on_record[key] = value

    def run(self, handler: Handler, step: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(30):
                return await step

        return self.runner.run(bounded(), context=handler.context)

    def teardown(self) -> None:
        self.runner.close()

    # --- the handler's steps ---------------------------------------------------------------------

    @rule(target=handlers)
    def begin(self) -> Handler:
        return Handler(self.data)

    @rule(handler=handlers, key=KEYS, value=VALUES)
    def put(self, handler: Handler, key: str, value: Any) -> None:
        before = handler.sees(self.committed)
        after = {**before, key: value}
        if size(after) > MAX_BYTES and size(after) > size(before):
            with pytest.raises(StorageLimitError):
                self.run(handler, handler.storage.put(key, value))
        else:
            self.run(handler, handler.storage.put(key, value))
            handler.writes[key] = value

    @rule(handler=handlers, key=KEYS)
    def delete(self, handler: Handler, key: str) -> None:
        there = key in handler.sees(self.committed)
        assert self.run(handler, handler.storage.delete(key)) == there
        if there:
            handler.writes[key] = GONE

    @rule(handler=handlers, key=KEYS)
    def get(self, handler: Handler, key: str) -> None:
        expected = handler.sees(self.committed).get(key, "default")
        assert self.run(handler, handler.storage.get(key, "default")) == expected

    @rule(handler=handlers, prefix=st.sampled_from(["", "a", "a/", "x"]))
    def list_all(self, handler: Handler, prefix: str) -> None:
        expected = handler.sees(self.committed)
        listed = self.run(handler, handler.storage.list(prefix))
        assert list(listed.items()) == [
            (key, expected[key]) for key in sorted(expected) if key.startswith(prefix)
        ]

    @rule(handler=handlers)
    def begin_transaction(self, handler: Handler) -> None:
        if handler.block is not None:
            with pytest.raises(NestedTransactionError):
                self.run(handler, handler.storage.transaction().__aenter__())
        elif self.holder in {None, handler}:
            handler.transaction = handler.storage.transaction()
            self.run(handler, handler.transaction.__aenter__())
            handler.block = {}
            self.holder = handler

    @rule(handler=handlers, fails=st.sampled_from([None, KeyError, asyncio.CancelledError]))
    def end_transaction(self, handler: Handler, fails: type[BaseException] | None) -> None:
        if handler.transaction is None or handler.block is None:
            return
        transaction, block = handler.transaction, handler.block
        handler.transaction = handler.block = None
        if not handler.exclusive:
            self.holder = None
        if fails is not None:
            failure = fails()

            async def leave() -> bool | None:
                return await transaction.__aexit__(fails, failure, None)

            assert not self.run(handler, leave())
            return
        after = over(self.committed, block)
        grows = size(after) > size(self.committed)
        expected: type[Exception] | None = None
        if size(after) > MAX_BYTES and grows:
            expected = StorageLimitError
        elif block and not self.available:
            expected = StoreUnavailableError
        if expected is None:
            self.run(handler, transaction.__aexit__(None, None, None))
            self.committed = after
            for key in block:
                handler.pending.pop(key, None)
        else:
            with pytest.raises(expected):
                self.run(handler, transaction.__aexit__(None, None, None))

    @rule(handler=handlers)
    def be_exclusive(self, handler: Handler) -> None:
        if self.holder in {None, handler}:
            self.run(handler, handler.storage.exclusive())
            handler.exclusive = True
            self.holder = handler

    # --- the host's steps ------------------------------------------------------------------------

    @rule(handler=consumes(handlers))
    def answer(self, handler: Handler) -> None:
        self.leave_block(handler)
        after = over(self.committed, handler.pending)
        if size(after) > MAX_BYTES and size(after) > size(self.committed):
            with pytest.raises(StorageLimitError):
                self.run(handler, handler.storage.pending())
            handler.storage.discard()
        else:
            writes = self.run(handler, handler.storage.pending())
            assert set(writes) == set(handler.pending)
            try:
                self.run(handler, self.commit(writes))
            except StoreUnavailableError:
                handler.storage.discard()
            else:
                handler.storage.committed()
                self.committed = after
        self.over(handler)

    @rule(handler=consumes(handlers))
    def fail(self, handler: Handler) -> None:
        self.leave_block(handler)
        handler.storage.discard()
        self.over(handler)

    def leave_block(self, handler: Handler) -> None:
        self.end_transaction(handler, KeyError)

    def over(self, handler: Handler) -> None:
        if self.holder is handler:
            self.holder = None

    @rule()
    def lose_or_find_the_store(self) -> None:
        self.available = not self.available

    # --- what always holds -----------------------------------------------------------------------

    @invariant()
    def memory_is_what_is_on_record(self) -> None:
        assert {key: decode(value) for key, value in self.on_record.items()} == self.committed
        assert size(self.committed) <= MAX_BYTES
        if self.data.version:
            assert {key: self.data.get(key) for key in self.data.keys()} == self.on_record  # noqa: SIM118
            assert self.data.size_bytes == size(self.committed)

    @invariant()
    def the_turns_are_with_whom_they_should_be(self) -> None:
        assert self.data.transactions.locked() == (self.holder is not None)
        assert not self.data.commits.locked()


TestStorage = Storage.TestCase
TestStorage.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
