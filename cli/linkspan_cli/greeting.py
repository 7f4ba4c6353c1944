"""What `linkspan run` says once it serves: where, and how to point a client at it.

Pure: text out of addresses.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from linkspan_process.ready import ready_line
from linkspan_propagation.settings import TelemetrySettings

_HEADER: Final = "Authorization"
_CREDENTIAL: Final = "Bearer CREDENTIAL"


def greeting(
    app: str,
    mcp: str,
    grpc: Sequence[str],
    data: str,
    page: str | None,
    metrics: Sequence[str],
    environ: Mapping[str, str],
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

Point a client at it:

  Claude Code       claude mcp add --transport http linkspan {mcp}{flag}
  most others       {config}
  MCP Inspector     {inspector}
  grpcurl           grpcurl -plaintext {grpc[0]} list{needed}

Ctrl-C stops it when what runs has ended, a second one at once; sessions stay.

{ready_line(addresses)}"""


def _traces(environ: Mapping[str, str]) -> str:
    """Say where traces go, as the set-up of telemetry reads it."""
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
