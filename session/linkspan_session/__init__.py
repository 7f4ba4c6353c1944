"""The session server: owns MCP sessions and hosts the user's MCP server behind gRPC.

From the wire inwards: `servicer` (gRPC in and out), `host` (which session, which rules), `live`
(one session in memory), `kernel` (the MCP SDK, and the only module that touches its provisional
parts). Beside them: `exchange` (the stream of one answer), `store` (where sessions are on record),
`loading` (finding the user's server), `server` (the process).
"""
