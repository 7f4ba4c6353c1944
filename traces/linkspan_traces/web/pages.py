"""The web page: files of this package, held in memory, with a policy that lets nothing else in.

The policy allows scripts, styles and requests of this origin only, no inline script, and no way for
text to become HTML (Trusted Types, with no policy allowed to make any).
"""

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from linkspan_traces.web.exchange import Exchange

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_START: Final = "index.html"
_PATH: Final = "/page/"


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: str


class Pages:
    """The files. A path names one of them or nothing; no path reaches the file system."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        for entry in files("linkspan_traces").joinpath("page").iterdir():
            suffix = entry.name[entry.name.rfind(".") :]
            if suffix in _TYPES:
                body = entry.read_bytes()
                etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
                self._files[entry.name] = _File(body, _TYPES[suffix], etag)

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request for a file."""
        if exchange.method not in ("GET", "HEAD"):
            await exchange.json(
                HTTPStatus.METHOD_NOT_ALLOWED, {"error": "use GET"}, {"allow": "GET, HEAD"}
            )
            return
        name = _START if exchange.path == "/" else exchange.path.removeprefix(_PATH)
        file = self._files.get(name)
        if file is None or (name == _START) != (exchange.path == "/"):
            await exchange.json(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
            return
        headers = {
            "etag": file.etag,
            # Asked for each time, so that a page and its scripts are of one version.
            "cache-control": "no-cache",
            "content-security-policy": POLICY,
        }
        if exchange.header("if-none-match") == file.etag:
            await exchange.answer(HTTPStatus.NOT_MODIFIED, b"", file.content_type, headers)
        else:
            await exchange.answer(HTTPStatus.OK, file.body, file.content_type, headers)
