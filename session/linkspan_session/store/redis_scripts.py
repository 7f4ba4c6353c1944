"""The Lua scripts that run inside Redis: each is one atomic step, kept in `lua/`.

A script is called by its digest, and sent in full when the server does not know it: after a start,
a `SCRIPT FLUSH`, or on another node of a cluster.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from linkspan_session import store


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the digest that Redis knows it by."""

    source: str
    digest: str


def _read(name: str) -> str:
    return files(store).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def _script(name: str, prelude: str = "") -> Script:
    source = prelude + _read(name)
    # The digest is Redis's name for the script, not a proof of anything.
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


_PRELUDE: Final = _read("session_prelude")

SESSION_GET: Final = _script("session_get", _PRELUDE)
SESSION_CREATE: Final = _script("session_create", _PRELUDE)
SESSION_CLAIM: Final = _script("session_claim", _PRELUDE)
SESSION_COMMIT: Final = _script("session_commit", _PRELUDE)
SESSION_EXPIRE: Final = _script("session_expire", _PRELUDE)
SESSION_STREAM: Final = _script("session_stream", _PRELUDE)
SESSION_EVENTS: Final = _script("session_events", _PRELUDE)
SESSION_STORAGE: Final = _script("session_storage", _PRELUDE)
PRINCIPAL_RESERVE: Final = _script("principal_reserve")
PRINCIPAL_SUSPECTS: Final = _script("principal_suspects")
NODES_HOLD: Final = _script("nodes_hold")
NODES_ALIVE: Final = _script("nodes_alive")
NODES_LEAVE: Final = _script("nodes_leave")
TASK_RESERVE: Final = _script("task_reserve")
TASK_ENLIST: Final = _script("task_enlist")
TASK_MOVE: Final = _script("task_move")
TASK_CREATE: Final = _script("task_create")
TASK_REPLACE: Final = _script("task_replace")
