"""Whether somebody whose credential is good may still come in: a question to code of the user's.

A token says what was true when it was issued. Whoever must lock a member out at once writes a
coroutine function that says so, and it is asked on every request, for a bounded time. What it raises,
or does not say in time, is no answer: then nobody is let in, and nobody is told that their
credential is bad.
"""

import asyncio
import importlib
import importlib.util
import inspect
import logging
import sys
from pathlib import Path
from typing import Protocol, cast

from linkspan_auth.errors import AuthConfigurationError, CredentialError, UnavailableError
from linkspan_auth.model import Identity, Reason

_RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)


class LiveCheck(Protocol):
    """What a user implements: `async def may_enter(who: Identity) -> bool`."""

    async def __call__(self, who: Identity, /) -> bool:
        """Tell whether somebody may still come in; cancelled if it takes too long."""
        ...


class BoundedCheck:
    """A live check with a bound on its time."""

    def __init__(self, check: LiveCheck, *, timeout_seconds: float) -> None:
        self._check = check
        self._timeout_seconds = timeout_seconds

    async def ask(self, who: Identity) -> None:
        """Ask.

        Raises:
            CredentialError: They may not come in any more.
            UnavailableError: There was no answer.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._check(who)
        except TimeoutError:
            logger.warning("the live check did not answer in %g s", self._timeout_seconds)
            raise UnavailableError(Reason.CHECK_AWAY, _RETRY_SECONDS) from None
        except Exception:
            logger.exception("the live check failed")
            raise UnavailableError(Reason.CHECK_AWAY, _RETRY_SECONDS) from None
        if answer is not True:
            raise CredentialError(Reason.REVOKED)


def load_check(spec: str) -> LiveCheck:
    """Import a live check.

    Args:
        spec: `package.module:function` or `path/to/file.py:function`.

    Raises:
        AuthConfigurationError: It cannot be imported, or is no coroutine function.
    """
    place, _, name = spec.partition(":")
    if not place or not name:
        raise AuthConfigurationError(f"{spec!r}: name a module and a function, as in my_auth:check")
    try:
        found: object = getattr(_import(place), name)
    except (Exception, SystemExit) as error:
        raise AuthConfigurationError(f"{spec}: cannot be imported: {error!r}") from error
    call: object = getattr(found, "__call__", None)  # noqa: B004 - its own coroutine is looked for
    if not inspect.iscoroutinefunction(found) and not inspect.iscoroutinefunction(call):
        raise AuthConfigurationError(f"{spec}: must be a coroutine function, async def")
    return cast("LiveCheck", found)


def _import(place: str) -> object:
    if not place.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(place)
    path = Path(place)
    spec = importlib.util.spec_from_file_location(f"linkspan_check_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module
