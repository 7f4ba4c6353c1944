"""What tracing a unary RPC costs, beside bare gRPC and beside the published instrumentation.

Run as `python -m bench.propagation`; `--quick` for a smoke run, `--sync` for sync gRPC.
"""
