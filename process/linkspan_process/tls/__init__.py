"""TLS between services: who this process is, whom it believes, and what happens when that changes.

Worker and session server use it alike: `settings` (what can be set), `identity` (what the files hold),
`watching` (files that change while the process runs), `channels` (gRPC with it) and `diagnosis` (why a
connection cannot be had). Nothing of it is loaded beyond `settings` where it is not used.
"""

from linkspan_process.tls.settings import TlsConfig, check_tls

__all__ = ["TlsConfig", "check_tls"]
