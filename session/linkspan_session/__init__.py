"""The session server: owns MCP sessions and hosts the user's MCP server behind gRPC.

From the wire inwards: `grpc_front` and `servicer` (gRPC in and out), `host` (what a message does),
`directory` (which session it is for; `life`, `ownership` and `balance` decide, `claiming` and
`housekeeping` act), `requests` and `hearing` (what runs), `live` (one session in memory), `kernel`
(the MCP SDK, and the only room that touches its provisional parts). What goes out: `answers` (what a
request ends in), `streams` (the answer as its handler writes it), `exchange` (the reader of the
moment). What stays: `settling` (what a request has changed), `journal` (a session's way to the
record), `store`. Beside them: `storage` (what tools keep), `tasks` (calls that outlive their
request), `lease`, `loading` (finding the user's server). Around all of it: `serving`, which puts it
together, behind the port of `listener`, in the process of `server`.
"""

from linkspan_session.storage.context import session_storage

__all__ = ["session_storage"]
