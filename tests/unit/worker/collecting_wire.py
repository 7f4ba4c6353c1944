"""The wire below an HTTP exchange, which keeps what is written to it."""

from linkspan_worker.http import HttpExchange


class CollectingWire:
    """Takes all that is written, at once."""

    def __init__(self) -> None:
        self.written = b""
        self.over = False
        self.aborted = False
        self.write_paused = False
        self.memory: object = None

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        pass

    def want_body(self) -> None:
        pass

    def hold_body(self) -> None:
        pass

    def ended(self, exchange: HttpExchange) -> None:
        assert exchange.response_ended
        self.over = True

    def abort(self) -> None:
        self.aborted = True

    def exchange(
        self, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> HttpExchange:
        """Return the exchange of a POST that has come in whole."""
        exchange = HttpExchange(self, client=None, server=None)
        exchange.method, exchange.path = "POST", "/mcp"
        exchange.headers.extend([(b"host", b"localhost"), *headers])
        if body:
            exchange.feed(body)
        exchange.feed_end()
        return exchange

    @property
    def status(self) -> int:
        return int(self.written.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        """The headers but the date, by name."""
        head = self.written.partition(b"\r\n\r\n")[0].decode()
        pairs = [line.partition(": ")[::2] for line in head.split("\r\n")[1:]]
        return {name: value for name, value in pairs if name != "date"}

    @property
    def body(self) -> bytes:
        body = self.written.partition(b"\r\n\r\n")[2]
        if self.headers.get("transfer-encoding") != "chunked":
            return body
        pieces: list[bytes] = []
        while body:
            size, _, body = body.partition(b"\r\n")
            pieces.append(body[: int(size, 16)])
            body = body[int(size, 16) + 2 :]
        return b"".join(pieces)
