"""What every Linkspan process does alike: settings, logs, telemetry, the ready line, a clean end.

Knows neither MCP nor gRPC. Above lie the services and the command line; below lies
`linkspan_propagation`, which it sets up, and nothing else of Linkspan.
"""
