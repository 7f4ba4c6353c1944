"""A `TaskStore` in Redis: a task's record lies in a slot of its own, the indexes in others.

- A place among the principal's tasks is taken before the record is added, so racing calls cannot
  exceed the bounds. After a crash in between it is free again when the task would have expired.
- The indexes follow a record that was replaced. One that did not, after a crash, is told from the
  record when it matters: when the places are full, and when a runner's tasks are asked for.
- All keys expire. How long they stay counts from the time that the record names, never from the
  server's clock; whether a task's time is over is decided by who reads it.
"""

import json
from contextlib import suppress
from typing import Any, Final

from linkspan_session.errors import RecordTooNewError, StoreUnavailableError
from linkspan_session.store import redis_scripts as scripts
from linkspan_session.store.base import Principal
from linkspan_session.store.nodes import NodeId
from linkspan_session.store.redis_keys import (
    principal_task_keys,
    runner_tasks_key,
    suspects_mark_key,
    task_key,
)
from linkspan_session.store.redis_link import RedisLink, new_token, together
from linkspan_session.store.redis_records import answered
from linkspan_session.store.tasks import TaskId, TaskQuestion, TaskRecord, TaskStatus

_RECORD_VERSION: Final = 1
"""The layout of the records that are written here; each says its own, in the field `layout`."""

_GRACE_MILLIS: Final = 60_000
"""How long a record stays beyond its time."""

_LOOK_AGAIN_SECONDS: Final = 10
"""How long after places were looked through they are not looked through again."""

_MAX_SUSPECTS: Final = 1000


class RedisTaskStore:
    """A `TaskStore` over a link."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def create(self, record: TaskRecord, *, max_unfinished: int, max_kept: int) -> bool:
        """See `TaskStore.create`."""
        if not await self._take_place(record, max_unfinished, max_kept):
            return False
        now, left = record.created_millis, _left_millis(record, record.created_millis)
        await self._link.run(
            scripts.TASK_ENLIST,
            [runner_tasks_key(record.runner)],
            record.task_id,
            now,
            record.expires_millis,
            left,
        )
        (word,) = await self._link.run(
            scripts.TASK_CREATE,
            [task_key(record.task_id)],
            _RECORD_VERSION,
            new_token(),
            left,
            "version",
            record.version,
            "finished",
            int(record.finished),
            "expires",
            record.expires_millis,
            "body",
            _body_of(record),
        )
        return bool(word == b"ok")

    async def get(self, task_id: TaskId, now_millis: int) -> TaskRecord | None:
        """See `TaskStore.get`."""
        layout, version, expires, body = await self._fields(task_id, "version", "expires", "body")
        if layout is None:
            return None
        if int(layout) > _RECORD_VERSION:
            raise RecordTooNewError
        if int(expires) <= now_millis:
            return None
        return _record_of(int(version), body)

    async def replace(self, record: TaskRecord) -> bool:
        """See `TaskStore.replace`. A record that a newer version wrote raises, too."""
        left = _left_millis(record, record.updated_millis)
        answer = await self._link.run(
            scripts.TASK_REPLACE,
            [task_key(record.task_id)],
            _RECORD_VERSION,
            new_token(),
            left,
            record.version,
            int(record.finished),
            record.expires_millis,
            _body_of(record),
        )
        word, rest = answered(answer)
        if word != "ok":
            return False
        if rest[0] == b"1":
            with suppress(StoreUnavailableError):  # it is written, and that is found out later
                await self._move(record, left)
        return True

    async def unfinished(self, runner: NodeId) -> dict[TaskId, int]:
        """See `TaskStore.unfinished`."""
        key = runner_tasks_key(runner)
        members: list[bytes] = await self._link.command("ZRANGE", key, 0, -1)
        task_ids = [TaskId(member.decode()) for member in members]
        found = await together(self._fields(each, "version", "finished") for each in task_ids)
        versions: dict[TaskId, int] = {}
        finished: list[TaskId] = []
        for task_id, (_layout, version, over) in zip(task_ids, found, strict=True):
            if over == b"1":
                finished.append(task_id)
            elif version is not None:
                versions[task_id] = int(version)
        if finished:
            await self._link.command("ZREM", key, *finished)
        return versions

    async def _fields(self, task_id: TaskId, *names: str) -> list[Any]:
        """Return the layout of a record and these fields; all None if there is no such record."""
        values: list[Any] = await self._link.command("HMGET", task_key(task_id), "layout", *names)
        return values

    async def _take_place(self, record: TaskRecord, max_unfinished: int, max_kept: int) -> bool:
        async def take() -> bool:
            (word,) = await self._link.run(
                scripts.TASK_RESERVE,
                principal_task_keys(record.principal),
                record.task_id,
                record.created_millis,
                record.expires_millis,
                max_unfinished,
                max_kept,
                _GRACE_MILLIS,
                int(record.finished),
            )
            return bool(word == b"taken")

        return await take() or (await self._free_places(record.principal) and await take())

    async def _free_places(self, principal: Principal) -> bool:
        """Free the places of tasks that have finished; tells whether there were any."""
        _, key = principal_task_keys(principal)
        _, *suspects = await self._link.run(
            scripts.PRINCIPAL_SUSPECTS,
            [key, suspects_mark_key(key)],
            _LOOK_AGAIN_SECONDS,
            0,
            _MAX_SUSPECTS,
        )
        found = await together(self._fields(TaskId(each.decode()), "finished") for each in suspects)
        over = [each for each, (_, end) in zip(suspects, found, strict=True) if end == b"1"]
        if over:
            await self._link.command("ZREM", key, *over)
        return bool(over)

    async def _move(self, record: TaskRecord, left_millis: int) -> None:
        stays = int(not record.finished)
        moved = (record.task_id, record.expires_millis, left_millis)
        keys = principal_task_keys(record.principal)
        await self._link.run(scripts.TASK_MOVE, keys, *moved, 1, stays)
        await self._link.run(scripts.TASK_MOVE, [runner_tasks_key(record.runner)], *moved, stays)


def _left_millis(record: TaskRecord, now_millis: int) -> int:
    return max(record.expires_millis - now_millis, 0) + _GRACE_MILLIS


def _body_of(record: TaskRecord) -> str:
    principal = record.principal
    return json.dumps(
        {
            "task_id": record.task_id,
            "principal": [principal.issuer, principal.subject, principal.resource],
            "tool": record.tool,
            "runner": record.runner,
            "status": record.status,
            "message": record.message,
            "questions": [
                [each.key, each.request_json, each.answer_json] for each in record.questions
            ],
            "asked": record.asked,
            "outcome_json": record.outcome_json,
            "created_millis": record.created_millis,
            "updated_millis": record.updated_millis,
            "expires_millis": record.expires_millis,
            "poll_interval_millis": record.poll_interval_millis,
        }
    )


def _record_of(version: int, body: bytes) -> TaskRecord:
    values: dict[str, Any] = json.loads(body)
    return TaskRecord(
        task_id=TaskId(values["task_id"]),
        principal=Principal(*values["principal"]),
        tool=values["tool"],
        runner=NodeId(values["runner"]),
        status=TaskStatus(values["status"]),
        message=values["message"],
        questions=tuple(TaskQuestion(*each) for each in values["questions"]),
        asked=values["asked"],
        outcome_json=values["outcome_json"],
        created_millis=values["created_millis"],
        updated_millis=values["updated_millis"],
        expires_millis=values["expires_millis"],
        poll_interval_millis=values["poll_interval_millis"],
        version=version,
    )
