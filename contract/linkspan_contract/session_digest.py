"""How a session is called where its id must not stand: in logs and in spans.

Whoever knows a session's id may be able to use the session; its digest tells two sessions apart and
opens none.
"""

import hashlib
from typing import Final

_CHARS: Final = 16


def session_digest(session_id: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of a session's id."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:_CHARS]
