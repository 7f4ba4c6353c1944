"""The worker: the HTTP edge that speaks MCP with clients and holds no session state.

From the wire inwards: `app` (ASGI, routes), `endpoint` (one `/mcp` request, from its span to its
last byte), `admission` (pure: what a request is, or why it is refused), `relay` (events to one
client), `reply` (JSON or an event stream), `session_client` (what session servers are asked).
Below that lie `calls` (one answer, however many sends it takes), `sends` (whom to call, and when),
`attempts` (pure: what follows from a failed call), `owners` (which server owns which session),
`placement` (the channels) and `readiness`. Beside them: `failures` (the table from gRPC to HTTP and
JSON-RPC), `request_span` (what the span says), `targets` (pure: what `--session` takes), `server`
(the process).
"""
