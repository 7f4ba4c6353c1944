"""The tools served by the MCP SDK itself: `python -m bench.peers.sdk_server json` or `... sse`.

Sessions are in memory; there is no event store, and no limit to the number of sessions.
"""

import sys

from bench.peers.hosted import mcp
from bench.peers.serving import serve

if __name__ == "__main__":
    serve(mcp.streamable_http_app(json_response=sys.argv[1] == "json", max_sessions=None))
