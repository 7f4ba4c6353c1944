"""A server for fault tests: its tools leave marks in files, wait for files, and can be killed exactly.

`FAULT_FOLDER` names the folder. A handler adds a line with its process's id to `NAME.runs` when it
begins, goes on when there is a `NAME.go`, and tells in `NAME.outcome` what became of its writing.
Whichever process finds `die` there right after a commit takes it away and kills itself.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import ToolAnnotations

from linkspan_session.storage import session_storage

_FOLDER = Path(os.environ["FAULT_FOLDER"])
_POLL_SECONDS = 0.01
_LONGEST_WAIT_SECONDS = 40.0

mcp = MCPServer("fault-counting")


class _Death(logging.Handler):
    """Kills the process after a commit and before anybody hears of it."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("commit "):
            with suppress(FileNotFoundError):
                (_FOLDER / "die").unlink()
                os.kill(os.getpid(), signal.SIGKILL)


logging.getLogger("linkspan_session.commits").addHandler(_Death())


@mcp.tool()
async def increment() -> dict[str, int]:
    """Count, in a transaction; answers the count, and in which process."""
    storage = session_storage()
    async with storage.transaction():
        count = int(await storage.get("count", 0)) + 1
        await asyncio.sleep(0)
        await storage.put("count", count)
    return {"count": count, "pid": os.getpid()}


@mcp.tool()
async def increment_slowly(seconds: float) -> dict[str, int]:
    """Take some time, and count."""
    await asyncio.sleep(seconds)
    return await increment()


@mcp.tool()
async def increment_with_answer(name: str) -> dict[str, int]:
    """Count, so that it is committed together with the answer."""
    _mark(name)
    storage = session_storage()
    await storage.exclusive()
    count = int(await storage.get("count", 0)) + 1
    await storage.put("count", count)
    return {"count": count, "pid": os.getpid()}


@mcp.tool()
async def freeze_and_increment(name: str, in_block: bool) -> dict[str, int]:
    """Count; the first time, stop this process between reading and writing."""
    first = not (_FOLDER / f"{name}.runs").exists()
    storage = session_storage()
    if in_block:
        async with storage.transaction():
            return await _freeze_and_increment(name, freeze=first)
    await storage.exclusive()
    return await _freeze_and_increment(name, freeze=first)


@mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
async def read() -> dict[str, Any]:
    """Return all that the session stores, and in which process."""
    return {"stored": await session_storage().list(), "pid": os.getpid()}


@mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
async def rest(seconds: float) -> dict[str, int]:
    """Take some time."""
    await asyncio.sleep(seconds)
    return {"pid": os.getpid()}


@mcp.tool()
async def work(ctx: Context[Any], name: str, steps: int = 0) -> dict[str, int]:
    """Report steps, wait, write, and answer."""
    return await _work(ctx, name, steps)


@mcp.tool(annotations=ToolAnnotations(idempotent_hint=True))
async def work_idempotently(ctx: Context[Any], name: str, steps: int = 0) -> dict[str, int]:
    """Do the same, and say that it may be done twice."""
    return await _work(ctx, name, steps)


@mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
async def look(name: str) -> dict[str, int]:
    """Wait, and answer."""
    _mark(name)
    await _told_to_go(name)
    return {"pid": os.getpid()}


@mcp.tool()
async def announce(ctx: Context[Any], uri: str) -> dict[str, int]:
    """Say outside of this call that a resource has changed."""
    await ctx.session.send_resource_updated(uri)
    return {"pid": os.getpid()}


async def _freeze_and_increment(name: str, *, freeze: bool) -> dict[str, int]:
    storage = session_storage()
    count = int(await storage.get("count", 0)) + 1
    _mark(name)
    if freeze:
        os.kill(os.getpid(), signal.SIGSTOP)
    await storage.put("count", count)
    return {"count": count, "pid": os.getpid()}


async def _work(ctx: Context[Any], name: str, steps: int) -> dict[str, int]:
    _mark(name)
    await _tell_outcome(name, _report_and_write(ctx, name, steps))
    return {"pid": os.getpid()}


async def _report_and_write(ctx: Context[Any], name: str, steps: int) -> None:
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step} of {steps}")
    await _told_to_go(name)
    storage = session_storage()
    async with storage.transaction():
        await storage.put(name, os.getpid())


def _mark(name: str) -> None:
    with (_FOLDER / f"{name}.runs").open("a") as runs:
        runs.write(f"{os.getpid()}\n")


async def _told_to_go(name: str) -> None:
    async with asyncio.timeout(_LONGEST_WAIT_SECONDS):
        while not (_FOLDER / f"{name}.go").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(_POLL_SECONDS)


async def _tell_outcome(name: str, writing: Awaitable[None]) -> None:
    outcome = "wrote"
    try:
        await writing
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        with (_FOLDER / f"{name}.outcome").open("a") as outcomes:
            outcomes.write(f"{os.getpid()} {outcome}\n")
