"""A live check for tests: what it says depends on who asks."""

import asyncio

from linkspan_auth import Identity


async def may_enter(who: Identity) -> bool:
    """Lock one member out, answer about one never, and break on one."""
    match who.subject:
        case "revoked":
            return False
        case "unanswered":
            await asyncio.Event().wait()
        case "broken":
            raise RuntimeError("the members' list is not there")
        case _:
            pass
    return True
