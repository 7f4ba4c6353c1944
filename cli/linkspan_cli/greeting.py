"""What `linkspan run` says once it serves: where, and how to point a client at it.

Pure: text out of addresses.
"""

from collections.abc import Mapping

from linkspan_process.ready import ready_line
from linkspan_propagation.settings import TelemetrySettings


def greeting(app: str, mcp: str, grpc: str, data: str, environ: Mapping[str, str]) -> str:
    """Write the greeting; its last line is the ready line, for programs.

    Args:
        app: What is hosted, as it was named.
        mcp: The address that MCP clients use.
        grpc: The address that gRPC clients use.
        data: The folder of the session store.
        environ: The environment, to say where traces go.
    """
    config = f'{{"mcpServers": {{"linkspan": {{"type": "http", "url": "{mcp}"}}}}}}'
    inspector = (
        f"npx @modelcontextprotocol/inspector --cli {mcp} --transport http --method tools/list"
    )
    return f"""
Linkspan hosts {app}

  MCP       {mcp}
  gRPC      {grpc}
  sessions  {data}
  traces    {_traces(environ)}

Point a client at it:

  Claude Code       claude mcp add --transport http linkspan {mcp}
  most others       {config}
  MCP Inspector     {inspector}
  grpcurl           grpcurl -plaintext {grpc} list

Ctrl-C stops it when what runs has ended, a second one at once; sessions stay.

{ready_line({"mcp": mcp, "grpc": grpc})}"""


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
