"""What `linkspan run` says once it serves: where, and how to point a client at it.

Pure: text out of addresses.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from linkspan_process.ready import ready_line

_HEADER: Final = "Authorization"
_CREDENTIAL: Final = "Bearer CREDENTIAL"
_DEFAULT_DATA: Final = ".linkspan"
_CALL: Final = """{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
      "name": "add", "arguments": {"a": 2, "b": 3}, "_meta": {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientCapabilities": {}}}}"""
"""What the call of the example's plainest tool sends."""


def greeting(
    app: str,
    mcp: str,
    grpc: Sequence[str],
    data: str,
    page: str | None,
    metrics: Sequence[str],
    environ: Mapping[str, str],
    *,
    command: str = "linkspan",
    example: bool = False,
    grpcurl: str = "",
) -> str:
    """Write the greeting; its last line is the ready line, for programs.

    Args:
        app: What is hosted, as it was named.
        mcp: The address that MCP clients use.
        grpc: The addresses that gRPC clients use; one is as good as the other.
        data: The folder of the session store.
        page: Where traces are to be seen; None if they go elsewhere.
        metrics: Where Prometheus finds metrics: of session servers, then of workers.
        environ: The environment, to say where traces go and whether clients need a credential.
        command: How this program is called from here.
        example: Whether the example server is hosted, whose tools are known.
        grpcurl: What comes between `grpcurl` and `list`; empty for a plain address.
    """
    issuers = environ.get("LINKSPAN_WORKER_AUTH_ISSUER")
    guarded = issuers or environ.get("LINKSPAN_WORKER_AUTH_API_KEYS")
    flag = f' --header "{_HEADER}: {_CREDENTIAL}"' if guarded else ""
    field = f', "headers": {{"{_HEADER}": "{_CREDENTIAL}"}}' if guarded else ""
    config = f'{{"mcpServers": {{"linkspan": {{"type": "http", "url": "{mcp}"{field}}}}}}}'
    inspector = (
        f"npx @modelcontextprotocol/inspector --cli {mcp} --transport http "
        f"--method tools/list{flag}"
    )
    needed = "\n\nCREDENTIAL is an API key or an access token (docs/auth.md)" if guarded else ""
    if issuers:
        needed += "; clients that speak OAuth need no header"
    shown = f"\n  metrics   {', '.join(metrics)}" if metrics else ""
    addresses = {"mcp": mcp, "grpc": grpc[0]}
    if page is not None:
        addresses["traces"] = page
    return f"""
Linkspan hosts {app}

  MCP       {mcp}
  gRPC      {", ".join(grpc)}
  sessions  {data}
  traces    {page or _traces(environ)}{"  (open it, call a tool, and look)" if page else ""}{shown}
{_first_trace(_call(mcp, guarded=bool(guarded)) if example else "", data, page, command)}
Point a client at it:

  Claude Code       claude mcp add --transport http linkspan {mcp}{flag}
  most others       {config}
  MCP Inspector     {inspector}
  grpcurl           grpcurl {grpcurl or "-plaintext " + grpc[0]} list{needed}

Ctrl-C stops it when what runs has ended, a second one at once; sessions stay.

{ready_line(addresses)}"""


def _call(mcp: str, *, guarded: bool) -> str:
    """Write a call of the example's plainest tool, without a session."""
    header = f"-H '{_HEADER}: {_CREDENTIAL}' " if guarded else ""
    return f"""
  curl {mcp} -H 'content-type: application/json' \\
    -H 'mcp-protocol-version: 2026-07-28' -H 'mcp-method: tools/call' -H 'mcp-name: add' \\
    {header}-d '{_CALL}'
"""


def _first_trace(call: str, data: str, page: str | None, command: str) -> str:
    """Say how to get from here to the first waterfall; nothing if traces go elsewhere."""
    if page is None:
        return ""
    where = "" if data == _DEFAULT_DATA else f" --data {shlex.quote(data)}"
    return f"""
Call a tool, and see where its time went, at {page} or here:
{call}
  {command} traces show last{where}
"""


def _traces(environ: Mapping[str, str]) -> str:
    """Say where traces go, as the set-up of telemetry reads it."""
    from linkspan_propagation.settings import TelemetrySettings  # noqa: PLC0415 - brings gRPC

    settings = TelemetrySettings.from_env(environ)
    if settings.disabled or not settings.exporters:
        return (
            "nowhere; OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 sends them to a collector"
        )
    places = {
        "console": "the terminal",
        "otlp": f"{settings.endpoint or 'the collector on this machine'} ({settings.protocol})",
    }
    return ", ".join(places[exporter] for exporter in settings.exporters)
