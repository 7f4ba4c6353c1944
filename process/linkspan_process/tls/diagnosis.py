"""Why there is no connection to a session server, in words that say what to do.

gRPC says of a handshake that failed that a socket was closed. Above lie the services, which ask here
once they have seen that; below lies Python's own TLS, which says more.
"""

import asyncio
import ssl
from typing import Final

from linkspan_process.ports import split_address
from linkspan_process.tls.settings import TlsConfig
from linkspan_process.unix_sockets import is_unix

_SECONDS: Final = 3.0
_ALERT_SECONDS: Final = 0.5
"""How long a server may take to refuse a certificate: in TLS 1.3 that comes after the handshake."""

_NEED: Final = "it needs --tls-cert, --tls-key and --tls-ca"

_NAMES: Final = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h."""

_REFUSED: Final = (
    "it refuses this process' certificate, which is of an authority that it does not believe, or "
    "whose time is over"
)

_WORDS: Final = (
    ("WRONG_VERSION_NUMBER", "it does not speak TLS; start it with --tls-cert and the others"),
    ("RECORD_LAYER_FAILURE", "it does not speak TLS; start it with --tls-cert and the others"),
    ("ALERT", _REFUSED),
)
"""What OpenSSL's reasons mean here."""


async def diagnose(address: str, config: TlsConfig, server_name: str = "") -> str | None:
    """Try TLS with a session server that gRPC has no connection to.

    Args:
        address: Where it is, `host:port`.
        config: The settings of this process.
        server_name: The name that its certificate must hold if the setting names none; empty for
            the host of the address.

    Returns:
        What is wrong about TLS, to come after "ADDRESS: "; None if nothing of that kind can be seen,
        as when nobody is there. Bounded in time.
    """
    host, port = split_address(address)
    if is_unix(address) or port < 0:
        return None
    try:
        async with asyncio.timeout(_SECONDS):
            if not config.wants_tls:
                return await _try_without(host, port)
            return await _try_with(host, port, config, config.tls_server_name or server_name)
    except (OSError, TimeoutError):
        return None


async def _try_without(host: str, port: int) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is asked whether it speaks TLS, and told nothing
    context.set_alpn_protocols(["h2"])
    try:
        _, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.close()
    except ssl.SSLError as error:
        if _reason(error) in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return None
    return f"it speaks TLS, and this process does not; {_NEED}"


async def _try_with(host: str, port: int, config: TlsConfig, name: str) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(config.tls_ca)
        context.load_cert_chain(str(config.tls_cert), config.tls_key)
        reader, writer = await asyncio.open_connection(
            host, port, ssl=context, server_hostname=name or host
        )
    except ssl.SSLCertVerificationError as error:
        hint = (
            "; --tls-server-name says which name to look for" if error.verify_code in _NAMES else ""
        )
        return f"its certificate is not believed: {error.verify_message.rstrip('.')}{hint}"
    except ssl.SSLError as error:
        return _said(error)
    try:
        async with asyncio.timeout(_ALERT_SECONDS):
            if not await reader.read(1):  # HTTP/2 would begin; gRPC refuses without an alert
                return _REFUSED
    except ssl.SSLError as error:
        return _said(error)
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()
    return None


def _reason(error: ssl.SSLError) -> str:
    return error.reason or ""


def _said(error: ssl.SSLError) -> str:
    reason = _reason(error)
    for part, words in _WORDS:
        if part in reason:
            return words
    return f"TLS fails with {reason.lower().replace('_', ' ') or 'an error'}"
