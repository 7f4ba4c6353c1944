"""How a session is named here: by the digest of its id, which a program may have told or not."""

import re
from typing import Final

from linkspan_contract.session_digest import session_digest

_DIGEST: Final = re.compile(r"[0-9a-f]{16}")


def digest_of(session: str) -> str:
    """Return the digest by which a session is named here, of a digest or a session's id."""
    return session if _DIGEST.fullmatch(session) else session_digest(session)
