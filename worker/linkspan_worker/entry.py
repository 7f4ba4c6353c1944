"""What the door says of a request, as `endpoint` needs it: on whose behalf it is, or why not.

Pure, and light: a worker without authentication has no door and loads none.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.util.types import AttributeValue

from linkspan_contract.envelope import Batch, Envelope
from linkspan_worker.failures import Refusal
from linkspan_worker.headers import Headers
from linkspan_worker.request_span import RequestSpan
from linkspan_worker.session_client import Principal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """Who is at the door.

    Attributes:
        principal: On whose behalf the request is; meaningless if it is refused.
        attributes: What its span says of that.
        refusal: What it is answered instead; None if it is let in.
        ends_at: When the credential ends, in seconds since the Unix epoch; None if it does not.
    """

    principal: Principal
    attributes: Mapping[str, AttributeValue]
    refusal: Refusal | None = None
    ends_at: float | None = None

    def tell(self, span: RequestSpan) -> None:
        """Put it into the request's span, and a refusal into the log of the same trace.

        For debugging only: a stranger must not choose how fast a log grows. Spans and metrics
        count refusals.
        """
        span.span.set_attributes(self.attributes)
        if self.refusal is not None:
            reason = self.attributes.get("mcp.auth.invalid_reason")
            logger.debug("not let in with %d: %s", self.refusal.status, reason)


class Door(Protocol):
    """Where requests are let in or not."""

    @property
    def ask_again_seconds(self) -> float:
        """How long somebody who was let in may listen before they are looked at again."""
        ...

    async def enter(self, headers: Headers) -> Entry:
        """Look at a request's credential, before its body is read; bounded in time."""
        ...

    def permit(self, entry: Entry, message: Envelope | Batch) -> Entry:
        """Look at what somebody who was let in asks for."""
        ...
