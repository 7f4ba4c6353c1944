"""`linkspan traces`: the trace backend, and its traces in a terminal."""
