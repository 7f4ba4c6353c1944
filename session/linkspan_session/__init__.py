"""The session server: owns MCP sessions and hosts the user's MCP server behind gRPC.

From the wire inwards: `servicer` (gRPC in and out), `host` (what a message does), `directory`
(which session it is for), `live` (one session in memory), `kernel` (the MCP SDK, and the only
module that touches its provisional parts). What goes out: `answers` (what a request ends in),
`streams` (the answer as its handler writes it, on record), `exchange` (the reader of the moment).
Beside them: `tasks` (calls that outlive their request), `store` (what is on record), `loading`
(finding the user's server), `server` (the process).
"""
