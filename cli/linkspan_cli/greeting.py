"""What `linkspan run` says once it serves: where, and how to point a client at it.

Pure: text out of addresses.
"""

from collections.abc import Mapping

from linkspan_process.ready import ready_line


def greeting(app: str, mcp: str, grpc: str, data: str, environ: Mapping[str, str]) -> str:
    """Write the greeting; its last line is the ready line, for programs.

    Args:
        app: What is hosted, as it was named.
        mcp: The address that MCP clients use.
        grpc: The address that gRPC clients use.
        data: The folder of the session store.
        environ: The environment, to say where traces go.
    """
    traces = (
        environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or "nowhere; OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 sends them to a collector"
    )
    config = f'{{"mcpServers": {{"linkspan": {{"type": "http", "url": "{mcp}"}}}}}}'
    inspector = (
        f"npx @modelcontextprotocol/inspector --cli {mcp} --transport http --method tools/list"
    )
    return f"""
Linkspan hosts {app}

  MCP       {mcp}
  gRPC      {grpc}
  sessions  {data}
  traces    {traces}

Point a client at it:

  Claude Code       claude mcp add --transport http linkspan {mcp}
  most others       {config}
  MCP Inspector     {inspector}
  grpcurl           grpcurl -plaintext {grpc} list

Ctrl-C stops it; sessions stay.

{ready_line({"mcp": mcp, "grpc": grpc})}"""
