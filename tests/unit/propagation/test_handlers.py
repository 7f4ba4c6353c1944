"""Handlers are the same kind of callable with a watch on them, and the same object without."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import grpc
import pytest

from linkspan_propagation.handlers import Handler, Observer, Watch, Watches


class Servicer:
    """Methods of each kind, as methods of an object."""

    async def coroutine(self, request: Any, context: Any) -> bytes:
        del context
        return bytes(request)

    async def generator(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        del context
        yield bytes(request)

    def function(self, request: Any, context: Any) -> bytes:
        del context
        return bytes(request)

    def iterator(self, request: Any, context: Any) -> Iterator[bytes]:
        del context
        yield bytes(request)


class Nobody:
    """An observer that hears nothing."""

    def called(self, servicer_context: Any, *, in_loop: bool) -> None:
        """Nothing."""

    def returned(self) -> None:
        """Nothing."""

    def failed(self, error: BaseException) -> None:
        """Nothing."""


def handler(name: str, method: Any) -> Any:
    make: Callable[..., Any] = getattr(grpc, f"{name}_rpc_method_handler")
    return make(method)


def watched(bare: Handler, observer: Observer | None) -> Handler:
    return Watch(bare).by(observer)


def kind(method: Any) -> tuple[bool, bool]:
    """Return by what gRPC tells how to run a method."""
    return inspect.iscoroutinefunction(method), inspect.isasyncgenfunction(method)


def methods() -> Iterator[tuple[str, Any]]:
    """Yield the kinds of calls with the kinds of methods that gRPC takes for them."""
    servicer = Servicer()
    for name in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
        if name.endswith("unary"):
            yield name, servicer.coroutine
            yield name, partial(servicer.coroutine)
            yield name, servicer.function
        else:
            yield name, servicer.coroutine
            yield name, servicer.generator
            yield name, partial(servicer.generator)
            yield name, servicer.iterator


@pytest.mark.parametrize(("name", "method"), list(methods()))
def test_a_watched_method_is_run_by_grpc_as_the_method_itself(name: str, method: Any) -> None:
    with_watch = getattr(watched(handler(name, method), Nobody()), name)
    assert with_watch is not method
    assert kind(with_watch) == kind(method)


@pytest.mark.parametrize(("name", "method"), list(methods()))
def test_without_an_observer_only_methods_of_threads_are_wrapped(name: str, method: Any) -> None:
    bare = handler(name, method)
    assert (watched(bare, None) is bare) == any(kind(method))


def test_a_handler_without_a_method_is_left_to_grpc() -> None:
    bare = handler("unary_unary", None)
    assert watched(bare, Nobody()) is bare


def test_an_async_generator_for_one_response_is_left_to_grpc() -> None:
    method = Servicer().generator
    assert watched(handler("unary_unary", method), Nobody()).unary_unary == method


class Hearing(Nobody):
    """An observer that keeps what came out of its RPC."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def failed(self, error: BaseException) -> None:
        self.heard.append(str(error))


def test_calls_of_one_method_at_once_are_each_heard_by_their_own_observer() -> None:
    async def scenario() -> None:
        together = asyncio.Barrier(2)

        async def fail(request: Any, context: Any) -> bytes:
            del context
            await together.wait()
            raise ValueError(request)

        def refuse(message: Any) -> Any:
            raise ValueError(f"unread {message}")

        watches = Watches()
        make: Callable[..., Any] = grpc.unary_unary_rpc_method_handler
        bare = make(fail, request_deserializer=refuse)
        handlers: list[Any] = []

        async def call(name: str) -> list[str]:
            observer = Hearing()
            watching: Any = watches.watched("/s/m", bare, observer)
            handlers.append(watching)
            with pytest.raises(ValueError, match=name):
                await watching.unary_unary(name, None)
            with pytest.raises(ValueError, match=name):
                watching.request_deserializer(name)
            return observer.heard

        async with asyncio.TaskGroup() as tasks:
            one, other = tasks.create_task(call("one")), tasks.create_task(call("other"))
        assert one.result() == ["one", "unread one"]
        assert other.result() == ["other", "unread other"]
        assert handlers[0] is handlers[1], "it is wrapped once"

    asyncio.run(scenario())


def test_what_another_task_writes_is_heard_by_the_observer_of_the_call_that_it_is_written_to() -> (
    None
):
    async def scenario() -> None:
        async def stay(request: Any, context: Any) -> None:
            """Answer by what is written to the context."""

        def refuse(message: Any) -> bytes:
            raise ValueError(f"unwritten {message}")

        watches = Watches()
        make: Callable[..., Any] = grpc.unary_stream_rpc_method_handler
        bare = make(stay, response_serializer=refuse)
        one, other = Hearing(), Hearing()
        others: Any = await asyncio.create_task(watch(watches, bare, other))

        async def write() -> None:
            with pytest.raises(ValueError, match="word"):
                others.response_serializer("word")

        async def call() -> None:
            watches.watched("/s/m", bare, one)
            await asyncio.create_task(write())

        await asyncio.create_task(call())
        assert (one.heard, other.heard) == ([], ["unwritten word"])

    async def watch(watches: Watches, bare: Handler, observer: Observer) -> Any:
        return watches.watched("/s/m", bare, observer)

    asyncio.run(scenario())
