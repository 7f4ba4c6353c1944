"""Task records in SQLite; see `database` for what a commit promises.

Shares the file, and its one thread, with the sessions: whoever opened the database closes it.
"""

import json
import sqlite3
from typing import Final

from linkspan_session.errors import RecordTooNewError
from linkspan_session.store.base import Principal
from linkspan_session.store.database import SqliteDatabase
from linkspan_session.store.nodes import NodeId
from linkspan_session.store.tasks import TaskId, TaskQuestion, TaskRecord, TaskStatus

_RECORD_VERSION: Final = 1
"""The layout of a record; each row says its own."""

_COLUMNS: Final = (
    "task_id, record_version, issuer, subject, resource, tool, runner, status, finished, message, "
    "questions, asked, outcome, created_millis, updated_millis, expires_millis, "
    "poll_interval_millis, version"
)


class SqliteTaskStore:
    """A `TaskStore` in an open database."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def create(self, record: TaskRecord, *, max_unfinished: int, max_kept: int) -> bool:
        """See `TaskStore.create`. Removes what has expired, so that the file does not grow."""

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute(
                "DELETE FROM tasks WHERE expires_millis <= ?", (record.created_millis,)
            )
            principal = record.principal
            kept, unfinished = connection.execute(
                "SELECT COUNT(*), COUNT(*) FILTER (WHERE NOT finished) FROM tasks "
                "WHERE issuer = ? AND subject = ? AND resource = ?",
                (principal.issuer, principal.subject, principal.resource),
            ).fetchone()
            if kept >= max_kept or unfinished >= max_unfinished:
                return False
            places = ", ".join("?" for _ in _COLUMNS.split(","))
            connection.execute(
                f"INSERT INTO tasks ({_COLUMNS}) VALUES ({places})",  # noqa: S608
                _row_of(record),
            )
            return True

        return await self._database.write(work)

    async def get(self, task_id: TaskId, now_millis: int) -> TaskRecord | None:
        """See `TaskStore.get`."""

        def work(connection: sqlite3.Connection) -> TaskRecord | None:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM tasks WHERE task_id = ? AND expires_millis > ?",  # noqa: S608
                (task_id, now_millis),
            ).fetchone()
            return None if row is None else _record_of(row)

        return await self._database.read(work)

    async def replace(self, record: TaskRecord) -> bool:
        """See `TaskStore.replace`."""

        def work(connection: sqlite3.Connection) -> bool:
            written = connection.execute(
                "UPDATE tasks SET status = ?, finished = ?, message = ?, questions = ?, asked = ?, "
                "outcome = ?, updated_millis = ?, expires_millis = ?, version = version + 1 "
                "WHERE task_id = ? AND version = ?",
                (
                    record.status,
                    int(record.finished),
                    record.message,
                    _questions_json(record),
                    record.asked,
                    record.outcome_json,
                    record.updated_millis,
                    record.expires_millis,
                    record.task_id,
                    record.version,
                ),
            )
            return written.rowcount > 0

        return await self._database.write(work)

    async def unfinished(self, runner: NodeId) -> dict[TaskId, int]:
        """See `TaskStore.unfinished`."""

        def work(connection: sqlite3.Connection) -> dict[TaskId, int]:
            rows = connection.execute(
                "SELECT task_id, version FROM tasks WHERE runner = ? AND NOT finished", (runner,)
            )
            return {TaskId(task_id): version for task_id, version in rows}

        return await self._database.read(work)


def _row_of(record: TaskRecord) -> tuple[str | int | None, ...]:
    return (
        record.task_id,
        _RECORD_VERSION,
        record.principal.issuer,
        record.principal.subject,
        record.principal.resource,
        record.tool,
        record.runner,
        record.status,
        int(record.finished),
        record.message,
        _questions_json(record),
        record.asked,
        record.outcome_json,
        record.created_millis,
        record.updated_millis,
        record.expires_millis,
        record.poll_interval_millis,
        record.version,
    )


def _questions_json(record: TaskRecord) -> str:
    return json.dumps(
        [(each.key, each.request_json, each.answer_json) for each in record.questions]
    )


def _record_of(
    row: tuple[
        str,
        int,
        str,
        str,
        str,
        str,
        str,
        str,
        int,
        str | None,
        str,
        int,
        str | None,
        int,
        int,
        int,
        int,
        int,
    ],
) -> TaskRecord:
    (
        task_id,
        record_version,
        issuer,
        subject,
        resource,
        tool,
        runner,
        status,
        _finished,
        message,
        questions_json,
        asked,
        outcome_json,
        created_millis,
        updated_millis,
        expires_millis,
        poll_interval_millis,
        version,
    ) = row
    if record_version > _RECORD_VERSION:
        raise RecordTooNewError
    return TaskRecord(
        task_id=TaskId(task_id),
        principal=Principal(issuer, subject, resource),
        tool=tool,
        runner=NodeId(runner),
        status=TaskStatus(status),
        message=message,
        questions=tuple(TaskQuestion(*each) for each in json.loads(questions_json)),
        asked=asked,
        outcome_json=outcome_json,
        created_millis=created_millis,
        updated_millis=updated_millis,
        expires_millis=expires_millis,
        poll_interval_millis=poll_interval_millis,
        version=version,
    )
