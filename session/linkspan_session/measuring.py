"""What a session server measures, if anybody asks: sessions, streams, the store, how long things take.

Above lies `serving`, which makes `Measures` only where metrics are on; below lie `metrics_table`,
`tallies`, `kernel.measured` and `store.measured`.
"""

import time
from collections.abc import Iterable
from typing import Any, Final

from linkspan_process.metrics import Meters, histogram, observe
from linkspan_process.tls.watching import TlsFiles
from linkspan_session import metrics_table as table
from linkspan_session.directory import SessionDirectory
from linkspan_session.kernel import App, HostedServer, MeasuredServer
from linkspan_session.operations import Operations
from linkspan_session.store import SessionRecord, Store
from linkspan_session.store.measured import MeasuredStore, StoreTimes
from linkspan_session.tallies import open_exchanges, tallies

_METER: Final = "linkspan.session"
_TRIES: Final = 3


class Measures:
    """Where a session server records.

    Attributes:
        meters: Those of the process.
    """

    def __init__(self, meters: Meters) -> None:
        self.meters: Final = meters
        self._meter = meters.meter(_METER)
        self._times = StoreTimes(histogram(self._meter, table.STORE_DURATION))
        self._operations = Operations(histogram(self._meter, table.OPERATION_DURATION))

    def store(self, store: Store) -> Store:
        """Return a store whose operations are timed."""
        return MeasuredStore(store, self._times)

    def server(self, app: App, lifespan_state: Any) -> HostedServer:
        """Make what handles messages, and is timed."""
        return MeasuredServer(app, lifespan_state, operations=self._operations)

    def certificate(self, tls: TlsFiles | None) -> None:
        """Have it read for how long the certificate is good, if there is one."""
        if tls is not None:
            observe(self._meter, table.CERTIFICATE_LEFT, tls.seconds_left)

    def sessions(self, sessions: SessionDirectory) -> None:
        """Have all that is a number now read whenever metrics are collected."""
        meter, operations, times = self._meter, self._operations, self._times
        observe(meter, table.SESSIONS, lambda: _by_state(sessions))
        observe(meter, table.CREATIONS, lambda: tallies.creations)
        observe(meter, table.WAKES, lambda: tallies.wakes)
        observe(meter, table.TAKE_OVERS, lambda: tallies.take_overs)
        observe(meter, table.SLEEPS, lambda: tallies.sleeps)
        observe(meter, table.LOSSES, lambda: tallies.losses)
        observe(meter, table.ENDS, lambda: tallies.ends)
        observe(meter, table.SWEPT, lambda: tallies.swept)
        observe(meter, table.REQUESTS, lambda: operations.running)
        observe(meter, table.STREAMS, lambda: len(open_exchanges))
        observe(meter, table.BUFFERED, open_exchanges.buffered_bytes)
        observe(meter, table.STORE_PENDING, lambda: times.pending)
        durations = histogram(meter, table.SESSION_DURATION)

        def ended(record: SessionRecord) -> None:
            seconds = max(0.0, time.time() - record.created_millis / 1000)
            shaken = record.handshake
            durations.record(
                seconds, {} if shaken is None else {"mcp.protocol.version": shaken.protocol_version}
            )

        tallies.on_end = ended


def _by_state(sessions: SessionDirectory) -> Iterable[tuple[int, dict[str, str]]]:
    """Count the sessions in memory; read in another thread than the one that changes them."""
    counts = {"created": 0, "live": 0}
    for _ in range(_TRIES):
        try:
            live = sessions.live()
        except RuntimeError:  # it changed meanwhile
            continue
        for each in live:
            counts["created" if each.record.handshake is None else "live"] += 1
        return tuple((count, {"state": state}) for state, count in counts.items())
    return ()
