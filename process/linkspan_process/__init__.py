"""What every Linkspan process does alike: settings, logs, the ready line, a clean end.

Knows neither MCP nor gRPC. Above lie the services and the command line; below lie the
standard library and the OpenTelemetry API.
"""
