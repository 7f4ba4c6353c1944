"""HTTP/1.1 as the worker needs it: connections in, one exchange for each request, nothing of MCP.

`parser` is httptools; `connection` turns bytes into exchanges and keeps their order; `exchange` is
what an application reads and writes; `server` has the sockets, and the end of it all. Written for
this worker because a general ASGI server costs it more than twice as much for each request, and has
no word for a client that leaves or must be cut off.
"""

from linkspan_worker.http.exchange import ClientGoneError, HttpExchange
from linkspan_worker.http.server import HttpBounds, HttpServer, HttpTimes

__all__ = ["ClientGoneError", "HttpBounds", "HttpExchange", "HttpServer", "HttpTimes"]
