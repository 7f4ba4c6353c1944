"""HTTP: what comes in, what goes out, and which path goes where."""
