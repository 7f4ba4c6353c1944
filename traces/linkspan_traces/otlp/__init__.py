"""OTLP, as senders speak it: decoding, the gRPC service, the HTTP endpoint."""
