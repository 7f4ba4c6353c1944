"""The worker: the HTTP edge that speaks MCP with clients and holds no session state.

From the wire inwards: `app` (ASGI, routes), `endpoint` (one `/mcp` request, from its span to its
last byte), `admission` (pure: what a request is, or why it is refused), `relay` (events to one
client), `reply` (JSON or an event stream), `session_client` (the only module that calls the
session service). Beside them: `failures` (the table from gRPC to HTTP and JSON-RPC), `request_span`
(what the span says), `server` (the process).
"""
