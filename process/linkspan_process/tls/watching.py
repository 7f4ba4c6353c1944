"""The files of TLS while a process runs: they are read again when they change.

Above lie the services; below lies `identity`. Invariants: what is in use can always be used: a file
that cannot replaces nothing, and is told of once. Files that are being written are left alone: a
change counts once it looks the same twice in a row.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, TypeAlias

from linkspan_process.tls.identity import (
    Identity,
    TlsFileError,
    is_open_to_others,
    load_identity,
)
from linkspan_process.tls.settings import TlsConfig, check_tls

LOOK_SECONDS: Final = 1.0
"""How often the files are looked at: a change is in use after two looks."""

LATE_SHARE: Final = 0.2
"""How much of a certificate's time is left when its end is warned of: it should be replaced by now."""

logger = logging.getLogger(__name__)

_Signature: TypeAlias = tuple[tuple[int, int, int], ...]
"""Of each file: which one it is, its length in bytes, and when it was changed, in nanoseconds."""


class TlsFiles:
    """Certificate, key and authorities, as they are now.

    Attributes:
        config: Where they are, and the name that session servers have.
        identity: What they hold. One thread replaces it, others read it.
    """

    def __init__(self, config: TlsConfig, *, clock: Callable[[], float] = time.time) -> None:
        """Read them.

        Args:
            config: Names all three.
            clock: The wall clock, in seconds since the Unix epoch.

        Raises:
            TlsFileError: One cannot be used.
        """
        self.config: Final = config
        self._clock = clock
        self._loaded = self._seen = self._signature()
        self._refused = ""
        """Why what the files hold now is not in use, as it was told."""
        self.identity: Identity = load_identity(config, clock())
        self._told: list[str] = []
        if config.tls_key is not None and is_open_to_others(config.tls_key):
            logger.warning("--tls-key %s: every user of this machine may read it", config.tls_key)
        self._tell_end()

    def seconds_left(self) -> int:
        """Return for how long the certificate is good; less than 0 once it is not."""
        return round(self.identity.ends_at - self._clock())

    def look(self) -> bool:
        """Read the files if they have changed; tells whether there is another identity now.

        Blocks for as long as the files take to read; raises nothing.
        """
        self._tell_end()
        signature = self._signature()
        settled, self._seen = signature == self._seen, signature
        if signature == self._loaded:
            self._refused = ""
            return False
        if not settled:
            return False
        try:
            identity = load_identity(self.config, self._clock())
        except TlsFileError as error:
            # Tried again: a certificate that begins in a moment is good then, and no file changes.
            if str(error) != self._refused:
                self._refused = str(error)
                logger.error("%s; the certificate that was in use stays so", error)  # noqa: TRY400 - the words say it all
            return False
        self._loaded, self._refused = signature, ""
        if identity == self.identity:
            return False
        self.identity, self._told = identity, []
        logger.info("the certificate was read again; it ends on %s", _date(identity.ends_at))
        self._tell_end()
        return True

    def _tell_end(self) -> None:
        """Warn once when the end is near, and once when it has come."""
        whole, left = self.identity.ends_at - self.identity.begins_at, self.seconds_left()
        if left > whole * LATE_SHARE:
            return
        stage = "near" if left > 0 else "past"
        if stage in self._told:
            return
        self._told.append(stage)
        where, when = self.config.tls_cert, _date(self.identity.ends_at)
        if left > 0:
            logger.warning("--tls-cert %s: ends on %s; replace it", where, when)
        else:
            logger.error("--tls-cert %s: ended on %s; others refuse it now", where, when)

    def _signature(self) -> _Signature:
        found: list[tuple[int, int, int]] = []
        for path in (self.config.tls_cert, self.config.tls_key, self.config.tls_ca):
            try:
                status = None if path is None else path.stat()
            except OSError:
                status = None
            found.append(
                (0, 0, 0) if status is None else (status.st_ino, status.st_size, status.st_mtime_ns)
            )
        return tuple(found)


def tls_files(config: TlsConfig) -> TlsFiles | None:
    """Read the files of a config; None if it has none.

    Raises:
        StartError: Some are missing, or one cannot be used.
    """
    check_tls(config)
    return TlsFiles(config) if config.wants_tls else None


@asynccontextmanager
async def watching(
    files: TlsFiles | None, on_change: Callable[[], None] = lambda: None
) -> AsyncGenerator[None]:
    """Look at the files now and then until the block is left.

    Args:
        files: The files; None for nothing to do.
        on_change: Called when there is another identity.
    """
    if files is None:
        yield
        return
    task = asyncio.create_task(_watch(files, on_change))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _watch(files: TlsFiles, on_change: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            if await asyncio.to_thread(files.look):
                on_change()
        except Exception:  # serving goes on with what is in use
            logger.exception("looking at the certificate failed")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
