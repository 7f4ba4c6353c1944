"""What a span costs: with OpenTelemetry's SDK, and with lean tracing between the same API and OTLP."""
