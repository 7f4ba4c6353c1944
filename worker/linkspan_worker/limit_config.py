"""What can be set about how much the worker takes on; each with its unit and default.

Above lies `config`; docs/limits.md says what each is good for.
"""

from dataclasses import dataclass
from typing import Final

from linkspan_process.errors import SettingError
from linkspan_process.settings import parse_count, parse_optional_count, parse_seconds, setting
from linkspan_worker.rates import Rate, parse_rate

_LEAST_BURST: Final = 20
"""How many requests at once any rate allows unless told: a client sends several when it connects."""


@dataclass(frozen=True)  # no slots: a class cannot have two parents that have them
class LimitConfig:
    """The settings of limits."""

    rate: float | None = setting(
        None,
        parse=parse_rate,
        help="how often each caller may send a request, such as 50/s, 100/m or 1000/h; a caller is "
        "who the credential says, or without authentication the address of the client",
        metavar="N/UNIT",
    )
    rate_burst: int | None = setting(
        None,
        parse=parse_optional_count,
        help="how many requests a caller may send at once after a pause; what the rate allows in a "
        "second unless set, and 20 at least",
        metavar="N",
    )
    max_in_flight_per_caller: int | None = setting(
        None,
        parse=parse_optional_count,
        help="how many requests of each caller are answered at once, listening streams included",
        metavar="N",
    )
    max_in_flight: int = setting(
        10_000,
        parse=parse_count,
        help="how many requests are answered at once, listening streams included",
        metavar="N",
    )
    max_connections: int = setting(
        16_384,
        parse=parse_count,
        help="how many connections of clients may be open at once",
        metavar="N",
    )
    max_connections_per_address: int | None = setting(
        None,
        parse=parse_optional_count,
        help="how many connections each address may have open at once, or for IPv6 each /64; trusted "
        "proxies may have as many as there are; not for workers behind others",
        metavar="N",
    )
    shed_above: float = setting(
        0.5,
        parse=parse_seconds,
        help="how far the worker may be behind with its work before it turns some requests away, "
        "in seconds",
        metavar="SECONDS",
    )

    @property
    def caller_rate(self) -> Rate | None:
        """How often each caller may send a request; None for as often as they like."""
        if self.rate is None:
            return None
        return Rate(self.rate, self.rate_burst or max(round(self.rate), _LEAST_BURST))

    @property
    def limits_callers(self) -> bool:
        """Whether there is anything to look at for each caller."""
        return self.rate is not None or self.max_in_flight_per_caller is not None


def check_limits(config: LimitConfig) -> None:
    """Refuse a limit that limits nothing.

    Raises:
        SettingError: It is of use only with one that is missing.
    """
    if config.rate is None and config.rate_burst is not None:
        raise SettingError("--rate-burst: is of use with --rate only")
