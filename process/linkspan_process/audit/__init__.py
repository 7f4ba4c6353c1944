"""The audit trail: who did what to which session, for those who have to be able to say so later.

Above lie the services, which say what happened; below lie a file and OTLP.
"""

from linkspan_process.audit.content import excerpt
from linkspan_process.audit.events import EVENTS, FIELDS, AuditEvent, Fields
from linkspan_process.audit.trail import Trail, audited

__all__ = ["EVENTS", "FIELDS", "AuditEvent", "Fields", "Trail", "audited", "excerpt"]
