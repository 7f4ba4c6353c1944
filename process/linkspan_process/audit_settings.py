"""What can be set about the audit trail; the same for worker and session server.

Above lie the services' configs; `audit` is what is then done. It stands apart from it, since settings
are read before anything heavy is imported.
"""

from dataclasses import dataclass
from pathlib import Path

from linkspan_process.settings import parse_optional_path, parse_yes, setting


@dataclass(frozen=True)  # no slots: a class cannot have two parents that have them
class AuditConfig:
    """The settings of the audit trail; by default there is none."""

    audit_file: Path | None = setting(
        None,
        parse=parse_optional_path,
        help="the file to which the audit trail is appended, as JSON lines; made if it is not there",
        metavar="FILE",
    )
    audit_otlp: bool = setting(
        False,
        parse=parse_yes,
        help="send the audit trail to where OTEL_LOGS_EXPORTER=otlp sends logs",
        metavar="yes",
    )
