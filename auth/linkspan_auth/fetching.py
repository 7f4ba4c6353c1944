"""Fetching small JSON documents from an issuer: bounded in time and size, and from nowhere else.

No redirect is followed: an answer that points elsewhere is a failure. Plain HTTP is for loopback
only. The body is asked for, and taken, as it is: what is compressed is not unpacked.
"""

import asyncio
import ipaddress
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx2

from linkspan_auth.errors import AuthConfigurationError, FetchError

MAX_DOCUMENT_BYTES: Final = 512 * 1024
"""How large a document may be."""

FETCH_SECONDS: Final = 5.0
"""How long one fetch may take, from the first step to the last byte."""

_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}


def check_url(url: str) -> str:
    """Return an address if it is one to fetch from: HTTPS, or HTTP on loopback.

    Raises:
        AuthConfigurationError: It is not.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise AuthConfigurationError(f"{url!r} is not a URL") from None
    secure = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host or ""))
    if not host or not secure or not url.isascii() or any(c in url for c in ' "\\\t\r\n'):
        raise AuthConfigurationError(f"{url!r} must be an https URL (http on loopback only)")
    if parts.username is not None or parts.fragment:
        raise AuthConfigurationError(f"{url!r} must have neither user nor fragment")
    return url


class Fetcher:
    """Fetches documents over one HTTP client."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def get(self, url: str) -> object:
        """Return the JSON document at an address.

        Raises:
            FetchError: It cannot be had.
        """
        return await self._json("GET", url, {}, None)

    async def post_form(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> object:
        """Post a form and return the JSON document that it is answered with.

        Raises:
            FetchError: There is none.
        """
        return await self._json("POST", url, headers, form)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _json(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> object:
        try:
            check_url(url)
            async with asyncio.timeout(FETCH_SECONDS):
                body = await self._body(method, url, headers, form)
            document: object = json.loads(body)
        except TimeoutError:
            raise FetchError(f"{url}: no answer within {FETCH_SECONDS:g} s") from None
        except AuthConfigurationError as error:  # the issuer's metadata name it, not the settings
            raise FetchError(str(error)) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise FetchError(f"{url}: {type(error).__name__}") from None
        except (ValueError, RecursionError):
            raise FetchError(f"{url}: the answer is not JSON") from None
        return document

    async def _body(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> bytes:
        async with self._client.stream(
            method, url, headers={**_HEADERS, **headers}, data=form, follow_redirects=False
        ) as response:
            if response.status_code != HTTPStatus.OK:
                raise FetchError(
                    f"{url}: status {response.status_code}", status=response.status_code
                )
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise FetchError(f"{url}: the answer is over {MAX_DOCUMENT_BYTES} bytes")
            return bytes(body)


def open_fetcher() -> Fetcher:
    """Make a fetcher; it connects when it is used."""
    limits = httpx2.Limits(max_connections=32, max_keepalive_connections=8)
    return Fetcher(httpx2.AsyncClient(timeout=FETCH_SECONDS, limits=limits))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
